/* clock.c - what reading a clock costs: nanoseconds a call, the best of some rounds. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7 };

/* By the time stamp counter, which no view changes. */
static unsigned long long ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

static void by_library(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
}

static void by_call(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
}

static void by_getppid(void) { syscall(SYS_getppid); }

static double measure(void (*one)(void), int times) {
    unsigned long long best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned long long before = ticks();
        for (int i = 0; i < times; i++)
            one();
        unsigned long long took = ticks() - before;
        if (!best || took < best)
            best = took;
    }
    return (double)best / times;
}

int main(int argc, char **argv) {
    int times = argc > 1 ? atoi(argv[1]) : 2000;
    printf("library %.0f\ncall %.0f\ngetppid %.0f\n", measure(by_library, times), measure(by_call, times),
           measure(by_getppid, times));
    return 0;
}
