/* SPDX-License-Identifier: Apache-2.0
 * certificates.h - what TLS needs from files, read before anybody could chroot or drop rights.
 */
#ifndef FORKSPAN_EXPORTER_CERTIFICATES_H
#define FORKSPAN_EXPORTER_CERTIFICATES_H

#include "exporter_internal.h"

#include <curl/curl.h>

struct certificates {
    struct curl_blob ca, key, certificate; /* data NULL: not used */
};

/* False, and said, when something that is needed can not be read: verification is never dropped. */
bool certificates_read(struct exporter *e, struct certificates *c);
void certificates_free(struct certificates *c);

#endif
