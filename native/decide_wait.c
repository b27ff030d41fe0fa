/* decide_wait.c - what a decision may have to wait for.
 *
 * Under notifications one worker receives for a whole program.  If it went into a file system that does not answer (a
 * network's, or one that a program serves), nothing in that program would go on.  So it gives its turn away first
 * whenever it may have to wait for somebody: when the kernel's caches do not know a path (RESOLVE_CACHED), when links are
 * followed one by one, and when something is done with an object of a file system without a device of its own.  Who an
 * object is is asked without asking who serves it. */
#include "decide.h"
#include "listener.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int may_wait(const struct dio_asked *asked) {
    if (!asked || !asked->listener || !asked->aside || *asked->aside)
        return 0;
    int error = listener_step_aside(asked->listener);
    *asked->aside = !error;
    return error;
}

/* The numbers of network file systems and of FUSE are unnamed ones, as are those of tmpfs and overlays. */
int may_wait_for(const struct dio_asked *asked, dev_t device) { return major(device) ? 0 : may_wait(asked); }

int identity_read(int fd, const char *name, struct stat *out) {
    struct statx status;
    int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    if (syscall(SYS_statx, fd, name, flags, STATX_TYPE | STATX_MODE | STATX_INO, &status))
        return -errno;
    *out = (struct stat){.st_dev = makedev(status.stx_dev_major, status.stx_dev_minor),
                         .st_ino = status.stx_ino,
                         .st_mode = status.stx_mode};
    return 0;
}
