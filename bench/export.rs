// SPDX-License-Identifier: Apache-2.0
// The Rust SDK's side of bench/export.py: spans with 8 attributes through its batch processor (batches of 512) and its
// OTLP exporter over HTTP with protobuf. Prints "cpu_a_span_exported NS ns", of all threads.
use opentelemetry::trace::{SpanBuilder, SpanKind, Tracer, TracerProvider};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Compression, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

fn cpu_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (endpoint, bursts, gzip) = (&arguments[1], arguments[2].parse::<u32>().unwrap(), arguments[3] == "gzip");
    let mut builder = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"));
    if gzip {
        builder = builder.with_compression(Compression::Gzip);
    }
    let processor = BatchSpanProcessor::builder(builder.build().unwrap())
        .with_batch_config(BatchConfigBuilder::default().with_max_export_batch_size(512).with_max_queue_size(2048).build())
        .build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("bench");
    let mut begin = 0;
    const WARM: u32 = 20;
    for burst in 0..bursts + WARM {
        if burst == WARM {
            begin = cpu_ns();
        }
        for n in 0..512u32 {
            let span = SpanBuilder::from_name("bench").with_kind(SpanKind::Internal).with_attributes(vec![
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("url.path", "/users/4711"),
                KeyValue::new("url.scheme", "http"),
                KeyValue::new("server.address", "shop.example"),
                KeyValue::new("server.port", 80i64),
                KeyValue::new("user_agent.original", "bench/1"),
                KeyValue::new("http.response.status_code", 200i64),
                KeyValue::new("n", n as i64),
            ]);
            drop(tracer.build(span));
        }
        let _ = provider.force_flush(); // it gives up after 5 s of its own
    }
    println!("cpu_a_span_exported {:.1} ns", (cpu_ns() - begin) as f64 / (bursts as f64 * 512.0));
    let _ = provider.shutdown();
}
