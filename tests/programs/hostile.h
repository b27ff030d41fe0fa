/* hostile.h - what programs that try to get out have in common: how they tell of an attempt. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void tell(const char *what, int got_out) {
    int error = errno;
    printf("%s: %s\n", what, got_out ? "OUT" : strerror(error));
    fflush(stdout);
    failures += got_out;
}

static struct sockaddr_in inet_at(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

#endif
