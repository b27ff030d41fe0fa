/* decide.c - the verdict on one call.
 *
 * The rule of this file: RUN only what Python would let run, and when in doubt, ask.  What makes the kernel
 * itself refuse a call (a bad pointer, a bad descriptor) is no doubt. */
#include "deciding.h"
#include "listing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- what is mounted on the root ---- */

/* Whether the kernel would allow in it what its options do not. */
static int is_restricted(const struct mounted *m) { return m->read_only || m->no_exec; }

/* Whether a call leaves what it finds as it is: then it may run on what a layer has left so too. */
static int changes_nothing(const struct deciding *d) {
    const struct dio_decision *decision = d->decision;
    uint32_t flags =
        decision->flags_arg == DIO_NO_ARG ? decision->fixed_flags : (uint32_t)arg_of(d->asked, decision->flags_arg);
    if (decision->op == DIO_DO_OPEN)
        return (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)));
    if (decision->op == DIO_DO_ACCESS)
        return !(arg_of(d->asked, decision->mode_arg) & W_OK);
    return decision->needs & DIO_CHANGES_NOTHING;
}

/* Whether Python sees to all that happens in it, but for what is done here. */
static int is_minded(const struct mounted *m) { return is_restricted(m) || m->owned; }

/* The ids of mounts are known in Python; those of the host's own root are the kernel's. */
static int wants_ids(const struct deciding *d) {
    return d->table->base && d->decision->op == DIO_DO_STATX &&
           arg_of(d->asked, d->decision->mask_arg) & KERNEL_STATX_IDS;
}

/* Where in the mount on the root a host path is, or -1. */
static ssize_t base_skip(const struct deciding *d, const char *text) {
    const struct mounted *m = base_of(d);
    if (strncmp(text, m->host, m->host_length) || (text[m->host_length] && text[m->host_length] != '/'))
        return -1;
    return layer_has(m, text) ? -1 : (ssize_t)m->host_length;
}

/* What may be done on what is in it by a descriptor or the current directory, whose host path is `text`. */
static enum part base_decide(const struct deciding *d, const char *text) {
    const struct mounted *m = base_of(d);
    size_t length = strlen(text);
    ssize_t skip = base_skip(d, text);
    if (skip < 0 || m->owned || (is_restricted(m) && !changes_nothing(d)))
        return PART_ASK;
    if (!m->upper)
        return PART_RUN;
    return changes_nothing(d) && layer_left(m, text + skip, length - (size_t)skip) ? PART_RUN : PART_ASK;
}

/* ---- descriptors and directories ---- */

/* Whether all names in an open directory are what the kernel tells. */
static enum part names_decide(const struct deciding *d, const char *name) {
    char text[PLACE_ROOM];
    size_t length = link_read(name, text);
    ssize_t skip = length ? base_skip(d, text) : -1;
    if (skip < 0)
        return PART_ASK;
    return layer_left_names(base_of(d), text + skip, length - (size_t)skip) ? PART_RUN : PART_ASK;
}

static int is_in_mount(const struct deciding *d) { return d->process.cwd_mount > 0; }

/* Puts a walk at what a real object stands for, if something is known of that. */
static enum part walk_stands(const struct deciding *d, const struct stat *status, struct walk *w) {
    if (!decider_stands(d->decider, status, &w->mount, &w->inode) || (size_t)w->mount >= d->table->mount_count ||
        !d->table->mounts[w->mount].told)
        return PART_ASK;
    w->touched = 1;
    w->length = 0;
    w->path[0] = 0;
    return PART_WALK;
}

/* What is virtual: PART_ASK, maybe with a verdict. */
static enum part virtual_decide(const struct deciding *d, const struct stat *status) {
    struct walk w = {.table = d->table};
    uint8_t op = d->decision->op;
    if ((op != DIO_DO_STAT && op != DIO_DO_STATX && op != DIO_DO_LIST) || walk_stands(d, status, &w) != PART_WALK)
        return PART_ASK;
    if (op != DIO_DO_LIST)
        decide_told(d->decider, d->decision, d->asked, &w, d->out);
    else if (S_ISDIR(status->st_mode) && !table_has_points(d->table, w.mount, "", 0))
        decide_list(d->decision, d->asked, &d->table->mounts[w.mount], w.inode, d->out);
    return PART_ASK;
}

/* Nobody may read on in a directory that somebody closes. */
static void directory_leave(const struct deciding *d, const struct stat *status) {
    struct walk w = {.table = d->table};
    if (S_ISDIR(status->st_mode) && walk_stands(d, status, &w) == PART_WALK)
        listing_leave(d->table->mounts[w.mount].told, w.inode, d->asked->tid);
}

static enum part descriptor_decide(const struct deciding *d, int32_t fd) {
    int opened = d->decision->needs & DIO_NEEDS_NOT_OPENED && d->decider->opened.count;
    int restricted = d->decision->needs & DIO_NEEDS_NOT_OPENED && is_restricted(base_of(d));
    int layered = d->decision->needs & DIO_NEEDS_UNCHANGED && base_of(d)->upper;
    char name[48];
    struct stat status;
    int owned = owner_matters(d);
    if (fd < 0 || !(opened || restricted || layered || owned || d->decider->identities.count))
        return PART_RUN;
    snprintf(name, sizeof name, "/proc/%d/fd/%d", d->asked->tid, fd);
    int error = identity_read(AT_FDCWD, name, &status);
    if (error)
        return error == -ENOENT ? PART_RUN : PART_ASK;
    int is_virtual = decider_is_virtual(d->decider, &status);
    if (is_virtual && d->decision->needs & DIO_NEEDS_NO_WRITER && !closing_matters(d->decider, name, &status)) {
        directory_leave(d, &status);
        return PART_RUN;
    }
    if (is_virtual)
        return virtual_decide(d, &status);
    if (owned && owner_decide(d, name, &status) == PART_ASK)
        return PART_ASK;
    if (restricted || (opened && decider_opened_through(d->decider, d->asked->tid, &status) != OPENED_PLAINLY))
        return PART_ASK;
    return layered ? names_decide(d, name) : PART_RUN;
}

/* One descriptor, or two. */
static enum part descriptors_decide(const struct deciding *d) {
    const struct dio_decision *decision = d->decision;
    enum part part = descriptor_decide(d, (int32_t)arg_of(d->asked, decision->arg));
    if (part != PART_RUN || decision->arg2 == DIO_NO_ARG)
        return part;
    int32_t other = (int32_t)arg_of(d->asked, decision->arg2);
    if (decision->needs & DIO_NEEDS_NO_WRITER)
        return decider_is_direct(d->decider, d->asked->tid, other) ? PART_ASK : PART_RUN;
    return descriptor_decide(d, other);
}

/* The current directory itself: in a mount, or one of the directories that stand for virtual ones. */
static enum part current_decide(const struct deciding *d) {
    char name[48], text[PLACE_ROOM];
    if (is_in_mount(d) || (d->table->base_moved && d->decision->settle == DIO_SETTLE_CWD))
        return PART_ASK;
    if (owner_is_shown(d))
        return PART_ASK;
    if (!d->decider->identities.count && !d->table->base)
        return PART_RUN;
    snprintf(name, sizeof name, "/proc/%d/cwd", d->asked->tid);
    if (!link_read(name, text) || table_is_private(d->table, text))
        return PART_ASK;
    return d->table->base ? base_decide(d, text) : PART_RUN;
}

/* What a call without a path works on. */
static enum part directory_decide(const struct deciding *d, const struct dio_path_use *use) {
    int32_t fd = use->dirfd_arg == DIO_NO_ARG ? AT_FDCWD : (int32_t)arg_of(d->asked, use->dirfd_arg);
    char name[48], text[PLACE_ROOM];
    if (fd == AT_FDCWD)
        return current_decide(d);
    enum part part = descriptor_decide(d, fd);
    if (part != PART_RUN || fd < 0 || !(base_of(d)->upper || is_minded(base_of(d))))
        return part;
    snprintf(name, sizeof name, "/proc/%d/fd/%d", d->asked->tid, fd);
    if (changes_nothing(d))
        return PART_RUN; /* it is no copy, or its identity would tell */
    return link_read(name, text) ? base_decide(d, text) : PART_ASK;
}

/* ---- where a relative path begins ---- */

/* Puts the walk at the directory that /proc calls `text`, which was entered through `mount` (-1: plainly). */
static enum part start_place(const struct deciding *d, struct walk *w, const char *text, int32_t mount) {
    static const char deleted[] = " (deleted)";
    size_t length = strlen(text);
    ssize_t skip = 0;
    if (*text != '/' || table_is_private(d->table, text) ||
        (length >= sizeof deleted && !strcmp(text + length - (sizeof deleted - 1), deleted)))
        return PART_ASK;
    if (mount > 0) {
        if ((size_t)mount >= d->table->mount_count || d->table->mounts[mount].synthetic)
            return PART_ASK;
        skip = (ssize_t)d->table->mounts[mount].host_length;
        if (!skip)
            return PART_ASK;
        w->mount = mount;
        w->touched = 1;
        if (strncmp(text, d->table->mounts[mount].host, (size_t)skip) || (text[skip] && text[skip] != '/'))
            mount = 0;
    }
    if (mount <= 0) {
        w->mount = d->table->base;
        w->touched = (uint8_t)is_minded(base_of(d));
        skip = base_skip(d, text);
        if (skip < 0 || base_of(d)->synthetic)
            return PART_ASK;
    }
    while (length > (size_t)skip && text[length - 1] == '/')
        length--;
    w->length = length - (size_t)skip;
    memcpy(w->path, text + skip, w->length);
    w->path[w->length] = 0;
    return PART_WALK;
}

static enum part start_descriptor(const struct deciding *d, int32_t fd, const char *name, int32_t *mount,
                                  struct walk *w) {
    struct stat status;
    if (!d->decider->identities.count && !d->decider->opened.count)
        return PART_WALK;
    if (fd < 0)
        return PART_RUN;
    int error = identity_read(AT_FDCWD, name, &status);
    if (error)
        return error == -ENOENT ? PART_RUN : PART_ASK;
    if (decider_is_virtual(d->decider, &status))
        return walk_stands(d, &status, w);
    *mount = decider_opened_through(d->decider, d->asked->tid, &status);
    return *mount == OPENED_UNSURE ? PART_ASK : PART_WALK;
}

static enum part start_find(const struct deciding *d, const struct dio_path_use *use, struct walk *w) {
    int32_t fd = use->dirfd_arg == DIO_NO_ARG ? AT_FDCWD : (int32_t)arg_of(d->asked, use->dirfd_arg);
    int32_t mount = d->process.cwd_mount;
    char name[48], text[PLACE_ROOM];
    struct stat status;
    if (fd == AT_FDCWD) {
        snprintf(name, sizeof name, "/proc/%d/cwd", d->asked->tid);
    } else {
        snprintf(name, sizeof name, "/proc/%d/fd/%d", d->asked->tid, fd);
        mount = OPENED_PLAINLY;
        enum part part = start_descriptor(d, fd, name, &mount, w);
        if (part != PART_WALK || w->inode)
            return part;
    }
    w->directory = fd == AT_FDCWD;
    ssize_t n = readlink(name, text, sizeof text);
    if (n < 0)
        return errno == ENOENT && fd != AT_FDCWD ? PART_RUN : PART_ASK;
    if ((size_t)n == sizeof text)
        return PART_ASK;
    text[n] = 0;
    if (fd == AT_FDCWD && d->decider->stands.count && table_is_private(d->table, text) && !stat(name, &status))
        return walk_stands(d, &status, w);
    return start_place(d, w, text, mount);
}

/* ---- paths ---- */

static int path_follows(const struct dio_path_use *use, const struct dio_asked *asked) {
    uint32_t flags = use->flags_arg == DIO_NO_ARG ? use->flag : (uint32_t)arg_of(asked, use->flags_arg);
    switch (use->follow) {
    case DIO_FOLLOW_NEVER: return 0;
    case DIO_FOLLOW_UNLESS_FLAG: return use->flags_arg == DIO_NO_ARG || !(flags & use->flag);
    case DIO_FOLLOW_IF_FLAG: return use->flags_arg != DIO_NO_ARG && flags & use->flag;
    case DIO_FOLLOW_OPEN: return !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    default: return 1;
    }
}

static enum part path_empty(const struct deciding *d, const struct dio_path_use *use) {
    uint32_t flags = (uint32_t)arg_of(d->asked, use->flags_arg);
    int is_meant = use->empty_flag == UINT32_MAX || flags & use->empty_flag;
    if (is_meant && d->decision->settle == DIO_SETTLE_EXEC)
        return PART_ASK; /* it may be a script */
    /* By which mount an open file was reached, and so the id of that, is known in Python. */
    if (is_meant && d->decision->op == DIO_DO_STATX && arg_of(d->asked, d->decision->mask_arg) & KERNEL_STATX_IDS)
        return PART_ASK;
    return is_meant ? directory_decide(d, use) : PART_RUN;
}

/* Makes ready to walk a path that stands in `w->todo`. */
static enum part path_begin(const struct deciding *d, const struct dio_path_use *use, struct walk *w) {
    w->table = d->table;
    w->asked = d->asked;
    w->no_cached = d->decider->no_cached;
    w->no_openat2 = d->decider->no_openat2 || d->table->flags & DIO_DECIDE_CRAWL;
    w->follow = (uint8_t)path_follows(use, d->asked);
    w->fd = -1;
    w->checked = (uint8_t)owner_is_checked(d);
    w->touched = (uint8_t)(d->table->base_moved || is_minded(base_of(d)));
    w->at = 0;
    w->inode = 0;
    walk_begin(w);
    if (w->todo[0] != '/')
        return start_find(d, use, w);
    return base_of(d)->synthetic ? PART_ASK : PART_WALK;
}

static enum part path_read(const struct deciding *d, const struct dio_path_use *use, struct walk *w) {
    uint64_t address = arg_of(d->asked, use->path_arg);
    /* utimensat(2) and others take NULL for the descriptor itself. */
    if (!address)
        return directory_decide(d, use);
    ssize_t n = dio_memory_string(d->asked->tid, address, w->todo, PATH_MAX);
    if (n == -EFAULT || n == -ENAMETOOLONG)
        return PART_RUN;
    if (n < 0)
        return PART_ASK;
    return n ? path_begin(d, use, w) : path_empty(d, use);
}

/* Opening what was once opened through a mount by its plain path: Python takes note of that. */
static int is_known_opened(const struct deciding *d, struct walk *w) {
    struct stat status;
    if (d->decision->op != DIO_DO_OPEN || !d->decider->opened.count)
        return 0;
    int error = walk_open(w);
    if (error)
        return error != -ENOENT;
    return identity_read(w->fd, "", &status) || decider_opened_through(d->decider, d->asked->tid, &status) != OPENED_PLAINLY;
}

/* Ends a walk that met no mount. */
static enum part path_untouched(const struct deciding *d, struct walk *w, enum walk_end end) {
    if (wants_ids(d))
        return PART_ASK;
    if (end == WALK_FAILED)
        return PART_RUN;
    if (end == WALK_FOUND && d->decision->needs & DIO_NEEDS_NO_POINTS &&
        table_has_points(d->table, w->mount, w->path, w->length))
        return PART_ASK;
    if (d->decision->settle == DIO_SETTLE_EXEC)
        return end == WALK_FOUND && !decide_exec(w) ? PART_RUN : PART_ASK;
    return end == WALK_FOUND && is_known_opened(d, w) ? PART_ASK : PART_RUN;
}

/* Walks; PART_ASK may have a verdict in `out` already. */
static enum part path_walk(const struct deciding *d, struct walk *w, struct dio_verdict *out) {
    enum part part = PART_ASK;
    enum walk_end end = w->inode ? WALK_TOLD : walk_run(w);
    int is_done = out && d->decision->settle == DIO_SETTLE_PATHS && d->decision->path_count == 1;
    if (end == WALK_TOLD) {
        if (is_done)
            decide_told(d->decider, d->decision, d->asked, w, out);
        return PART_ASK;
    }
    if (d->table->mounts[w->mount].upper && !changes_nothing(d))
        end = WALK_ASK;
    if (end != WALK_ASK && !w->touched && (end == WALK_FAILED || !owner_is_shown(d)))
        part = path_untouched(d, w, end);
    else if (end != WALK_ASK && is_done)
        decide_do(d->decider, d->decision, d->asked, w, end, out);
    if (w->fd >= 0)
        close(w->fd);
    return part;
}

static enum part paths_decide(const struct deciding *d, struct dio_verdict *out) {
    struct walk w;
    if (d->decision->needs & DIO_NEEDS_PLAIN_CWD && is_in_mount(d))
        return PART_ASK;
    for (int i = 0; i < d->decision->path_count; i++) {
        enum part part = path_read(d, &d->decision->paths[i], &w);
        if (part == PART_WALK)
            part = path_walk(d, &w, out);
        if (part == PART_ASK)
            return part;
    }
    return PART_RUN;
}

/* ---- addresses ---- */

static enum part address_decide(const struct deciding *d, uint64_t address, int32_t size) {
    enum { MOST = sizeof(struct sockaddr_storage) };
    char data[MOST + 1];
    sa_family_t family;
    struct walk w;
    if (!address || size <= (int32_t)sizeof family || size > MOST)
        return PART_RUN;
    ssize_t n = dio_memory_read(d->asked->tid, address, data, (size_t)size);
    if (n == -EFAULT)
        return PART_RUN;
    if (n != size)
        return PART_ASK;
    memcpy(&family, data, sizeof family);
    size_t length = (size_t)size - sizeof family;
    if (length > sizeof ((struct sockaddr_un *)NULL)->sun_path)
        length = sizeof ((struct sockaddr_un *)NULL)->sun_path;
    data[sizeof family + length] = 0;
    if (family != AF_UNIX || !data[sizeof family])
        return PART_RUN;
    strcpy(w.todo, data + sizeof family);
    enum part part = path_begin(d, &d->decision->paths[0], &w);
    return part == PART_WALK ? path_walk(d, &w, NULL) : part;
}

/* The beginning of struct msghdr, six words: the address and its length, data, and what goes with it, which may be
 * descriptors. */
static enum part message_decide(const struct deciding *d) {
    unsigned char head[48];
    uint32_t low;
    uint64_t address, attached = 0;
    int32_t size;
    size_t word = d->asked->abi & 0x80000000u ? 8 : 4; /* __AUDIT_ARCH_64BIT */
    ssize_t n = dio_memory_read(d->asked->tid, arg_of(d->asked, d->decision->arg), head, 6 * word);
    if (n == -EFAULT)
        return PART_RUN;
    if (n != 6 * (ssize_t)word)
        return PART_ASK;
    memcpy(&attached, head + 5 * word, word);
    if (attached && (d->decider->identities.count || decider_has_opened(d->decider, d->asked->tid)))
        return PART_ASK;
    memcpy(&low, head, sizeof low);
    memcpy(&address, head, sizeof address);
    memcpy(&size, head + word, sizeof size);
    return address_decide(d, word == 8 ? address : low, size);
}

/* ---- the verdict ---- */

static enum part call_decide(const struct deciding *d, struct dio_verdict *out) {
    const struct dio_decision *decision = d->decision;
    const struct dio_asked *asked = d->asked;
    switch (decision->settle) {
    case DIO_SETTLE_RUN: return PART_RUN;
    case DIO_SETTLE_CWD: return current_decide(d);
    case DIO_SETTLE_CLONE: return clone_decide(d);
    case DIO_SETTLE_SIGNAL: return signal_decide(d);
    case DIO_SETTLE_PATHS: return paths_decide(d, out);
    case DIO_SETTLE_EXEC: return d->process.ask_exec ? PART_ASK : paths_decide(d, out);
    case DIO_SETTLE_MESSAGE: return message_decide(d);
    case DIO_SETTLE_BARE: return bare_decide(d);
    case DIO_SETTLE_FD:
        return decision->needs & DIO_NEEDS_PLAIN_CWD && is_in_mount(d) ? PART_ASK : descriptors_decide(d);
    case DIO_SETTLE_TIME: decide_reading(d->decider, decision, asked, d->process.clock, out); return PART_ASK;
    case DIO_SETTLE_WAIT: return decide_wait(d->decider, decision, asked, d->process.clock) ? PART_RUN : PART_ASK;
    case DIO_SETTLE_ANY_FD: return d->decider->identities.count ? PART_ASK : PART_RUN;
    case DIO_SETTLE_ADDRESS:
        return address_decide(d, arg_of(asked, decision->arg), (int32_t)arg_of(asked, decision->arg2));
    default: return PART_ASK;
    }
}

int dio_decide(struct dio_decider *decider, const struct dio_asked *asked, struct dio_verdict *out) {
    *out = (struct dio_verdict){.kind = DIO_VERDICT_ASK, .fd = -1};
    struct table *table = decider_table(decider);
    struct deciding d = {.decider = decider, .table = table, .asked = asked, .out = out};
    d.decision = table_decision(table, asked->abi, asked->nr);
    if (d.decision && !decider_find(decider, asked->tid, &d.process) && !d.process.ask_all &&
        call_decide(&d, out) == PART_RUN)
        out->kind = DIO_VERDICT_RUN;
    table_release(table);
    return 0;
}
