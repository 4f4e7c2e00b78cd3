/* SPDX-License-Identifier: Apache-2.0
 * answer_test.c - what receivers say, by HTTP and gRPC, in protobuf and JSON.
 */
#include "exporter_internal.h"
#include "grpc_status.h"
#include "otlp.pb-c.h"

#include <criterion/criterion.h>
#include <string.h>

#define BYTES(s) ((const uint8_t *)(s)), (sizeof(s) - 1)

static void line(struct grpc_status *s, const char *text)
{
    grpc_status_line(s, text, strlen(text));
}

/* edge case 19 */
Test(answer, which_codes_are_tried_again)
{
    static const struct {
        long code;
        bool again;
    } rows[] = {{429, true},  {502, true},  {503, true},  {504, true},  {400, false},
                {401, false}, {403, false}, {404, false}, {408, false}, {413, false},
                {500, false}, {501, false}, {301, false}, {200, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(retry_status(rows[i].code), rows[i].again, "%ld", rows[i].code);
}

Test(answer, pauses_grow_and_differ)
{
    for (unsigned attempt = 1; attempt < 8; attempt++) {
        uint32_t least = retry_pause_ms(attempt, 0), most = retry_pause_ms(attempt, UINT32_MAX);
        uint32_t middle = attempt == 1   ? 1000
                          : attempt == 2 ? 1500
                          : attempt == 3 ? 2250
                          : attempt == 4 ? 3375
                                         : 5000;
        cr_assert_leq(least, middle * 8 / 10 + 1);
        cr_assert_geq(least, middle * 8 / 10 - 1);
        cr_assert_leq(most, middle * 12 / 10 + 1);
        cr_assert_geq(most, middle * 12 / 10 - 2);
    }
}

/* edge case 20 */
Test(answer, retry_after_is_clamped)
{
    cr_assert_eq(retry_after_ms(0), 0);
    cr_assert_eq(retry_after_ms(-86400), 0);
    cr_assert_eq(retry_after_ms(2), 2000);
    cr_assert_eq(retry_after_ms(86400), RETRY_AFTER_MOST * 1000);
    cr_assert_eq(retry_after_ms(INT64_MAX), RETRY_AFTER_MOST * 1000);
}

/* edge case 18 */
Test(answer, partial_success_in_protobuf)
{
    struct answer a;
    cr_assert(answer_read(BYTES("\x0a\x00"), &a));
    cr_assert(a.rejected == 0 && !a.message[0]);
    cr_assert(answer_read(BYTES("\x0a\x06\x12\x04hint"), &a));
    cr_assert(a.rejected == 0 && strcmp(a.message, "hint") == 0);
    cr_assert(answer_read(BYTES("\x0a\x05\x08\x05\x12\x01x"), &a));
    cr_assert(a.rejected == 5 && strcmp(a.message, "x") == 0);
    cr_assert_not(answer_read(BYTES("\xff\xff\xff"), &a));
}

Test(answer, partial_success_in_json)
{
    struct answer a;
    cr_assert(answer_read_json(BYTES("{}"), &a));
    cr_assert(a.rejected == 0 && !a.message[0]);
    cr_assert(answer_read_json(BYTES(" {\"x\":[1,{\"y\":\"}\"}],\"partialSuccess\":{\"rejectedSpans\":\"5\","
                                     "\"errorMessage\":\"a\\n\\u0041\"}}"),
                               &a));
    cr_assert_eq(a.rejected, 5);
    cr_assert_str_eq(a.message, "a A");
    cr_assert(answer_read_json(BYTES("{\"partialSuccess\":{\"rejectedSpans\":7}}"), &a));
    cr_assert_eq(a.rejected, 7);
    static const char *const bad[] = {
        "", "[]", "{\"a\":", "{\"a\" 1}", "\"\\u00", "{\"partialSuccess\":{\"rejectedSpans\":"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(answer_read_json((const uint8_t *)bad[i], strlen(bad[i]), &a), "%s", bad[i]);
    char deep[200];
    memset(deep, '[', sizeof deep);
    cr_assert_not(answer_read_json((const uint8_t *)deep, sizeof deep, &a));
}

Test(answer, the_message_of_an_error)
{
    char text[160];
    answer_error(BYTES("\x08\x03\x12\x03no!"), text);
    cr_assert_str_eq(text, "no!");
    answer_error(BYTES("<html>"), text);
    cr_assert_str_eq(text, "");
    answer_error_json(BYTES("{\"code\":3,\"message\":\"no\\t!\"}"), text);
    cr_assert_str_eq(text, "no !");
    answer_error(BYTES("\x12\x04"
                       "a\r\nb"),
                 text);
    cr_assert_str_eq(text, "a  b", "one line");
}

Test(grpc, status_lines)
{
    struct grpc_status s = {0};
    line(&s, "HTTP/2 200 \r\n");
    line(&s, "content-type: application/grpc\r\n");
    cr_assert_not(s.present);
    line(&s, "grpc-status: 14\r\n");
    line(&s, "grpc-message: not%20now%zz%0A\xc3\xa4\r\n");
    cr_assert(s.present);
    cr_assert_eq(s.code, GRPC_UNAVAILABLE);
    cr_assert_str_eq(s.message, "not now%zz \xc3\xa4");
    s = (struct grpc_status){0};
    line(&s, "Grpc-Status:0\n");
    cr_assert(s.present && s.code == GRPC_OK);
    line(&s, "grpc-status: nonsense\r\n");
    cr_assert_eq(s.code, GRPC_UNKNOWN);
    line(&s, "grpc-status: 99999999999999\r\n");
    cr_assert_eq(s.code, GRPC_UNKNOWN);
}

/* edge case 22 */
Test(grpc, which_codes_are_tried_again)
{
    for (int code = 0; code <= 17; code++) {
        bool again = code == 1 || code == 4 || code == 10 || code == 11 || code == 14 || code == 15;
        cr_assert_eq(grpc_retryable(code, false), again, "%d", code);
        cr_assert_eq(grpc_retryable(code, true), again || code == 8, "%d", code);
    }
}

Test(grpc, http_without_a_status)
{
    static const struct {
        long http;
        int code;
    } rows[] = {{400, 13}, {401, 16}, {403, 7},  {404, 12}, {429, 14}, {502, 14},
                {503, 14}, {504, 14}, {431, 13}, {200, 2},  {500, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(grpc_code_of_http(rows[i].http), rows[i].code, "%ld", rows[i].http);
}

static void details_line(char out[600], int64_t seconds, int32_t nanos, const char *type, bool padded)
{
    Otlp__Duration duration = OTLP__DURATION__INIT;
    duration.seconds = seconds;
    duration.nanos = nanos;
    Otlp__RetryInfo info = OTLP__RETRY_INFO__INIT;
    info.retry_delay = &duration;
    uint8_t inner[64], outer[300];
    Otlp__Any any = OTLP__ANY__INIT, other = OTLP__ANY__INIT, *list[] = {&other, &any};
    other.type_url = (char *)"type.googleapis.com/google.rpc.DebugInfo";
    any.type_url = (char *)type;
    any.value.data = inner;
    any.value.len = otlp__retry_info__pack(&info, inner);
    Otlp__RpcStatus status = OTLP__RPC_STATUS__INIT;
    status.code = 8;
    status.details = list;
    status.n_details = 2;
    size_t len = otlp__rpc_status__pack(&status, outer);
    strcpy(out, "grpc-status-details-bin: ");
    base64_encode(outer, len, out + strlen(out));
    char *end = out + strlen(out);
    while (!padded && end[-1] == '=')
        *--end = '\0';
    strcpy(end, "\r\n");
}

Test(grpc, retry_info)
{
    char text[600];
    for (int padded = 0; padded < 2; padded++) {
        struct grpc_status s = {0};
        details_line(text, 3, 500000000, "type.googleapis.com/google.rpc.RetryInfo", padded);
        line(&s, text);
        cr_assert(s.retry_info);
        cr_assert_eq(s.retry_delay_ms, 3500);
    }
    struct grpc_status s = {0};
    details_line(text, 3, 0, "type.googleapis.com/google.rpc.Else", true);
    line(&s, text);
    cr_assert_not(s.retry_info);
    line(&s, "grpc-status-details-bin: !!!\r\n");
    cr_assert_not(s.retry_info);
    details_line(text, -5, 0, "type.googleapis.com/google.rpc.RetryInfo", true);
    line(&s, text);
    cr_assert(s.retry_info && s.retry_delay_ms == 0);
}

Test(grpc, timeouts_have_eight_digits_at_most)
{
    char text[40];
    grpc_timeout(10000, text);
    cr_assert_str_eq(text, "grpc-timeout: 10000m");
    grpc_timeout(99999999, text);
    cr_assert_str_eq(text, "grpc-timeout: 99999999m");
    grpc_timeout(100000000, text);
    cr_assert_str_eq(text, "grpc-timeout: 100000S");
    grpc_timeout(UINT64_MAX, text);
    cr_assert_str_eq(text, "grpc-timeout: 99999999S");
}

Test(grpc, base64)
{
    char out[16];
    uint8_t back[16];
    static const char *const rows[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        base64_encode((const uint8_t *)rows[i][0], strlen(rows[i][0]), out);
        cr_assert_str_eq(out, rows[i][1]);
        cr_assert_eq(base64_decode(out, strlen(out), back), (long)strlen(rows[i][0]));
        cr_assert_eq(memcmp(back, rows[i][0], strlen(rows[i][0])), 0);
    }
    cr_assert_eq(base64_decode("a*b", 3, back), -1);
}
