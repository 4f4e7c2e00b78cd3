/* SPDX-License-Identifier: Apache-2.0
 * own_openssl.c - linked to a server with -rdynamic: an OpenSSL of its own, whose every name is found before
 * any other library's. It is at work in each process, from before main until exit.
 */
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void work(void)
{
    unsigned char random[32];
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *connection = context ? SSL_new(context) : NULL;
    if (!connection || RAND_bytes(random, sizeof random) != 1)
        _exit(97);
    SSL_free(connection);
    SSL_CTX_free(context);
}

__attribute__((constructor)) static void begin(void)
{
    work();
    pthread_atfork(NULL, NULL, work);
    atexit(work);
}
