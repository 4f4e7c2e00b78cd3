/* SPDX-License-Identifier: Apache-2.0
 * address.h - addresses as text, and the headers that carry them. Pure functions over bounded text.
 */
#ifndef FORKSPAN_IO_ADDRESS_H
#define FORKSPAN_IO_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    const char *p;
    size_t len;
};

#define ADDRESS_TEXT 46

/* Family AF_INET (4 bytes) or AF_INET6 (16; a mapped IPv4 address is written as one). RFC 5952. Returns the
 * length, no NUL; 0 for another family. */
size_t address_format(int family, const uint8_t *bytes, char out[ADDRESS_TEXT]);
/* "host", "host:port", "[v6]:port", "[v6]", bare v6. *port -1 where there is none. False where the host is
 * empty. */
bool address_split(struct text in, struct text *host, int32_t *port);
/* The leftmost value of parameter `name` (lower case) in a Forwarded header (RFC 7239), unquoted. */
bool forwarded_find(struct text header, const char *name, struct text *value);
/* The leftmost element of a comma-separated list, blanks trimmed. */
struct text list_first(struct text list);
/* A node of Forwarded or X-Forwarded-For as an address: false for "unknown", obfuscated and empty ones. */
bool address_of_node(struct text node, struct text *address);

#endif
