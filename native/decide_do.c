/* decide_do.c - what is done in the place of a program whose path leads to a host file through a mount.
 *
 * Everything works on the O_PATH descriptor that the walk ended with, so nothing can be put in its place.
 * Only what is surely the kernel's answer to the program is given; whatever else comes out is asked, and
 * Python lets the program make the call itself, on the host path. */
#include "decide.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ALLOWED_AT (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)
#define STATX_SYNC (AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC)
#define TMPFILE (O_TMPFILE & ~O_DIRECTORY)

/* As of Linux 5.8; older headers lack them. */
enum { STATX_MOUNT_ID_AT = 144, STATX_MOUNT_ROOT = 0x2000 };

struct doing {
    struct dio_decider *decider;
    const struct dio_decision *decision;
    const struct dio_asked *asked;
    struct walk *w;
    uint32_t flags;
    struct stat status; /* of what was found */
};

static uint64_t arg_of(const struct dio_asked *asked, uint8_t arg) { return arg < 6 ? asked->args[arg] : 0; }

static void answer_value(struct dio_verdict *out, int64_t value) {
    out->kind = DIO_VERDICT_VALUE;
    out->value = value;
}

/* Gives the program data, then the result. */
static void answer_data(const struct doing *d, uint64_t address, const void *data, size_t size, int64_t result,
                        struct dio_verdict *out) {
    if (d->asked->listener && dio_listener_valid(d->asked->listener, d->asked->cookie))
        return; /* gone: whoever has this thread id now is somebody else */
    ssize_t n = dio_memory_write(d->asked->tid, address, data, size);
    if (n == -ESRCH)
        return;
    answer_value(out, n == (ssize_t)size ? result : -EFAULT);
}

static const struct mounted *mount_of(const struct doing *d) { return &d->w->table->mounts[d->w->mount]; }

static void link_text(const struct doing *d, char text[40]) { snprintf(text, 40, "/proc/self/fd/%d", d->w->fd); }

/* struct stat is the kernel's own here: that of newfstatat on the 64-bit ABIs. */
static void do_stat(const struct doing *d, struct dio_verdict *out) {
    struct stat status;
    char link[40];
    int how = AT_EMPTY_PATH | (int)(d->flags & AT_NO_AUTOMOUNT);
    link_text(d, link);
    if (syscall(SYS_newfstatat, d->w->fd, "", &status, how) ||
        owner_show(d->decider, mount_of(d), link, &status))
        return;
    answer_data(d, arg_of(d->asked, d->decision->buffer_arg), &status, sizeof status, 0, out);
}

static int show_extended(const struct dio_decider *decider, const struct mounted *m, const char *link,
                         struct statx *status) {
    struct stat seen = {.st_uid = status->stx_uid, .st_gid = status->stx_gid, .st_mode = status->stx_mode};
    seen.st_rdev = makedev(status->stx_rdev_major, status->stx_rdev_minor);
    if (owner_show(decider, m, link, &seen))
        return -1;
    status->stx_uid = seen.st_uid;
    status->stx_gid = seen.st_gid;
    status->stx_mode = (uint16_t)seen.st_mode;
    status->stx_rdev_major = major(seen.st_rdev);
    status->stx_rdev_minor = minor(seen.st_rdev);
    return 0;
}

/* It tells the id of its own mount even if nobody asks. */
static void hide_ids(struct statx *status) {
    status->stx_mask &= ~(uint32_t)KERNEL_STATX_IDS;
    memset((char *)status + STATX_MOUNT_ID_AT, 0, sizeof(uint64_t));
}

static void do_statx(const struct doing *d, struct dio_verdict *out) {
    struct statx status;
    char link[40];
    link_text(d, link);
    int how = AT_EMPTY_PATH | (int)(d->flags & (AT_NO_AUTOMOUNT | STATX_SYNC));
    uint32_t mask = (uint32_t)arg_of(d->asked, d->decision->mask_arg);
    if (mask & KERNEL_STATX_IDS || syscall(SYS_statx, d->w->fd, "", how, mask, &status) ||
        show_extended(d->decider, mount_of(d), link, &status))
        return;
    hide_ids(&status);
    if (!d->w->length)
        status.stx_attributes |= STATX_MOUNT_ROOT & status.stx_attributes_mask;
    answer_data(d, arg_of(d->asked, d->decision->buffer_arg), &status, sizeof status, 0, out);
}

/* Where owners are remembered: whether all of a process that is checked may do what it asks for. */
static int is_for_all(const struct doing *d, mode_t bits) {
    char link[40];
    link_text(d, link);
    return !d->w->checked || !mount_of(d)->owned || !bits || owned_lets_all(mount_of(d), link, bits);
}

static void do_access(const struct doing *d, struct dio_verdict *out) {
    uint32_t mode = (uint32_t)arg_of(d->asked, d->decision->mode_arg);
    int how = AT_EMPTY_PATH | (int)(d->flags & AT_EACCESS);
    const struct mounted *m = &d->w->table->mounts[d->w->mount];
    if ((mode & W_OK && m->read_only) || (mode & X_OK && m->no_exec) || !is_for_all(d, mode & 7))
        return;
    if (!syscall(KERNEL_FACCESSAT2, d->w->fd, "", (int)mode, how))
        answer_value(out, 0);
}

static void do_readlink(const struct doing *d, struct dio_verdict *out) {
    char target[PATH_MAX];
    int32_t size = (int32_t)arg_of(d->asked, d->decision->size_arg);
    if (S_ISREG(d->status.st_mode) || S_ISDIR(d->status.st_mode)) {
        answer_value(out, -EINVAL);
        return;
    }
    ssize_t n = S_ISLNK(d->status.st_mode) ? readlinkat(d->w->fd, "", target, sizeof target) : -1;
    if (n <= 0 || (size_t)n == sizeof target)
        return;
    n = n < size ? n : size;
    answer_data(d, arg_of(d->asked, d->decision->buffer_arg), target, (size_t)n, n, out);
}

/* Whether a file may be opened with O_CREAT, which is refused in some directories although it exists
 * (sysctl fs.protected_regular). */
static int may_create_there(const struct walk *w) {
    char text[PATH_MAX];
    struct stat status;
    if (walk_text(w, text))
        return 0;
    char *slash = strrchr(text, '/');
    slash[slash == text] = 0;
    return !lstat(text, &status) && !(status.st_mode & S_ISVTX);
}

/* What stands for a device is an empty file, and what is written to may lose something that is remembered. */
static int is_simple(const struct doing *d, int changes) {
    char link[40];
    link_text(d, link);
    if (!mount_of(d)->owned || !S_ISREG(d->status.st_mode))
        return 1;
    struct stat status;
    if (!changes && !fstat(d->w->fd, &status) && status.st_size)
        return 1;
    return !owned_has_note(mount_of(d), link);
}

static int may_open(const struct doing *d) {
    uint32_t flags = d->flags;
    int changes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
    if (!is_simple(d, changes) || !is_for_all(d, changes ? 7 : 4))
        return 0;
    if (flags & O_NOATIME && d->w->checked && mount_of(d)->owned) /* for its owner */
        return 0;
    if ((flags & O_ACCMODE) == O_ACCMODE || flags & (O_PATH | TMPFILE | O_EXCL))
        return 0;
    if (S_ISDIR(d->status.st_mode)) /* what is wrong with it is for the kernel to say */
        return !changes && !(flags & O_CREAT);
    if (!S_ISREG(d->status.st_mode) || flags & O_DIRECTORY)
        return 0;
    if (d->w->table->mounts[d->w->mount].read_only && changes)
        return 0;
    return !(flags & O_CREAT) || may_create_there(d->w);
}

/* How a directory was reached, or a file that nobody may change, or map to execute, by its descriptor, is known here
 * only, and must be before the program has it. */
static int note_opened(const struct doing *d) {
    const struct mounted *m = &d->w->table->mounts[d->w->mount];
    int is_kept = m->read_only || m->no_exec || m->owned || S_ISDIR(d->status.st_mode);
    int32_t mount = d->w->mount == d->w->table->base ? 0 : d->w->mount;
    int error = is_kept ? 0 : dio_decider_reach(d->decider, d->status.st_dev, d->status.st_ino, mount);
    /* What was opened through a read-only mount before is meant by this one now. */
    int is_known = decider_opened_through(d->decider, d->asked->tid, &d->status) != OPENED_PLAINLY;
    if (d->w->mount == d->w->table->base)
        return is_known ? -EAGAIN : error;
    if (error || !(is_kept || is_known))
        return error;
    pid_t tgid = thread_process(d->asked->tid);
    if (tgid < 0)
        return -ESRCH;
    return dio_decider_opened(d->decider, tgid, d->status.st_dev, d->status.st_ino, is_kept ? d->w->mount : 0);
}

/* By the link of what was found, because O_NOFOLLOW would show in F_GETFL, unless the program has given it.
 * O_NONBLOCK: neither a FIFO in its place nor somebody's lease shall hold us up. */
static int open_exactly(const struct doing *d) {
    const uint32_t ours = O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    char text[PATH_MAX];
    struct stat status;
    if (!(d->flags & O_NOFOLLOW))
        snprintf(text, sizeof text, "/proc/self/fd/%d", d->w->fd);
    else if (walk_text(d->w, text))
        return -1;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, text, (d->flags & ~(uint32_t)O_CREAT) | ours, 0);
    if (fd < 0)
        return -1;
    int is_same = !fstat(fd, &status) && status.st_ino == d->status.st_ino && status.st_dev == d->status.st_dev;
    if (is_same && !(d->flags & O_NONBLOCK)) {
        int flags = fcntl(fd, F_GETFL);
        is_same = flags >= 0 && !fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    }
    if (is_same && !note_opened(d))
        return fd;
    close(fd);
    return -1;
}

/* The program opens it itself, by its host path: a file of which there is nothing to note but how it was reached. */
static void do_lead(const struct doing *d, struct dio_verdict *out) {
    const struct mounted *m = &d->w->table->mounts[d->w->mount];
    int32_t mount = d->w->mount == d->w->table->base ? 0 : d->w->mount;
    int is_kept = m->read_only || m->no_exec || (m->owned && mount);
    if (!S_ISREG(d->status.st_mode) || is_kept || walk_text(d->w, d->asked->path) ||
        decider_opened_through(d->decider, d->asked->tid, &d->status) != OPENED_PLAINLY ||
        dio_decider_reach(d->decider, d->status.st_dev, d->status.st_ino, mount))
        return;
    out->kind = DIO_VERDICT_PATH;
    out->value = d->decision->paths[0].path_arg;
}

static void do_open(const struct doing *d, struct dio_verdict *out) {
    int is_open = (d->asked->may_give || d->asked->path) && may_open(d);
    if (is_open && !d->asked->may_give)
        do_lead(d, out);
    int fd = is_open && d->asked->may_give ? open_exactly(d) : -1;
    if (fd < 0)
        return;
    out->kind = DIO_VERDICT_GIVE;
    out->fd = fd;
    out->fd_flags = d->flags & O_CLOEXEC;
}

/* Whether the kernel has nothing to object to before it looks at the path. */
static int arguments_are_known(const struct doing *d) {
    uint32_t flags = d->flags, sync = flags & STATX_SYNC;
    switch (d->decision->op) {
    case DIO_DO_STAT: return !(flags & ~(uint32_t)ALLOWED_AT);
    case DIO_DO_STATX:
        return !(flags & ~(uint32_t)(ALLOWED_AT | STATX_SYNC)) && sync != STATX_SYNC &&
               !(arg_of(d->asked, d->decision->mask_arg) & STATX__RESERVED);
    case DIO_DO_ACCESS:
        return !(flags & ~(uint32_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) &&
               !((uint32_t)arg_of(d->asked, d->decision->mode_arg) & ~7u);
    case DIO_DO_READLINK: return (int32_t)arg_of(d->asked, d->decision->size_arg) > 0;
    default: return !(flags & (O_PATH | TMPFILE));
    }
}

/* The way ended before the end of the path, and the kernel says so too. */
static void do_failed(const struct doing *d, struct dio_verdict *out) {
    if (d->decision->op != DIO_DO_OPEN || !(d->flags & O_CREAT))
        answer_value(out, -d->w->error);
}

static int doing_begin(struct doing *d) {
    const struct walk *w = d->w;
    if (d->decision->op == DIO_DO_NOTHING || !(w->table->flags & DIO_DECIDE_ON_BEHALF) ||
        d->asked->abi != ARCH_NATIVE || walk_in_proc(w) || !arguments_are_known(d))
        return -1;
    return rights_equal(d->decider, d->asked->tid) ? 0 : -1;
}

void decide_show(const struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                 const struct mounted *mount, const char *link, struct dio_verdict *out) {
    struct doing d = {.decision = decision, .asked = asked};
    uint64_t address = arg_of(asked, decision->buffer_arg);
    struct stat status;
    struct statx extended;
    d.flags = decision->flags_arg == DIO_NO_ARG ? decision->fixed_flags : (uint32_t)arg_of(asked, decision->flags_arg);
    if (asked->abi != ARCH_NATIVE || !arguments_are_known(&d))
        return;
    if (decision->op == DIO_DO_STAT && !stat(link, &status) && !owner_show(decider, mount, link, &status))
        answer_data(&d, address, &status, sizeof status, 0, out);
    uint32_t mask = (uint32_t)arg_of(asked, decision->mask_arg);
    if (decision->op == DIO_DO_STATX && !(mask & KERNEL_STATX_IDS) &&
        !syscall(SYS_statx, AT_FDCWD, link, (int)(d.flags & STATX_SYNC), mask, &extended) &&
        !show_extended(decider, mount, link, &extended)) {
        hide_ids(&extended);
        answer_data(&d, address, &extended, sizeof extended, 0, out);
    }
}

void decide_do(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
               struct walk *w, enum walk_end end, struct dio_verdict *out) {
    struct doing d = {.decider = decider, .decision = decision, .asked = asked, .w = w};
    d.flags = decision->flags_arg == DIO_NO_ARG ? decision->fixed_flags : (uint32_t)arg_of(asked, decision->flags_arg);
    if ((end != WALK_FOUND && end != WALK_FAILED) || doing_begin(&d))
        return;
    if (end == WALK_FAILED) {
        do_failed(&d, out);
        return;
    }
    /* A mount whose source is a link: what the kernel makes of it depends on the call. */
    if (walk_open(w) || identity_read(w->fd, "", &d.status) || (S_ISLNK(d.status.st_mode) && w->follow) ||
        may_wait_for(asked, d.status.st_dev))
        return;
    switch (decision->op) {
    case DIO_DO_STAT: do_stat(&d, out); break;
    case DIO_DO_STATX: do_statx(&d, out); break;
    case DIO_DO_ACCESS: do_access(&d, out); break;
    case DIO_DO_READLINK: do_readlink(&d, out); break;
    default: do_open(&d, out); break;
    }
}
