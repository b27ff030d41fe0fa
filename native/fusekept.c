/* fusekept.c - files of FUSE servers that are kept, to be opened for reading again, without the interpreter.
 *
 * Python opens a file the first time, and puts its content into a memfd (`diorama.dispatch.files.contents`).  When nobody
 * has it open any more it lets it be *kept* here: then whoever opens it by the same name, as it was, gets another open
 * file of that memfd, when the server has opened it and its content is still the same.  Whoever needs to know more of
 * it takes it back first, with what is open by then; what is being opened meanwhile goes to Python too.
 *
 * Who has it open is known as there: the kernel tells that an open file is gone (inotify), and whether there is still one
 * (by refusing a lease).  One handle is released for each time that it tells, and all when there is none.  What is told
 * of those that were released so by then is *due*, and releases nothing.  Two closings of the same file the kernel tells
 * as one if nothing else was told between them (inotify(7)); so something else is told at each open of what is open.
 *
 * A traced program cannot be given a descriptor.  It is *lent* one of ours, and opens that by its link in /proc; until its
 * call is over that it has it open cannot be seen. */
#include "kept.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LATE_MS = 50, LINK = 40 };

/* What could not be released just now. */
struct late {
    struct late *next;
    struct dio_told *told;
    uint64_t node;
    struct handle handle;
};

size_t keeper_slot(const struct dio_told *told, uint64_t inode) {
    uint64_t hash = (inode ^ (uintptr_t)told >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 40) % KEPT_SLOTS;
}

struct kept **kept_at(struct keeper *keeper, const struct dio_told *told, uint64_t inode) {
    struct kept **at = &keeper->slots[keeper_slot(told, inode)];
    while (*at && ((*at)->what.told != told || (*at)->what.inode != inode))
        at = &(*at)->next;
    return at;
}

static void link_of(int fd, char link[LINK]) { snprintf(link, LINK, "/proc/self/fd/%d", fd); }

void kept_unuse(struct kept *kept) {
    if (--kept->users)
        return;
    if (kept->made)
        close(kept->fd);
    free(kept->made);
    dio_told_free(kept->what.told);
    free(kept);
}

/* ---- who has something open ---- */

int dio_lease(int fd, int kind) {
    static pthread_mutex_t leasing = PTHREAD_MUTEX_INITIALIZER; /* an open file has one lease, whoever asks for it */
    int error = 0;
    pthread_mutex_lock(&leasing);
    /* One that is broken meanwhile must not end us by its signal (SIGIO); SIGURG is ignored.  Giving it back takes the
     * signal away, so it is set for each. */
    if (fcntl(fd, F_SETSIG, SIGURG) || fcntl(fd, F_SETLEASE, kind))
        error = errno ? errno : EAGAIN;
    else
        fcntl(fd, F_SETLEASE, F_UNLCK);
    pthread_mutex_unlock(&leasing);
    return error;
}

static void handle_release(struct keeper *keeper, const struct kept *kept, const struct handle *handle) {
    uint64_t node = dio_told_number(kept->what.told, kept->what.inode);
    if (!node || !server_release(kept->what.told, node, handle))
        return;
    struct late *late = malloc(sizeof *late);
    if (!late)
        return;
    *late = (struct late){.next = keeper->late, .told = told_take(kept->what.told), .node = node, .handle = *handle};
    keeper->late = late;
}

static void late_release(struct keeper *keeper) {
    pthread_mutex_lock(&keeper->lock);
    for (struct late **at = &keeper->late; *at;) {
        struct late *late = *at;
        if (server_release(late->told, late->node, &late->handle)) {
            at = &late->next;
            continue;
        }
        *at = late->next;
        dio_told_free(late->told);
        free(late);
    }
    pthread_mutex_unlock(&keeper->lock);
}

/* Nobody has it open, which has been told once. */
static void handles_release(struct keeper *keeper, struct kept *kept) {
    kept->due = kept->count ? kept->due + kept->count - 1 : kept->due - (kept->due > 0);
    for (unsigned i = 0; i < kept->count; i++)
        handle_release(keeper, kept, &kept->handles[i]);
    kept->count = 0;
}

static void handle_drop(struct keeper *keeper, struct kept *kept) {
    handle_release(keeper, kept, &kept->handles[0]);
    kept->count--;
    memmove(kept->handles, kept->handles + 1, kept->count * sizeof *kept->handles);
}

/* The kernel tells that an open file of it is gone. */
static void kept_closed(struct keeper *keeper, struct kept *kept) {
    kept->is_missed |= kept->lents != NULL;
    if (!kept->lents && !dio_lease(kept->fd, F_WRLCK)) {
        handles_release(keeper, kept);
    } else if (kept->due) {
        kept->due--;
    } else if (kept->count) {
        handle_drop(keeper, kept);
    }
}

static struct kept **watched_at(struct keeper *keeper, int watch) {
    struct kept **at = &keeper->watched[(unsigned)watch % KEPT_SLOTS];
    while (*at && (*at)->watch != watch)
        at = &(*at)->next_watched;
    return at;
}

static void kept_watch(struct keeper *keeper, struct kept *kept, int watch) {
    struct kept **at = &keeper->watched[(unsigned)watch % KEPT_SLOTS];
    kept->watch = watch;
    kept->next_watched = *at;
    *at = kept;
}

/* Settles what is told of what is kept; the size of the rest, which comes to stand at the beginning. */
static size_t events_settle(struct keeper *keeper, char *events, size_t size) {
    size_t left = 0;
    pthread_mutex_lock(&keeper->lock);
    for (size_t at = 0; at + sizeof(struct inotify_event) <= size;) {
        struct inotify_event event;
        memcpy(&event, events + at, sizeof event);
        size_t length = sizeof event + event.len;
        struct kept *kept = *watched_at(keeper, event.wd);
        /* What was closed after writing was none of these: it is told of what was Python's before. */
        if (kept && event.mask & IN_CLOSE_NOWRITE) {
            kept_closed(keeper, kept);
        } else if (event.wd != keeper->divides) {
            memmove(events + left, events + at, length);
            left += length;
        }
        at += length;
    }
    pthread_mutex_unlock(&keeper->lock);
    return left;
}

void dio_decider_closed(struct dio_decider *decider, int watch) {
    pthread_mutex_lock(&decider->keeper->lock);
    struct kept *kept = *watched_at(decider->keeper, watch);
    if (kept)
        kept_closed(decider->keeper, kept);
    pthread_mutex_unlock(&decider->keeper->lock);
}

ssize_t dio_decider_listen(struct dio_decider *decider, int inotify, int stop, void *events, size_t room) {
    struct keeper *keeper = decider->keeper;
    struct pollfd ready[] = {{.fd = inotify, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
    for (;;) {
        pthread_mutex_lock(&keeper->lock);
        int has_late = keeper->late != NULL;
        pthread_mutex_unlock(&keeper->lock);
        if (poll(ready, 2, has_late ? LATE_MS : -1) < 0 && errno != EINTR)
            return -errno;
        if (has_late)
            late_release(keeper);
        if (ready[1].revents)
            return 0;
        ssize_t n = ready[0].revents ? read(inotify, events, room) : 0;
        size_t left = n > 0 ? events_settle(keeper, events, (size_t)n) : 0;
        if (left)
            return (ssize_t)left;
    }
}

/* ---- keeping, and taking back ---- */

int keeper_init(struct dio_decider *decider) {
    decider->keeper = calloc(1, sizeof *decider->keeper);
    if (!decider->keeper)
        return -ENOMEM;
    decider->keeper->inotify = decider->keeper->divider = decider->keeper->divides = -1;
    first_init(decider->keeper);
    atomic_init(&decider->keeper->likely, LIKELY);
    return -pthread_mutex_init(&decider->keeper->lock, NULL);
}

void keeper_free(struct dio_decider *decider) {
    struct keeper *keeper = decider->keeper;
    for (size_t i = 0; keeper && i < KEPT_SLOTS; i++)
        while (keeper->slots[i]) {
            struct kept *kept = keeper->slots[i];
            keeper->slots[i] = kept->next;
            kept_unuse(kept);
        }
    while (keeper && keeper->late) {
        struct late *late = keeper->late;
        keeper->late = late->next;
        dio_told_free(late->told);
        free(late);
    }
    if (keeper) {
        first_free(keeper);
        if (keeper->divider >= 0)
            close(keeper->divider);
    }
    free(keeper);
}

void dio_decider_watches(struct dio_decider *decider, int inotify) {
    struct keeper *keeper = decider->keeper;
    char link[LINK];
    pthread_mutex_lock(&keeper->lock);
    keeper->inotify = inotify;
    keeper->divides = -1;
    if (inotify >= 0 && keeper->divider < 0)
        keeper->divider = memfd_create("divider", MFD_CLOEXEC);
    if (inotify >= 0 && keeper->divider >= 0) {
        link_of(keeper->divider, link);
        keeper->divides = inotify_add_watch(inotify, link, IN_ATTRIB);
    }
    pthread_mutex_unlock(&keeper->lock);
}

static void divide(const struct keeper *keeper) {
    if (keeper->divides >= 0)
        fchmod(keeper->divider, S_IRUSR | S_IWUSR);
}

void dio_decider_divide(struct dio_decider *decider) {
    pthread_mutex_lock(&decider->keeper->lock);
    divide(decider->keeper);
    pthread_mutex_unlock(&decider->keeper->lock);
}

void kept_enter(struct keeper *keeper, struct kept *kept) {
    struct kept **at = &keeper->slots[keeper_slot(kept->what.told, kept->what.inode)];
    kept->next = *at;
    *at = kept;
    atomic_fetch_add(&keeper->count, 1);
}

int kept_unwatch(struct keeper *keeper, struct kept *kept) {
    int watch = kept->watch;
    if (watch >= 0)
        *watched_at(keeper, watch) = kept->next_watched;
    kept->watch = -1;
    return watch;
}

int kept_leave(struct keeper *keeper, struct kept **at) {
    struct kept *kept = *at;
    *at = kept->next;
    atomic_fetch_sub(&keeper->count, 1);
    kept->is_gone = 1;
    return kept_unwatch(keeper, kept);
}

/* The link must be followed. */
static int link_open(const char *link, uint32_t flags) {
    return (int)syscall(SYS_openat, AT_FDCWD, link, (flags & ~(uint32_t)O_NOFOLLOW) | O_CLOEXEC, 0);
}

/* What shows that it is open, or about to be, to who has taken it: of what is lent that cannot be seen.  That it is
 * closed is told besides. */
static unsigned lents_show(struct kept *kept) {
    unsigned count = 0;
    char link[LINK];
    link_of(kept->fd, link);
    for (struct dio_lent *lent = kept->lents; lent; lent = lent->next) {
        lent->held = link_open(link, O_RDONLY | O_NONBLOCK);
        count += lent->held >= 0;
    }
    return count;
}

int dio_decider_keep(struct dio_decider *decider, const struct dio_kept *what, int fd, const struct dio_taken *open) {
    struct keeper *keeper = decider->keeper;
    struct kept *kept = calloc(1, sizeof *kept + what->length);
    if (!kept)
        return -ENOMEM;
    kept->what = *what;
    kept->what.name = memcpy(kept->name, what->name, what->length);
    kept->what.told = told_take(what->told);
    kept->fd = fd;
    kept->watch = -1;
    kept->users = 1;
    kept->due = open->due;
    for (; kept->count < open->count; kept->count++) {
        const struct dio_kept_handle *one = &open->handles[kept->count];
        kept->handles[kept->count] = (struct handle){.number = one->handle, .flags = one->flags, .how = one->how};
    }
    pthread_mutex_lock(&keeper->lock);
    if (open->watch >= 0)
        kept_watch(keeper, kept, open->watch);
    kept_enter(keeper, kept);
    pthread_mutex_unlock(&keeper->lock);
    return 0;
}

int dio_decider_take(struct dio_decider *decider, const struct dio_told *told, uint64_t inode, struct dio_taken *out) {
    struct keeper *keeper = decider->keeper;
    *out = (struct dio_taken){.watch = -1};
    pthread_mutex_lock(&keeper->lock);
    struct kept **at = kept_at(keeper, told, inode), *kept = *at;
    if (kept) {
        int watch = kept_leave(keeper, at);
        for (; out->count < kept->count; out->count++) {
            const struct handle *one = &kept->handles[out->count];
            out->handles[out->count] =
                (struct dio_kept_handle){.handle = one->number, .flags = one->flags, .how = one->how};
        }
        if (kept->count) {
            out->watch = watch;
            out->due = kept->due + lents_show(kept);
        } else if (watch >= 0) {
            inotify_rm_watch(keeper->inotify, watch);
        }
        kept_unuse(kept);
    }
    pthread_mutex_unlock(&keeper->lock);
    return kept ? 0 : -ENOENT;
}

void dio_decider_abandon(struct dio_decider *decider, const struct dio_told *told, uint64_t inode) {
    struct keeper *keeper = decider->keeper;
    pthread_mutex_lock(&keeper->lock);
    struct kept **at = kept_at(keeper, told, inode), *kept = *at;
    if (kept) {
        int watch = kept_leave(keeper, at);
        if (watch >= 0)
            inotify_rm_watch(keeper->inotify, watch);
        handles_release(keeper, kept);
        kept_unuse(kept);
    }
    pthread_mutex_unlock(&keeper->lock);
}

/* ---- opening ---- */

static int watch_begin(struct keeper *keeper, struct kept *kept, const char *link) {
    int watch = inotify_add_watch(keeper->inotify, link, IN_CLOSE_WRITE | IN_CLOSE_NOWRITE);
    if (watch < 0)
        return -1;
    kept_watch(keeper, kept, watch);
    return 0;
}

int kept_reopen(struct keeper *keeper, struct kept *kept, const struct handle *handle, uint32_t flags,
                struct dio_lent *lending) {
    char link[LINK];
    if (kept->is_gone || kept->count == DIO_KEPT_HANDLES || keeper->inotify < 0)
        return -1;
    link_of(kept->fd, link);
    if (kept->watch < 0 && watch_begin(keeper, kept, link))
        return -1;
    /* O_NONBLOCK: somebody's lease shall not hold us up.  Of O_PATH nothing is told. */
    int fd = link_open(link, lending ? O_PATH : flags | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (kept->count)
        divide(keeper);
    kept->handles[kept->count++] = *handle; /* closing it is told like any other */
    if (lending) {
        *lending = (struct dio_lent){.next = kept->lents, .keeper = keeper, .kept = kept, .fd = fd, .held = -1};
        kept->lents = lending;
        kept->users++;
        return fd;
    }
    int how = flags & O_NONBLOCK ? -1 : fcntl(fd, F_GETFL);
    if (how >= 0)
        fcntl(fd, F_SETFL, how & ~O_NONBLOCK);
    return fd;
}

void lent_end(struct dio_lent *lent, int is_open) {
    struct keeper *keeper = lent->keeper;
    struct kept *kept = lent->kept;
    pthread_mutex_lock(&keeper->lock);
    struct dio_lent **at = &kept->lents;
    while (*at != lent)
        at = &(*at)->next;
    *at = lent->next;
    kept->is_missed |= is_open < 0;
    if (!is_open && kept->count && !kept->is_gone)
        handle_drop(keeper, kept);
    if (kept->is_missed && !kept->lents) {
        kept->is_missed = 0;
        if (kept->count && !kept->is_gone && !dio_lease(kept->fd, F_WRLCK))
            handles_release(keeper, kept);
    }
    kept_unuse(kept);
    pthread_mutex_unlock(&keeper->lock);
    close(lent->fd);
    if (lent->held >= 0)
        close(lent->held);
    free(lent);
}
