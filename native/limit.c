/* limit.c - how many descriptors the supervisor may have, which is not how many programs may.
 *
 * Each open file of a file system of ours is a descriptor of the supervisor too, so it takes all that it may have.
 * Programs begin with what it was given. */
#include "internal.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct rlimit given;
static int is_raised;

int dio_limit_raise(uint64_t most) {
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now))
        return -errno;
    struct rlimit wanted = {.rlim_cur = now.rlim_max < most ? now.rlim_max : most, .rlim_max = now.rlim_max};
    if (is_raised || wanted.rlim_cur <= now.rlim_cur)
        return 0;
    if (setrlimit(RLIMIT_NOFILE, &wanted))
        return -errno;
    given = now;
    is_raised = 1;
    return 0;
}

int limit_give(uint64_t tag) {
    const uint64_t limit[] = {given.rlim_cur, given.rlim_max};
    return is_raised && syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, NULL, 0, tag) ? -1 : 0;
}
