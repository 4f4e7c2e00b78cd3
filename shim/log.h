/* SPDX-License-Identifier: Apache-2.0
 * log.h - what forkspan says of itself: one line a distinct problem and minute, 60 in all, no allocation, one
 * write(2).
 *
 * Lines go to FORKSPAN_LOG, else to fd 2 while it is the file it was at start, else nowhere.
 * Never a header value, a credential or a URL's userinfo.
 */
#ifndef FORKSPAN_LOG_H
#define FORKSPAN_LOG_H

enum log_level { LOG_LEVEL_ERROR = 1, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVEL_TRACE };

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Constructor: remembers what fd 2 is. */
void log_init(void);

#endif
