/* fusefirst.c - files of FUSE servers that are opened for reading for the first time, without the interpreter.
 *
 * It is what Python does (`diorama.dispatch.files.contents`): the server opens the file, its content is read into a memfd
 * that looks as Python's do, and that is *made*: kept as what was opened there before.  Python *adopts* what was made
 * before it looks for anything, so whoever needs to know more of it finds it there.
 *
 * What Python has, or is about to look at, it *claims*.  Nothing of that is made here, nor what was claimed since the
 * server was asked: it may have been changed meanwhile.  What nobody knows of and nobody has open is a cache, of which
 * the oldest goes first. */
#include "kept.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define NSEC INT64_C(1000000000)

enum { NAME_MOST = 200, MADE_MOST = 1024, MADE_SIZE = 64 << 20 };
enum { PAGE = 4096, DROP_TRIES = 16, EXECUTABLE = 0x10 /* MFD_EXEC */ };

/* ---- claims ---- */

static struct claim **claim_at(struct keeper *keeper, const struct dio_told *told, uint64_t inode) {
    struct claim **at = &keeper->claims[keeper_slot(told, inode)];
    while (*at && ((*at)->told != told || (*at)->inode != inode))
        at = &(*at)->next;
    return at;
}

/* With the lock. */
static int claim(struct keeper *keeper, const struct dio_told *told, uint64_t inode) {
    struct claim **at = claim_at(keeper, told, inode);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            return -ENOMEM;
        **at = (struct claim){.told = told, .inode = inode};
    }
    (*at)->count++;
    keeper->claimed[keeper_slot(told, inode)]++;
    return 0;
}

int dio_decider_claim(struct dio_decider *decider, const struct dio_told *told, uint64_t inode) {
    pthread_mutex_lock(&decider->keeper->lock);
    int error = claim(decider->keeper, told, inode);
    pthread_mutex_unlock(&decider->keeper->lock);
    return error;
}

void dio_decider_disclaim(struct dio_decider *decider, const struct dio_told *told, uint64_t inode) {
    pthread_mutex_lock(&decider->keeper->lock);
    struct claim **at = claim_at(decider->keeper, told, inode), *one = *at;
    if (one && !--one->count) {
        *at = one->next;
        free(one);
    }
    pthread_mutex_unlock(&decider->keeper->lock);
}

void dio_decider_opens(struct dio_decider *decider, int gives) {
    pthread_mutex_lock(&decider->keeper->lock);
    decider->keeper->gives = gives;
    pthread_mutex_unlock(&decider->keeper->lock);
}

void dio_told_opens(struct dio_told *told, uint32_t most) { atomic_store(&told_server(told)->opens, most); }

/* ---- what was made ---- */

void made_forget(struct keeper *keeper, struct kept *kept) {
    struct made *made = kept->made;
    *(made->older ? &made->older->made->newer : &keeper->oldest) = made->newer;
    *(made->newer ? &made->newer->made->older : &keeper->newest) = made->older;
    keeper->made_size -= kept->what.size;
    atomic_fetch_sub(&keeper->made_count, 1);
}

/* With the lock. */
static void made_note(struct keeper *keeper, struct kept *kept) {
    kept->made->newer = NULL;
    kept->made->older = keeper->newest;
    *(keeper->newest ? &keeper->newest->made->newer : &keeper->oldest) = kept;
    keeper->newest = kept;
    keeper->made_size += kept->what.size;
    atomic_fetch_add(&keeper->made_count, 1);
}

const uint32_t *dio_decider_made(struct dio_decider *decider) {
    return (const uint32_t *)(const void *)&decider->keeper->made_count;
}

int dio_decider_adopt(struct dio_decider *decider, struct dio_made *out) {
    struct keeper *keeper = decider->keeper;
    int error = -ENOENT;
    pthread_mutex_lock(&keeper->lock);
    struct kept *kept = keeper->oldest;
    if (kept)
        error = claim(keeper, kept->what.told, kept->what.inode);
    if (!error) {
        struct made *made = kept->made;
        out->what = kept->what;
        out->what.name = NULL;
        out->node = made->node;
        out->base = made->base;
        out->fd = kept->fd;
        out->length = (uint32_t)made->length;
        memcpy(out->path, made->path, made->length);
        made_forget(keeper, kept);
        kept->made = NULL;
        free(made);
    }
    pthread_mutex_unlock(&keeper->lock);
    return error;
}

static int is_idle(const struct kept *kept) {
    return !kept->count && kept->users == 1 && !dio_lease(kept->fd, F_WRLCK);
}

/* Nobody knows of it any more; with the lock. */
static void made_drop(struct dio_decider *decider, struct kept *kept) {
    struct keeper *keeper = decider->keeper;
    int watch = kept_leave(keeper, kept_at(keeper, kept->what.told, kept->what.inode));
    if (watch >= 0)
        inotify_rm_watch(keeper->inotify, watch);
    stands_drop(decider, kept->made->device, kept->made->number);
    made_forget(keeper, kept);
    kept_unuse(kept);
}

/* Makes room for one more: 0, or -1 where it is in use, and Python must know it.  With the lock. */
static int room_make(struct dio_decider *decider, uint64_t size) {
    struct keeper *keeper = decider->keeper;
    int tries = DROP_TRIES;
    while (atomic_load(&keeper->made_count) >= keeper->made_most || keeper->made_size + size > MADE_SIZE) {
        struct kept *kept = keeper->oldest;
        if (!kept || !tries--)
            return -1;
        if (is_idle(kept)) {
            made_drop(decider, kept);
            continue;
        }
        made_forget(keeper, kept);
        made_note(keeper, kept);
    }
    return 0;
}

/* A part of what the supervisor may have open. */
void first_init(struct keeper *keeper) {
    struct rlimit limit;
    keeper->made_most = MADE_MOST;
    if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur / 4 < MADE_MOST)
        keeper->made_most = (unsigned)limit.rlim_cur / 4;
}

void first_free(struct keeper *keeper) {
    for (size_t i = 0; i < KEPT_SLOTS; i++)
        while (keeper->claims[i]) {
            struct claim *one = keeper->claims[i];
            keeper->claims[i] = one->next;
            free(one);
        }
}

/* ---- its memfd ---- */

static int content_read(struct session *s, uint64_t node, const struct kept_place *at, uint32_t most,
                        const struct handle *handle, int fd) {
    uint64_t size = at->node->size, offset = 0;
    /* What is asked for is more than there should be, so that the end is seen. */
    uint64_t wanted = (size + PAGE) / PAGE * PAGE;
    uint32_t piece = wanted < most ? (uint32_t)wanted : most;
    ssize_t n = (ssize_t)piece;
    char *answer = size ? malloc(READ_HEAD + piece) : NULL;
    int is_whole = answer || !size;
    /* Who has more than that, perhaps without end, is for Python. */
    while (is_whole && size && n == (ssize_t)piece && offset <= size) {
        n = session_read(s, node, handle, offset, piece, answer);
        is_whole = n >= 0 && pwrite(fd, answer + READ_HEAD, (size_t)n, (off_t)offset) == n;
        offset += n > 0 ? (uint64_t)n : 0;
    }
    free(answer);
    return is_whole && offset == size;
}

static struct timespec time_of(int64_t nanoseconds) {
    int64_t rest = (nanoseconds % NSEC + NSEC) % NSEC;
    return (struct timespec){.tv_sec = (nanoseconds - rest) / NSEC, .tv_nsec = rest};
}

/* As `diorama.dispatch.files.content.set_status`. */
static void status_set(int fd, const struct dio_told_node *node) {
    struct timespec times[] = {time_of(node->accessed), time_of(node->modified)};
    struct stat status;
    mode_t special = node->mode & S_ISUID;
    if (node->mode & S_IXGRP)
        special |= node->mode & S_ISGID;
    if (!fstat(fd, &status) && (status.st_uid != node->uid || status.st_gid != node->gid) &&
        fchown(fd, node->uid, node->gid))
        errno = 0; /* where we may not, it stays ours */
    fchmod(fd, 0777 | special);
    futimens(fd, times);
}

static int memfd_named(const struct kept_place *at) {
    char name[NAME_MOST + 1];
    memcpy(name, at->name, at->length);
    name[at->length] = 0;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | EXECUTABLE);
    return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING) : fd;
}

/* For reading only: execution needs a file that nobody has open for writing. */
static int memfd_fill(struct session *s, uint64_t node, const struct kept_place *at, uint32_t most,
                      const struct handle *handle) {
    char link[40];
    int writable = memfd_named(at), fd = -1;
    if (writable < 0)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", writable);
    if (content_read(s, node, at, most, handle, writable))
        fd = open(link, O_RDONLY | O_CLOEXEC | O_NOATIME);
    close(writable);
    if (fd >= 0)
        status_set(fd, at->node);
    return fd;
}

/* ---- opening ---- */

/* The names from `base` on, without what means nothing. */
static size_t path_write(const struct kept_place *at, char *out) {
    const char *rest = at->path, *name;
    size_t length, written = 0;
    while ((length = name_next(&rest, &name))) {
        if (length == 1 && *name == '.')
            continue;
        out[written++] = '/';
        memcpy(out + written, name, length);
        written += length;
    }
    return written;
}

static struct kept *made_new(const struct kept_place *at, uint32_t most, uint64_t moved, int fd) {
    struct kept *kept = calloc(1, sizeof *kept + at->length);
    struct made *made = calloc(1, sizeof *made + strlen(at->path) + 1);
    struct stat status;
    if (!kept || !made || fstat(fd, &status)) {
        free(kept);
        free(made);
        return NULL;
    }
    *made = (struct made){.base = at->base, .device = status.st_dev, .number = status.st_ino, .node = *at->node};
    made->length = path_write(at, made->path);
    kept->made = made;
    kept->what = (struct dio_kept){.told = told_take(at->told), .inode = at->node->inode, .directory = at->directory,
                                   .size = at->node->size, .modified = at->node->modified,
                                   .name = memcpy(kept->name, at->name, at->length), .length = at->length,
                                   .mount = at->mount, .most = most, .moved = moved};
    kept->fd = fd;
    kept->watch = -1;
    kept->users = 1;
    return kept;
}

/* Whether it is nobody's; with the lock. */
static int is_free(struct keeper *keeper, const struct kept_place *at) {
    return keeper->gives && keeper->inotify >= 0 && !*claim_at(keeper, at->told, at->node->inode) &&
           !*kept_at(keeper, at->told, at->node->inode) && dio_told_number(at->told, at->node->inode) &&
           !told_differs(at->told, at->node->inode);
}

static int first_begin(struct keeper *keeper, const struct kept_place *at, uint64_t *claimed) {
    pthread_mutex_lock(&keeper->lock);
    int error = is_free(keeper, at) ? 0 : -1;
    *claimed = keeper->claimed[keeper_slot(at->told, at->node->inode)];
    pthread_mutex_unlock(&keeper->lock);
    return error;
}

/* Enters what was made, and opens it; -1 if it must be opened by Python.  What is not entered is freed. */
static int made_enter(struct dio_decider *decider, struct kept *kept, const struct kept_place *at, uint64_t claimed,
                      const struct handle *handle, uint32_t flags, struct dio_lent *lending) {
    struct keeper *keeper = decider->keeper;
    const struct made *made = kept->made;
    int fd = -1, error = dio_decider_stands(decider, made->device, made->number, at->mount, at->node->inode);
    if (!error)
        error = dio_decider_identity(decider, made->device, 0);
    pthread_mutex_lock(&keeper->lock);
    if (!error && is_free(keeper, at) && claimed == keeper->claimed[keeper_slot(at->told, at->node->inode)] &&
        kept->what.moved == dio_told_moved(at->told) && !room_make(decider, at->node->size))
        fd = kept_reopen(keeper, kept, handle, flags, lending);
    if (fd >= 0) {
        kept_enter(keeper, kept);
        made_note(keeper, kept);
    }
    int watch = fd < 0 ? kept_unwatch(keeper, kept) : -1;
    if (watch >= 0)
        inotify_rm_watch(keeper->inotify, watch);
    pthread_mutex_unlock(&keeper->lock);
    if (fd < 0) {
        stands_drop(decider, made->device, made->number);
        kept_unuse(kept);
    }
    return fd;
}

int first_open(struct dio_decider *decider, struct session *s, const struct kept_place *at, uint32_t flags,
               struct dio_lent **lent) {
    uint32_t most = atomic_load(&told_server(at->told)->opens);
    uint64_t claimed, moved = dio_told_moved(at->told), node = dio_told_number(at->told, at->node->inode);
    struct handle handle;
    if (!most || at->length > NAME_MOST || strlen(at->path) >= DIO_MADE_PATH || first_begin(decider->keeper, at, &claimed))
        return KEPT_ASK;
    int result = session_open(s, node, flags & ~(uint32_t)(O_NOCTTY | O_CLOEXEC), &handle);
    if (result == -ENOSYS)
        atomic_store(&told_server(at->told)->opens, 0);
    if (result <= 0)
        return result < 0 && result != -ENOSYS ? result : KEPT_ASK;
    struct dio_lent *lending = lent ? calloc(1, sizeof *lending) : NULL;
    int is_cached = !(handle.how & UNCACHED) && !lent == !lending, fd = -1;
    int content = is_cached ? memfd_fill(s, node, at, most, &handle) : -1;
    struct kept *kept = content < 0 ? NULL : made_new(at, most, moved, content);
    if (kept)
        fd = made_enter(decider, kept, at, claimed, &handle, flags, lending);
    else if (content >= 0)
        close(content);
    if (fd >= 0 && lent)
        *lent = lending;
    if (fd >= 0)
        return fd;
    free(lending);
    server_give(at->told, node, &handle);
    return KEPT_ASK;
}
