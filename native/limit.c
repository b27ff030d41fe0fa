/* limit.c - how many descriptors the supervisor may have, which is not how many programs may.
 *
 * Each open file of a file system of ours is a descriptor of the supervisor too, so it takes all that it may have.
 * Programs begin with what it was given, and so does what it starts for itself: servers, tools, what a module wants. */
#include "internal.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct rlimit given;
static int is_raised;
static _Thread_local int launches;

/* In a child that was forked. */
static void child_give(void) {
    if (!launches)
        setrlimit(RLIMIT_NOFILE, &given);
}

void limit_launch(int begins) { launches = begins; }

int dio_limit_raise(uint64_t most) {
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now))
        return -errno;
    struct rlimit wanted = {.rlim_cur = now.rlim_max < most ? now.rlim_max : most, .rlim_max = now.rlim_max};
    if (is_raised || wanted.rlim_cur <= now.rlim_cur)
        return 0;
    given = now;
    int error = pthread_atfork(NULL, NULL, child_give);
    if (error || setrlimit(RLIMIT_NOFILE, &wanted))
        return error ? -error : -errno;
    is_raised = 1;
    return 1;
}

int limit_give(uint64_t tag) {
    const uint64_t limit[] = {given.rlim_cur, given.rlim_max};
    return is_raised && syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, NULL, 0, tag) ? -1 : 0;
}
