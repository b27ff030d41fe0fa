/* decide_opened.c - which directories a process has opened through a mount.
 *
 * A host directory is the same object whichever way it was reached, so the way is remembered here, by device and
 * inode, for as long as the process has it open: closing is not told, so what is closed is found out when the
 * table has grown.
 *
 * What was sent to others as a descriptor is noted for process 0 too: that is what holds for a process with no note
 * of its own.  So who has opened such a directory plainly needs a note that says so, mount 0. */
#include "decide.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SWEEP_AT = 1024 };

struct opened_entry {
    uint64_t dev, ino;
    pid_t tgid;
    int32_t mount;
};

#define ORDER(a, b) ((a) < (b) ? -1 : (a) > (b))

static int opened_order(const void *left, const void *right) {
    const struct opened_entry *a = left, *b = right;
    if (a->tgid != b->tgid)
        return ORDER(a->tgid, b->tgid);
    return a->dev != b->dev ? ORDER(a->dev, b->dev) : ORDER(a->ino, b->ino);
}

void opened_init(struct dio_decider *d) {
    sorted_init(&d->opened, sizeof(struct opened_entry), opened_order);
    d->sweep_at = SWEEP_AT;
}

static struct opened_entry *entries(const struct dio_decider *d) {
    return (struct opened_entry *)(void *)d->opened.items;
}

/* The first entry of a process, or where it would be; the lock is held. */
static size_t opened_first(const struct dio_decider *d, pid_t tgid) {
    const struct opened_entry key = {.tgid = tgid};
    return sorted_place(&d->opened, &key);
}

static size_t opened_end(const struct dio_decider *d, size_t first, pid_t tgid) {
    size_t end = first;
    while (end < d->opened.count && entries(d)[end].tgid == tgid)
        end++;
    return end;
}

void opened_drop(struct dio_decider *d, pid_t tgid) {
    size_t first = opened_first(d, tgid), end = opened_end(d, first, tgid);
    memmove(entries(d) + first, entries(d) + end, (d->opened.count - end) * sizeof(struct opened_entry));
    d->opened.count -= end - first;
}

/* ---- what is closed by now ---- */

static int identity_is(const void *left, const void *right) {
    const struct opened_entry *a = left, *b = right;
    return a->dev != b->dev ? ORDER(a->dev, b->dev) : ORDER(a->ino, b->ino);
}

/* The identities of all descriptors of a process, in order; the count, or -errno. */
static ssize_t open_now(pid_t tgid, struct opened_entry **out) {
    char name[40];
    size_t count = 0, room = 0;
    struct dirent *one;
    snprintf(name, sizeof name, "/proc/%d/fd", tgid);
    DIR *listing = opendir(name);
    *out = NULL;
    if (!listing)
        return -errno;
    while ((one = readdir(listing)) != NULL) {
        struct stat status;
        if (fstatat(dirfd(listing), one->d_name, &status, 0))
            continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            struct opened_entry *grown = realloc(*out, room * sizeof *grown);
            if (!grown) {
                free(*out);
                closedir(listing);
                return -ENOMEM;
            }
            *out = grown;
        }
        (*out)[count++] = (struct opened_entry){.dev = status.st_dev, .ino = status.st_ino};
    }
    closedir(listing);
    if (count)
        qsort(*out, count, sizeof **out, identity_is);
    return (ssize_t)count;
}

static void opened_sweep(struct dio_decider *d, pid_t tgid) {
    struct opened_entry *now;
    ssize_t count = open_now(tgid, &now);
    if (count < 0)
        return;
    pthread_rwlock_wrlock(&d->lock);
    size_t first = opened_first(d, tgid), end = opened_end(d, first, tgid), kept = first;
    for (size_t i = first; i < end; i++)
        if (count && bsearch(&entries(d)[i], now, (size_t)count, sizeof *now, identity_is))
            entries(d)[kept++] = entries(d)[i];
    memmove(entries(d) + kept, entries(d) + end, (d->opened.count - end) * sizeof *now);
    d->opened.count -= end - kept;
    d->sweep_at = 2 * d->opened.count > SWEEP_AT ? 2 * d->opened.count : SWEEP_AT;
    pthread_rwlock_unlock(&d->lock);
    free(now);
}

/* ---- notes and look-ups ---- */

int dio_decider_opened(struct dio_decider *d, pid_t tgid, uint64_t dev, uint64_t ino, int32_t mount) {
    struct opened_entry entry = {.dev = dev, .ino = ino, .tgid = tgid, .mount = mount};
    int error = 0;
    if (mount > 0 && d->opened.count >= d->sweep_at)
        opened_sweep(d, tgid);
    pthread_rwlock_wrlock(&d->lock);
    if (mount >= 0)
        error = sorted_put(&d->opened, &entry);
    else
        sorted_drop(&d->opened, &entry);
    pthread_rwlock_unlock(&d->lock);
    return error;
}

int dio_decider_inherit(struct dio_decider *d, pid_t parent, pid_t child) {
    int error = 0;
    if (!d->opened.count)
        return 0;
    pthread_rwlock_wrlock(&d->lock);
    size_t first = opened_first(d, parent), count = opened_end(d, first, parent) - first;
    for (size_t i = 0; i < count && !error; i++) {
        /* Anew each time: what was put before may have moved it. */
        struct opened_entry entry = entries(d)[opened_first(d, parent) + i];
        entry.tgid = child;
        error = sorted_put(&d->opened, &entry);
    }
    pthread_rwlock_unlock(&d->lock);
    return error;
}

int32_t dio_decider_opened_through(struct dio_decider *d, pid_t tgid, uint64_t dev, uint64_t ino) {
    struct opened_entry key = {.dev = dev, .ino = ino, .tgid = tgid};
    int32_t mount = OPENED_PLAINLY;
    if (!d->opened.count)
        return mount;
    pthread_rwlock_rdlock(&d->lock);
    if (!dev && !ino) {
        size_t first = opened_first(d, tgid);
        mount = opened_end(d, first, tgid) > first ? 0 : OPENED_PLAINLY;
    } else {
        const struct opened_entry *found = sorted_find(&d->opened, &key);
        key.tgid = 0;
        if (!found)
            found = sorted_find(&d->opened, &key);
        mount = found ? found->mount : OPENED_PLAINLY;
    }
    pthread_rwlock_unlock(&d->lock);
    return mount;
}

int32_t decider_opened_through(struct dio_decider *d, pid_t tid, const struct stat *status) {
    if (!d->opened.count)
        return OPENED_PLAINLY;
    pid_t tgid = thread_process(tid);
    if (tgid < 0)
        return OPENED_UNSURE;
    int32_t mount = dio_decider_opened_through(d, tgid, status->st_dev, status->st_ino);
    return mount > 0 ? mount : OPENED_PLAINLY;
}

int decider_has_opened(struct dio_decider *d, pid_t tid) {
    return d->opened.count && dio_decider_opened_through(d, thread_process(tid), 0, 0) != OPENED_PLAINLY;
}

/* ---- by which mount a file was reached ---- */

static size_t reached_at(uint64_t dev, uint64_t ino) {
    uint64_t hash = (dev * UINT64_C(0x9e3779b97f4a7c15) ^ ino) * UINT64_C(0xff51afd7ed558ccd);
    return (size_t)(hash >> 40) % REACHED;
}

int dio_decider_reach(struct dio_decider *d, uint64_t dev, uint64_t ino, int32_t mount) {
    pthread_rwlock_wrlock(&d->lock);
    if (!d->reached)
        d->reached = calloc(REACHED, sizeof *d->reached);
    if (d->reached)
        d->reached[reached_at(dev, ino)] = (struct reached){.dev = dev, .ino = ino, .mount = mount};
    int error = d->reached ? 0 : -ENOMEM;
    pthread_rwlock_unlock(&d->lock);
    return error;
}

int32_t dio_decider_reached(struct dio_decider *d, uint64_t dev, uint64_t ino) {
    int32_t mount = OPENED_PLAINLY;
    pthread_rwlock_rdlock(&d->lock);
    const struct reached *r = d->reached ? &d->reached[reached_at(dev, ino)] : NULL;
    if (r && r->mount > 0 && r->dev == dev && r->ino == ino)
        mount = r->mount;
    pthread_rwlock_unlock(&d->lock);
    return mount;
}
