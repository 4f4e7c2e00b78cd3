/* SPDX-License-Identifier: Apache-2.0 */
#include "certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 16 << 20 };

/* By hand: stdio would take the host's memory. */
static bool read_file(const char *path, struct curl_blob *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct stat st;
    size_t room =
        fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size < FILE_MAX ? (size_t)st.st_size + 1 : 65536;
    char *text = malloc(room);
    size_t len = 0;
    ssize_t n = text ? 1 : -1;
    while (n > 0 && len < room) {
        n = read(fd, text + len, room - len);
        len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (n != 0 || len == 0) { /* an error, or more than it said */
        free(text);
        return false;
    }
    *out = (struct curl_blob){text, len, CURL_BLOB_NOCOPY};
    return true;
}

bool certificates_read(struct exporter *e, struct certificates *c)
{
    static const char *const system_bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                                 "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    const struct exporter_config *config = e->config;
    if (config->certificate) {
        read_file(config->certificate, &c->ca);
    } else {
        for (size_t i = 0; i < sizeof system_bundles / sizeof *system_bundles && !c->ca.data; i++)
            read_file(system_bundles[i], &c->ca);
    }
    if (!c->ca.data) {
        exporter_log(e, 0, "no CA certificates can be read%s: no span is exported",
                     config->certificate ? " from OTEL_EXPORTER_OTLP_CERTIFICATE" : "");
        return false;
    }
    if (config->client_key && config->client_certificate &&
        (!read_file(config->client_key, &c->key) ||
         !read_file(config->client_certificate, &c->certificate))) {
        exporter_log(e, 0, "the client key or certificate can not be read: no span is exported");
        return false;
    }
    return true;
}

void certificates_free(struct certificates *c)
{
    free(c->ca.data);
    free(c->key.data);
    free(c->certificate.data);
    *c = (struct certificates){0};
}
