/* decide_told.c - calls that lead to a file system of ours, answered by what that has told and what still holds.
 *
 * The way and the answer are those of Python (`diorama.view.resolve`, `diorama.dispatch.files.status`).  What is not
 * known the file system is asked for (fuseask.c), by those calls that are answered here; links on the way and `..` are
 * for Python.  Permissions are not looked up: what everybody may do is done, and for a supervisor without privileges what
 * its own user may do, for who runs in its view is that user; the rest is for Python. */
#include "told.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NSEC INT64_C(1000000000)
#define SYNC (AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC)
#define AT_KNOWN (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)

enum { LARGE = 0100000 /* O_LARGEFILE, which is 0 where all files may be large */ };
enum { BLOCK = 4096, NAME_LONGEST = 255, MOUNT_ROOT = 0x2000, MOUNT_ID = 0x1000 };

/* As of Linux 5.8; older headers lack it. */
enum { MOUNT_ID_AT = 144 };

enum found { FOUND_UNSURE, FOUND_NODE, FOUND_NO_NAME };

struct telling {
    struct dio_decider *decider;
    const struct dio_decision *decision;
    const struct dio_asked *asked;
    const struct mounted *mount;
    uint32_t flags;
    struct dio_told_node node;
    struct session session;
    uint64_t directory; /* which has `name`, the last of the way */
    const char *name;
    size_t length;
    int likely; /* that it is opened here */
    uint64_t renamed; /* as in `standin_place` */
    int is_type; /* of `node` no more than the type is known */
};

static uint64_t arg_of(const struct telling *t, uint8_t arg) { return arg < 6 ? t->asked->args[arg] : 0; }

/* ---- the way ---- */

static int may_search(const struct telling *t) {
    const struct dio_told_node *node = &t->node;
    if (node->unchecked || (node->mode & 0111) == 0111)
        return 1;
    return node->mode & S_IXUSR && !t->decider->rights.privileged && node->uid == geteuid() &&
           rights_equal(t->decider, t->asked->tid);
}

/* Whether a file is opened here, if it is kept. */
static int may_open(const struct telling *t) {
    const uint32_t known = O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW | LARGE;
    return (t->asked->may_give || t->asked->lent) && !(t->flags & ~known);
}

/* Whether what is asked for will give the answer, or be of use to Python, which opens. */
static int may_ask(const struct telling *t) {
    const struct server *server = told_server(t->mount->told);
    switch (t->decision->op) {
    case DIO_DO_STAT:
    case DIO_DO_STATX:
    case DIO_DO_READLINK: return 1;
    case DIO_DO_ACCESS: return !server->unchecked;
    case DIO_DO_OPEN: return atomic_load(&server->keeps) || t->likely;
    default: return 0;
    }
}

static int node_find(struct telling *t, uint64_t inode) {
    if (told_node(t->mount->told, inode, &t->node))
        return 1;
    return may_ask(t) && !told_differs(t->mount->told, inode) && session_node(&t->session, inode, &t->node);
}

/* Whether of what a path leads to no more than the type is asked for, which is the same whoever writes to it. */
static int wants_type(const struct telling *t) { return t->decision->op == DIO_DO_READLINK; }

static int type_find(struct telling *t, uint64_t inode) {
    t->is_type = 1;
    return dio_told_status(t->mount->told, inode, &t->node) || session_node(&t->session, inode, &t->node);
}

/* What a name leads to, in `node`, whose inode is 0 if there is none of that name.  On the way a type is enough where
 * the file system says who may do what. */
static int name_find(struct telling *t, uint64_t directory, const char *name, size_t length, int is_last) {
    uint64_t inode;
    int by_type = is_last && wants_type(t);
    t->is_type = 0;
    if (told_name(t->mount->told, directory, name, length, &inode)) {
        t->node.inode = inode;
        return !inode || (by_type ? type_find(t, inode) : node_find(t, inode));
    }
    int known = may_ask(t) ? session_name(&t->session, directory, name, length, &t->node) : 0;
    if (!known || (!by_type && t->node.inode && told_differs(t->mount->told, t->node.inode)))
        return 0;
    t->is_type = by_type || (known == 1 && t->node.unchecked);
    return known == 2 || t->is_type || node_find(t, t->node.inode);
}

/* The root of a mount is a directory, whether its server answers or not: so umount(8) finds one that does not. */
static int is_root(const struct telling *t, const struct walk *w) {
    const char *at = w->todo + w->at, *name;
    return t->mount->directory && w->inode == t->mount->inode && !name_next(&at, &name);
}

static enum found told_walk(struct telling *t, const struct walk *w) {
    const char *at = w->todo + w->at, *name;
    size_t length;
    if (wants_type(t) && is_root(t, w)) {
        t->node.mode = S_IFDIR;
        return FOUND_NODE;
    }
    if (!node_find(t, w->inode))
        return FOUND_UNSURE;
    while ((length = name_next(&at, &name))) {
        if (!S_ISDIR(t->node.mode) || length > NAME_LONGEST || !may_search(t))
            return FOUND_UNSURE;
        if (length == 1 && *name == '.')
            continue;
        if (length == 2 && name[0] == '.' && name[1] == '.')
            return FOUND_UNSURE;
        t->directory = t->node.inode;
        t->name = name;
        t->length = length;
        if (!name_find(t, t->node.inode, name, length, !*at))
            return FOUND_UNSURE;
        if (!t->node.inode)
            return FOUND_NO_NAME;
        if (S_ISLNK(t->node.mode) && (*at || w->follow))
            return FOUND_UNSURE;
    }
    if (t->is_type && !wants_type(t) && !node_find(t, t->node.inode))
        return FOUND_UNSURE;
    return *at || S_ISDIR(t->node.mode) || at == w->todo || at[-1] != '/' ? FOUND_NODE : FOUND_UNSURE;
}

/* ---- answers ---- */

static void answer_value(struct dio_verdict *out, int64_t value) {
    out->kind = DIO_VERDICT_VALUE;
    out->value = value;
}

static void answer_data(const struct telling *t, const void *data, size_t size, int64_t value,
                        struct dio_verdict *out) {
    if (t->asked->listener && dio_listener_valid(t->asked->listener, t->asked->cookie))
        return; /* gone: whoever has this thread id now is somebody else */
    ssize_t n = dio_memory_write(t->asked->tid, arg_of(t, t->decision->buffer_arg), data, size);
    if (n != -ESRCH)
        answer_value(out, n == (ssize_t)size ? value : -EFAULT);
}

/* Seconds and nanoseconds, also of what was before the epoch. */
static struct timespec time_of(int64_t nanoseconds) {
    int64_t rest = nanoseconds % NSEC;
    if (rest < 0)
        rest += NSEC;
    return (struct timespec){.tv_sec = (nanoseconds - rest) / NSEC, .tv_nsec = rest};
}

static void tell_stat(const struct telling *t, struct dio_verdict *out) {
    const struct dio_told_node *node = &t->node;
    struct stat status = {.st_dev = t->mount->device, .st_ino = node->number, .st_mode = node->mode};
    status.st_nlink = node->links;
    status.st_uid = node->uid;
    status.st_gid = node->gid;
    status.st_rdev = node->device;
    status.st_size = (off_t)node->size;
    status.st_blksize = BLOCK;
    status.st_blocks = (blkcnt_t)node->blocks;
    status.st_atim = time_of(node->accessed);
    status.st_mtim = time_of(node->modified);
    status.st_ctim = time_of(node->changed);
    answer_data(t, &status, sizeof status, 0, out);
}

static struct statx_timestamp stamp_of(int64_t nanoseconds) {
    struct timespec time = time_of(nanoseconds);
    return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec};
}

static void tell_statx(const struct telling *t, struct dio_verdict *out) {
    const struct dio_told_node *node = &t->node;
    struct statx status = {.stx_mask = STATX_BASIC_STATS | MOUNT_ID, .stx_blksize = BLOCK};
    if (arg_of(t, t->decision->mask_arg) & KERNEL_STATX_IDS & ~(uint64_t)MOUNT_ID)
        return;
    status.stx_attributes = node->inode == t->mount->inode ? MOUNT_ROOT : 0;
    status.stx_attributes_mask = MOUNT_ROOT;
    status.stx_nlink = node->links;
    status.stx_uid = node->uid;
    status.stx_gid = node->gid;
    status.stx_mode = (uint16_t)node->mode;
    status.stx_ino = node->number;
    status.stx_size = node->size;
    status.stx_blocks = node->blocks;
    status.stx_atime = stamp_of(node->accessed);
    status.stx_mtime = stamp_of(node->modified);
    status.stx_ctime = stamp_of(node->changed);
    status.stx_rdev_major = major(node->device);
    status.stx_rdev_minor = minor(node->device);
    status.stx_dev_major = major(t->mount->device);
    status.stx_dev_minor = minor(t->mount->device);
    memcpy((char *)&status + MOUNT_ID_AT, &t->mount->id, sizeof t->mount->id);
    answer_data(t, &status, sizeof status, 0, out);
}

/* What everybody may do; who is let through anyway is no other. */
static void tell_access(const struct telling *t, struct dio_verdict *out) {
    uint64_t wanted = arg_of(t, t->decision->mode_arg);
    const struct dio_told_node *node = &t->node;
    if (wanted && (node->unchecked || (wanted & W_OK && t->mount->read_only) || (wanted & X_OK && t->mount->no_exec)))
        return;
    if ((wanted & R_OK && (node->mode & 0444) != 0444) || (wanted & W_OK && (node->mode & 0222) != 0222) ||
        (wanted & X_OK && (node->mode & 0111) != 0111))
        return;
    answer_value(out, 0);
}

/* What is no link is not asked where it leads. */
static void tell_link(struct telling *t, struct dio_verdict *out) {
    char target[PATH_MAX];
    int32_t size = (int32_t)arg_of(t, t->decision->size_arg);
    if (!S_ISLNK(t->node.mode)) {
        answer_value(out, -EINVAL);
        return;
    }
    ssize_t n = session_link(&t->session, t->node.inode, target);
    if (n < 0)
        answer_value(out, n);
    n = n < size ? n : size;
    if (n > 0)
        answer_data(t, target, (size_t)n, n, out);
}

/* As `may_open`, for a directory. */
static int may_list(const struct telling *t) {
    const struct dio_told_node *node = &t->node;
    const uint32_t known = O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY | LARGE;
    if (t->flags & ~known || !(t->asked->may_give || t->asked->path) || told_differs(t->mount->told, node->inode))
        return 0;
    if (node->unchecked || (node->mode & 0444) == 0444)
        return 1;
    return node->mode & S_IRUSR && !t->decider->rights.privileged && node->uid == geteuid() &&
           rights_equal(t->decider, t->asked->tid);
}

static void tell_open(struct telling *t, const struct walk *w, struct dio_verdict *out) {
    const struct standin_place directory = {.told = t->mount->told, .walk = w, .inode = t->node.inode,
                                            .directory = t->directory, .renamed = t->renamed};
    if (S_ISDIR(t->node.mode)) {
        if (may_list(t))
            standin_open(t->decider, t->decision, t->asked, &directory, t->flags, out);
        return;
    }
    const struct kept_place at = {.told = t->mount->told, .mount = w->mount, .directory = t->directory, .name = t->name,
                                  .length = t->length, .node = &t->node, .base = w->inode,
                                  .path = w->todo + w->at};
    if (!may_open(t) || !t->name || !S_ISREG(t->node.mode))
        return;
    struct dio_lent **lent = t->asked->may_give ? NULL : t->asked->lent;
    int fd = kept_open(t->decider, &t->session, &at, t->flags, lent);
    if (fd == KEPT_ASK)
        return;
    if (fd < 0) {
        answer_value(out, fd);
        return;
    }
    if (lent) { /* by a link, which must be followed */
        snprintf(t->asked->path, PATH_MAX, "/proc/%d/fd/%d", getpid(), fd);
        (*lent)->arg = t->decision->flags_arg;
        (*lent)->value = t->flags & ~(uint32_t)O_NOFOLLOW;
        out->kind = DIO_VERDICT_PATH;
        out->value = t->decision->paths[0].path_arg;
        return;
    }
    out->kind = DIO_VERDICT_GIVE;
    out->fd = fd;
    out->fd_flags = t->flags & O_CLOEXEC;
}

/* Whether Python has nothing to object to before it looks. */
static int arguments_are_known(const struct telling *t) {
    switch (t->decision->op) {
    case DIO_DO_STAT: return !(t->flags & ~(uint32_t)AT_KNOWN);
    case DIO_DO_STATX:
        return !(t->flags & ~(uint32_t)(AT_KNOWN | SYNC)) && (t->flags & SYNC) != SYNC &&
               !(arg_of(t, t->decision->mask_arg) & STATX__RESERVED);
    case DIO_DO_ACCESS:
        return !(t->flags & ~(uint32_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) &&
               !(arg_of(t, t->decision->mode_arg) & ~(uint64_t)(R_OK | W_OK | X_OK));
    case DIO_DO_OPEN: return !(t->flags & (O_CREAT | O_PATH | (O_TMPFILE & ~O_DIRECTORY)));
    case DIO_DO_READLINK: return (int32_t)arg_of(t, t->decision->size_arg) > 0;
    default: return 0;
    }
}

void decide_told(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                 const struct walk *w, struct dio_verdict *out) {
    struct telling t = {.decider = decider, .decision = decision, .asked = asked, .mount = &w->table->mounts[w->mount]};
    t.flags = decision->flags_arg == DIO_NO_ARG ? decision->fixed_flags : (uint32_t)arg_of(&t, decision->flags_arg);
    if (!t.mount->told || asked->abi != ARCH_NATIVE || !arguments_are_known(&t) || !told_holds_soon(t.mount->told) ||
        table_has_points(w->table, w->mount, "", 0))
        return;
    t.session = (struct session){.told = t.mount->told, .asked = asked};
    int is_open = decision->op == DIO_DO_OPEN;
    if (is_open && t.flags & O_DIRECTORY)
        t.likely = standin_is_likely(decider);
    else if (is_open)
        t.likely = may_open(&t) && kept_is_likely(decider, t.session.told);
    if (is_open)
        t.renamed = standins_renamed(decider);
    enum found found = told_walk(&t, w);
    if (found == FOUND_NODE && decision->op == DIO_DO_OPEN)
        tell_open(&t, w, out);
    else if (found == FOUND_NODE && decision->op == DIO_DO_READLINK)
        tell_link(&t, out);
    session_end(&t.session);
    if (found == FOUND_NO_NAME)
        answer_value(out, -ENOENT);
    if (found != FOUND_NODE)
        return;
    switch (decision->op) {
    case DIO_DO_STAT: tell_stat(&t, out); break;
    case DIO_DO_STATX: tell_statx(&t, out); break;
    case DIO_DO_ACCESS: tell_access(&t, out); break;
    default: break;
    }
}
