/* check.h - a test says what it expects and where it failed. */
#ifndef DIORAMA_CHECK_H
#define DIORAMA_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static int checks_run, checks_failed;

#define CHECK_EQ(have, want)                                                                               \
    do {                                                                                                   \
        long long have_ = (long long)(have), want_ = (long long)(want);                                    \
        checks_run++;                                                                                      \
        if (have_ != want_) {                                                                              \
            checks_failed++;                                                                               \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #have, have_, want_);     \
        }                                                                                                  \
    } while (0)

static inline int checks_report(const char *name) {
    printf("%s: %d passed, %d failed\n", name, checks_run - checks_failed, checks_failed);
    return checks_failed != 0;
}

#endif
