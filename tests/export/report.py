# SPDX-License-Identifier: Apache-2.0
"""docs/otel-conformance-report.md out of what tests said: report.py --out FILE LOG...

LOG is TAP. A row names tests by the words their names begin with; a row passes when at least one test of each name ran
and none failed. A row whose test did not run is a failure: a report does not guess.
"""
import argparse
import pathlib
import re
import sys

M, S, MAY, D = "MUST", "SHOULD", "MAY", "decision"
NA = "not applicable"

# (section, [(level, what, tests or NA, why not)])
ROWS = [
    ("1.1 Value types", [
        (M, "An empty variable is an unset one", ["config::an_empty_variable_is_an_unset_one"]),
        (M, "Boolean: only `true`, in any case, is true; other words warn", ["config::disabled_is_true_or_not"]),
        (S, "Integer and duration: decimal digits; anything else warns with the user's text, and the default is used",
         ["config::times", "config::queue_sizes"]),
        (S, "Timeout: 0 is no limit", ["config::times"]),
        (S, "Enum: compared without case; an unknown one warns and is ignored", ["config::samplers", "config::exporters", "config::propagators"]),
        (D, "Ratios by the C locale, whatever LC_NUMERIC says", ["config::a_ratio_in_any_locale"]),
    ]),
    ("1.2 General variables", [
        (M, "Defaults of every variable", ["config::defaults"]),
        (M, "OTEL_SDK_DISABLED; propagators stay", ["config::disabled_is_true_or_not"]),
        (M, "OTEL_SERVICE_NAME is above OTEL_RESOURCE_ATTRIBUTES", ["resource::what_it_holds"]),
        (M, "OTEL_PROPAGATORS: a list without repetition; `none`", ["config::propagators"]),
        (M, "OTEL_TRACES_SAMPLER and its argument", ["config::samplers", "config::a_ratio_in_any_locale", "config::an_argument_without_a_sampler"]),
        (M, "OTEL_TRACES_EXPORTER", ["config::exporters"]),
        (M, "OTEL_CONFIG_FILE: where it is honoured, all others are ignored", NA, "not supported; one warning says so"),
        (D, "OTEL_CONFIG_FILE and its old name give one warning", ["config::a_configuration_file_is_not_honoured_and_says_so"]),
        (D, "OTEL_LOG_LEVEL", ["config::log_levels_and_methods"]),
        (M, "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS replaces the list", ["config::log_levels_and_methods"]),
        (MAY, "OTEL_ENTITIES", NA, "in development; ignored"),
    ]),
    ("1.3 OTEL_RESOURCE_ATTRIBUTES", [
        (M, "Keys and values are percent-decoded; `+` stays", ["config::resource_attributes"]),
        (S, "Any error discards the whole variable, with a warning", ["config::resource_attributes"]),
    ]),
    ("1.4 Batch processor and limits", [
        (M, "OTEL_BSP_*: defaults, ranges", ["config::defaults", "config::times", "config::queue_sizes"]),
        (M, "A batch is not larger than the queue", ["config::a_batch_larger_than_the_queue"]),
        (M, "Limits: from special to general to default", ["config::limits_from_special_to_general"]),
    ]),
    ("1.7 OTLP exporter variables", [
        (M, "A base endpoint gets v1/traces", ["config::a_base_endpoint_gets_one_v1_traces", "http: paths of the endpoints on the wire"]),
        (M, "TRACES_ENDPOINT is used as it is; without a path, `/`", ["config::traces_endpoint_is_used_as_it_is", "http: paths of the endpoints on the wire"]),
        (M, "The port of a URL without one is the scheme's", ["config::the_port_is_the_schemes"]),
        (M, "gRPC endpoints: http and https URLs; the scheme is above INSECURE", ["config::grpc_endpoints"]),
        (M, "PROTOCOL: grpc, http/protobuf, http/json", ["config::grpc_endpoints", "http/protobuf: a batch is delivered", "http/json: the same spans", "grpc: a batch is delivered"]),
        (M, "HEADERS: decoded values, undecoded keys, later `=` kept", ["config::headers_are_decoded", "config::bad_headers_are_left_out", "http: the user's headers"]),
        (D, "TRACES_HEADERS replace the general ones", ["config::special_headers_replace_the_general_ones"]),
        (M, "COMPRESSION: gzip, none", ["config::compression_and_certificates", "http/protobuf: gzip", "grpc: gzip inside the frame"]),
        (M, "TIMEOUT bounds an export with its retries", ["time: the limit covers the tries together", "time: a silent receiver", "grpc: a silent receiver"]),
        (M, "CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE", ["http: TLS with the given authority", "http: a client's certificate", "grpc: TLS with the given authority", "grpc: a client's certificate"]),
        (D, "What can not be read or verified is never sent to", ["http: no verification without the file", "http: a certificate that is expired", "http: a certificate that is wrong-name",
                                                                   "grpc: no verification without the file", "http: TLS older than 1.2"]),
        (D, "Sockets in the file system", ["config::unix_endpoints", "http: a socket in the file system", "grpc: a socket in the file system", "http: an abstract socket"]),
        (D, "A proxy only when asked for", ["config::a_proxy_only_when_asked_for", "http: the host's http_proxy", "http: a proxy that was asked for"]),
        (D, "No header's value and no credential in a log", ["log: a header's value", "log: malformed settings"]),
        (D, "One line a distinct problem, to FORKSPAN_LOG or to fd 2 while it is what it was", ["log: the same problem", "log: a receiver with new words",
                                                                                               "log: FORKSPAN_LOG", "log: an fd 2 that", "log: OTEL_LOG_LEVEL"]),
    ]),
    ("1.8 Context from the environment", [
        (MAY, "TRACEPARENT and others from the environment", NA, "a server's requests have their own parents; no variable is read for them"),
    ]),
    ("2.1 Batch processor", [
        (M, "Never two exports at once", NA, "one thread exports, one request at a time: by construction"),
        (M, "A batch is not larger than the limit; drained in several", ["counts: no batch is larger"]),
        (M, "A full queue drops new spans and counts them", ["counts: what the queue has no room for is dropped"]),
        (S, "No request without spans", ["http/protobuf: a batch is delivered"]),
        (M, "Shutdown does not block for ever", ["exit: from main", "exit: from handler"]),
    ]),
    ("2.3 Resource", [
        (M, "service.name: the user's, else unknown_service:<executable>", ["resource::what_it_holds", "resource::a_service_without_a_name"]),
        (S, "service.instance.id of each process; the user's stays", ["resource::a_process_has_an_id_of_its_own"]),
        (M, "telemetry.sdk.name is not opentelemetry; language and version", ["resource::what_it_holds"]),
        (S, "process.owner is read again after a drop of rights", ["resource::after_a_drop_of_rights"]),
        (D, "container.id, by cgroup v1 and by the mounts of v2", ["container::cgroup_v1", "container::cgroup_v2_by_its_mounts"]),
        (M, "A schema URL", ["encode::the_envelope_is_a_request"]),
        (D, "No command line", ["resource::what_it_holds"]),
    ]),
    ("3.1 OTLP/HTTP requests", [
        (M, "POST, Content-Type", ["http: POST to /v1/traces", "http/protobuf: Content-Type", "http/json: the same spans"]),
        (M, "Content-Encoding: gzip with compression", ["http/protobuf: gzip"]),
        (M, "No request of more than 64 MiB; it is counted", ["http: more than 64 MiB", "grpc: more than 64 MiB"]),
        (S, "User-Agent", ["http: User-Agent", "grpc: user-agent"]),
        (S, "The connection is kept", ["http: the connection is kept", "grpc: the connection is kept"]),
        (D, "No Expect", ["http: no Expect"]),
        (D, "Redirects are failures", ["http: a redirect is not followed"]),
    ]),
    ("3.2 Answers", [
        (M, "Success: 200, empty or not", ["http: an empty 200", "http: 202", "http: an unreadable 200"]),
        (M, "Partial success: counted, never sent again; a hint warns", ["http: rejected spans are counted", "http: partial success with a hint", "http: partial success of nothing",
                                                                           "grpc: rejected spans are counted", "answer::partial_success_in_json"]),
        (S, "429, 502, 503, 504 are tried again", ["http: 429 ", "http: 502 ", "http: 503 ", "http: 504 ", "answer::which_codes"]),
        (M, "No other is", ["http: 400 ", "http: 401 ", "http: 403 ", "http: 404 ", "http: 408 ", "http: 413 ", "http: 500 ", "http: 501 "]),
        (S, "Retry-After in both forms", ["http: Retry-After in seconds", "http: Retry-After as a date", "http: Retry-After as a past date", "http: Retry-After as garbage",
                                          "http: a Retry-After beyond", "answer::retry_after_is_clamped"]),
        (M, "Connections that fail are tried again, with jitter", ["time: a refused connection", "time: a receiver that comes later", "time: a connection cut", "answer::pauses_grow_and_differ"]),
        (D, "A certificate that does not verify is not tried again", ["http: another authority's", "grpc: another authority's"]),
        (M, "An answer of more than 4 MiB, also after decompression, ends it", ["http: an answer of 5 MiB", "http: a gzip bomb", "grpc: an answer of 5 MiB"]),
        (M, "The same bytes are sent again", ["http: 503: the same bytes"]),
    ]),
    ("3.3 JSON", [
        (M, "Ids in hexadecimal, 64-bit integers as strings, enums as integers, names in lowerCamelCase", ["encode::json", "http/json: the same spans"]),
        (M, "Other bytes in base64; no id of a parent for a root", ["encode::json_of_links_and_bytes"]),
    ]),
    ("3.4 Files and standard output", [
        (M, "JSON lines, whole", ["encode::lines_stay_whole_on_a_pipe", "file: a line for each batch", "file: lines to a pipe"]),
        (D, "A file is rotated by size", ["config::file_rotation", "file: rotated", "file: so many files", "file: every line of three writers"]),
    ]),
    ("3.5 OTLP/gRPC", [
        (M, "Path, method, content-type, te, grpc-timeout", ["grpc: path and method", "grpc: content-type and te", "grpc: grpc-timeout", "grpc::timeouts_have"]),
        (M, "Metadata in lower case; -bin in base64", ["grpc: metadata in lower case", "grpc: -bin metadata"]),
        (M, "HTTP/2 by prior knowledge, by ALPN with TLS", ["grpc: a batch is delivered", "grpc: TLS with the given authority", "grpc: a server without HTTP/2"]),
        (M, "Status from trailers, or from a head without trailers", ["grpc: UNAVAILABLE", "grpc: a status without trailers", "grpc::status_lines"]),
        (M, "No status: by the HTTP status", ["grpc: HTTP 503 without", "grpc: HTTP 400 without", "grpc: 200 without a status", "grpc::http_without_a_status"]),
        (M, "Which codes are tried again", ["grpc: CANCELLED", "grpc: DEADLINE_EXCEEDED", "grpc: ABORTED", "grpc: OUT_OF_RANGE", "grpc: UNAVAILABLE", "grpc: DATA_LOSS",
                                             "grpc: INVALID_ARGUMENT", "grpc: INTERNAL", "grpc: UNIMPLEMENTED", "grpc: UNAUTHENTICATED", "grpc: PERMISSION_DENIED",
                                             "grpc: UNKNOWN", "grpc: NOT_FOUND", "grpc: ALREADY_EXISTS", "grpc: FAILED_PRECONDITION"]),
        (M, "RESOURCE_EXHAUSTED only with RetryInfo", ["grpc: RESOURCE_EXHAUSTED is not", "grpc: RESOURCE_EXHAUSTED with", "grpc::retry_info"]),
    ]),
    ("4 Wire form", [
        (M, "Messages as the official package reads them", ["http/protobuf: the official package", "grpc: the official package", "encode::the_envelope_is_a_request"]),
        (M, "Zero, false and empty are sent; bad UTF-8 is replaced", ["encode::the_envelope_is_a_request"]),
        (M, "A real Collector takes every transport, and writes what was sent", ["collector: grpc", "collector: http/protobuf", "collector: http/json", "collector: every batch", "collector: what it wrote"]),
    ]),
    ("Traps of an exporter in somebody's process", [
        (D, "exit() in the middle of a TLS POST, from main and from a handler, beside another OpenSSL", ["exit: from main in", "exit: from handler in"]),
        (D, "The host's allocator is not used: it may be locked", ["heap: spans arrive", "heap: control"]),
        (D, "Numbers of ours that the host uses again get nothing and are not closed", ["fds: close all", "fds: and it goes on", "fds: control"]),
        (D, "chroot, setuid and a filter of system calls after listen()", ["cage: "]),
        (D, "Names by their TTL, without libc's resolver", ["names: "]),
        (D, "Other allocators; node", ["allocators: ", "hosts: node"]),
        (D, "A collector at fault costs the server nothing", ["chaos: gunicorn", "chaos: nginx", "chaos: export resumes"]),
        (D, "Every lost span is in the right count", ["counts: "]),
    ]),
    ("7 Edge cases", [
        (D, "1: TRACES_ENDPOINT without a path", ["config::traces_endpoint_is_used_as_it_is"]),
        (D, "2: one v1/traces", ["config::a_base_endpoint_gets_one_v1_traces"]),
        (D, "3: ports 80 and 443", ["config::the_port_is_the_schemes"]),
        (D, "4: `=` in a header's value", ["config::headers_are_decoded"]),
        (D, "5: CR and LF in a header's value", ["config::bad_headers_are_left_out"]),
        (D, "6: 10000 is ten seconds, with the retries", ["config::times", "time: the limit covers"]),
        (D, "7: zeroes and bad numbers", ["config::times", "config::queue_sizes"]),
        (D, "8: batch 4096, queue 2048", ["config::a_batch_larger_than_the_queue"]),
        (D, "9: OTEL_SDK_DISABLED=1", ["config::disabled_is_true_or_not"]),
        (D, "10: empty variables", ["config::an_empty_variable"]),
        (D, "11: ratios in a locale", ["config::a_ratio_in_any_locale"]),
        (D, "12: an argument without a sampler", ["config::an_argument_without_a_sampler"]),
        (D, "13: resource attributes", ["config::resource_attributes"]),
        (D, "14: ids of each process after a fork", ["resource::a_process_has_an_id_of_its_own", "http: a child has a connection"]),
        (D, "15: no id twice after a fork", ["all span ids differ"]),
        (D, "16: a fork while curl is at work", ["no child of", "every span of every child arrives once", "http: a child has a connection"]),
        (D, "17: our own sockets make no spans", ["hosts: node"]),
        (D, "18: partial success in its three forms", ["answer::partial_success_in_protobuf", "http: partial success of nothing", "http: partial success with a hint", "http: rejected spans"]),
        (D, "19: 500 and 408 against 429", ["http: 500 ", "http: 408 ", "http: 429 "]),
        (D, "20: Retry-After", ["http: Retry-After", "http: a Retry-After beyond", "time: a deadline from outside"]),
        (D, "21: answers of 5 MiB, gzip bombs", ["http: an answer of 5 MiB", "http: a gzip bomb"]),
        (D, "22: gRPC UNAVAILABLE, RESOURCE_EXHAUSTED, HTTP 503", ["grpc: UNAVAILABLE", "grpc: RESOURCE_EXHAUSTED", "grpc: HTTP 503"]),
        (D, "23: IS_REMOTE is the parent's", ["span::flags_say_where_the_parent_is"]),
        (D, "24: JSON ids and integers", ["encode::json"]),
        (D, "25: empty values, bad UTF-8", ["encode::the_envelope_is_a_request"]),
        (D, "26: traceparent and tracestate", ["traceparent::what_is_taken", "traceparent::tracestate", "http_span::long_tracestate"]),
        (D, "27: flags 02", ["traceparent::what_is_taken", "traceparent::what_is_sent_on", "span::flags_say"]),
        (D, "28: interim answers, 404, 503, a reset", ["http_span::attributes", "http_span::faults"]),
        (D, "29: forwarded addresses, unknown methods", ["http_span::attributes", "http_span::forwarded_not_trusted"]),
        (D, "30: times never run backwards; lines stay whole", ["span::unix_time", "encode::lines_stay_whole", "file: every line of three writers"]),
    ]),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("logs", nargs="+")
    options = parser.parse_args()
    seen = {}
    for log in options.logs:
        for good, name in re.findall(r"^(ok|not ok)(?: \d+)? - (.*?)(?:  *# .*)?$", pathlib.Path(log).read_text(errors="replace"), re.M):
            seen.setdefault(name.strip(), []).append(good == "ok")
    number = failed = 0
    out = ["<!-- SPDX-License-Identifier: Apache-2.0 -->", "# What the OpenTelemetry specification asks, and what forkspan does", "",
           "Written by `scripts/test` (its steps `conformance`, `hosts` and `report`) from what its tests said; do not edit. The sections are those",
           "of the specification's rules for an SDK that exports traces by OTLP. A test is named by how its name begins.", ""]
    counts = {"pass": 0, "fail": 0, NA: 0}
    for section, rows in ROWS:
        out += [f"## {section}", "", "| level | rule | result | shown by |", "|---|---|---|---|"]
        for level, what, tests, *why in rows:
            if tests == NA:
                verdict, shown, bad = NA, why[0], []
            else:
                bad = [t for t in tests if not any(n.startswith(t) for n in seen) or not all(all(r) for n, r in seen.items() if n.startswith(t))]
                verdict, shown = "fail" if bad else "pass", ", ".join(f"`{t.strip()}`" for t in tests)
            counts[verdict] += 1
            out.append(f"| {level} | {what} | {verdict} | {shown} |")
            if verdict != NA:
                number += 1
                failed += bool(bad)
                print(f"{'not ok' if bad else 'ok'} {number} - {section}: {what}")
                for name in bad:
                    print(f"#   {name}: {'failed' if any(n.startswith(name) for n in seen) else 'did not run'}")
        out.append("")
    out.insert(5, f"\n{counts['pass']} rules pass, {counts['fail']} fail, {counts[NA]} are not applicable.\n")
    pathlib.Path(options.out).write_text("\n".join(out))
    print(f"1..{number}")
    sys.exit(1 if failed else 0)


main()
