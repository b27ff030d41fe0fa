/* decide_state.c - what changes while programs run: processes, what they opened, identities. */
#include "listing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct process_entry {
    pid_t tgid;
    struct dio_process is;
};
struct identity_entry {
    uint64_t dev, ino;
};
struct stand_entry {
    uint64_t dev, ino, inode;
    int32_t mount, pad;
};

/* ---- sorted arrays ---- */

#define ORDER(a, b) ((a) < (b) ? -1 : (a) > (b))

static int process_order(const void *left, const void *right) {
    const struct process_entry *a = left, *b = right;
    return ORDER(a->tgid, b->tgid);
}

static int identity_order(const void *left, const void *right) {
    const struct identity_entry *a = left, *b = right;
    return a->dev != b->dev ? ORDER(a->dev, b->dev) : ORDER(a->ino, b->ino);
}

static int stand_order(const void *left, const void *right) {
    const struct stand_entry *a = left, *b = right;
    return a->dev != b->dev ? ORDER(a->dev, b->dev) : ORDER(a->ino, b->ino);
}

/* The index of the first that is not less. */
size_t sorted_place(const struct sorted *s, const void *key) {
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->order(s->items + middle * s->size, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void *sorted_find(const struct sorted *s, const void *key) {
    size_t at = sorted_place(s, key);
    char *item = s->items + at * s->size;
    return at < s->count && !s->order(item, key) ? item : NULL;
}

int sorted_put(struct sorted *s, const void *item) {
    void *known = sorted_find(s, item);
    if (known) {
        memcpy(known, item, s->size);
        return 0;
    }
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 16;
        char *grown = realloc(s->items, room * s->size);
        if (!grown)
            return -ENOMEM;
        s->items = grown;
        s->room = room;
    }
    size_t at = sorted_place(s, item);
    memmove(s->items + (at + 1) * s->size, s->items + at * s->size, (s->count - at) * s->size);
    memcpy(s->items + at * s->size, item, s->size);
    s->count++;
    return 0;
}

void sorted_drop(struct sorted *s, const void *key) {
    char *known = sorted_find(s, key);
    if (!known)
        return;
    s->count--;
    memmove(known, known + s->size, s->count * s->size - (size_t)(known - s->items));
}

/* ---- the decider ---- */

static int openat2_is_missing(uint64_t resolve) {
    struct kernel_open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve};
    int fd = (int)syscall(KERNEL_OPENAT2, AT_FDCWD, "/", &how, sizeof how);
    if (fd < 0)
        return 1;
    close(fd);
    return 0;
}

void sorted_init(struct sorted *s, size_t size, int (*order)(const void *, const void *)) {
    s->size = size;
    s->order = order;
    atomic_init(&s->count, 0);
}

int dio_decider_new(struct dio_decider **out) {
    static const struct dio_mounted root = {.parent = -1, .host = "", .directory = 1};
    struct dio_decider *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    int error = table_make(NULL, 0, &root, 1, NULL, 0, &d->table);
    if (!error)
        error = -pthread_rwlock_init(&d->lock, NULL);
    if (!error)
        error = clocks_init(d);
    if (!error)
        error = keeper_init(d);
    if (!error)
        error = standins_init(d);
    if (error) {
        table_release(d->table);
        free(d);
        return error;
    }
    sorted_init(&d->processes, sizeof(struct process_entry), process_order);
    opened_init(d);
    sorted_init(&d->identities, sizeof(struct identity_entry), identity_order);
    sorted_init(&d->stands, sizeof(struct stand_entry), stand_order);
    rights_learn(&d->rights);
    d->no_openat2 = (uint8_t)openat2_is_missing(KERNEL_NO_SYMLINKS);
    d->no_cached = (uint8_t)openat2_is_missing(KERNEL_NO_SYMLINKS | KERNEL_CACHED);
    *out = d;
    return 0;
}

void dio_decider_free(struct dio_decider *d) {
    if (!d)
        return;
    table_release(d->table);
    free(d->processes.items);
    free(d->opened.items);
    free(d->identities.items);
    free(d->stands.items);
    free(d->reached);
    clocks_free(d);
    keeper_free(d);
    standins_free(d);
    pthread_rwlock_destroy(&d->lock);
    free(d);
}

int dio_decider_load(struct dio_decider *d, const struct dio_decision *decisions, size_t decision_count,
                     const struct dio_mounted *mounts, size_t mount_count, const char *const *privates, uint32_t flags) {
    struct table *made = NULL;
    int error = table_make(decisions, decision_count, mounts, mount_count, privates, flags, &made);
    if (error)
        return error;
    pthread_rwlock_wrlock(&d->lock);
    struct table *old = d->table;
    d->table = made;
    pthread_rwlock_unlock(&d->lock);
    table_release(old);
    return 0;
}

struct table *decider_table(struct dio_decider *d) {
    pthread_rwlock_rdlock(&d->lock);
    struct table *table = d->table;
    atomic_fetch_add(&table->references, 1);
    pthread_rwlock_unlock(&d->lock);
    return table;
}

void dio_decider_strangers(struct dio_decider *d) { atomic_store(&d->strangers, 1); }

int dio_decider_process(struct dio_decider *d, pid_t tgid, const struct dio_process *process) {
    struct process_entry entry = {.tgid = tgid};
    int error = 0;
    if (process)
        entry.is = *process;
    pthread_rwlock_wrlock(&d->lock);
    if (process && (process->ask_all || process->ask_exec || process->ask_clone || process->checked ||
                    process->clock || process->cwd_mount > 0))
        error = sorted_put(&d->processes, &entry);
    else
        sorted_drop(&d->processes, &entry);
    pthread_rwlock_unlock(&d->lock);
    return error;
}

void dio_decider_forget(struct dio_decider *d, pid_t tgid) {
    struct process_entry entry = {.tgid = tgid};
    pthread_rwlock_wrlock(&d->lock);
    sorted_drop(&d->processes, &entry);
    opened_drop(d, tgid);
    pthread_rwlock_unlock(&d->lock);
    struct table *table = decider_table(d);
    for (size_t i = 0; i < table->mount_count; i++)
        if (table->mounts[i].told)
            listing_leave(table->mounts[i].told, 0, tgid);
    table_release(table);
}

int dio_decider_identity(struct dio_decider *d, uint64_t dev, uint64_t ino) {
    struct identity_entry entry = {.dev = dev, .ino = ino};
    pthread_rwlock_wrlock(&d->lock);
    int error = sorted_put(&d->identities, &entry);
    pthread_rwlock_unlock(&d->lock);
    return error;
}

int dio_decider_stands(struct dio_decider *d, uint64_t dev, uint64_t ino, int32_t mount, uint64_t inode) {
    struct stand_entry entry = {.dev = dev, .ino = ino, .inode = inode, .mount = mount};
    pthread_rwlock_wrlock(&d->lock);
    int error = sorted_put(&d->stands, &entry);
    pthread_rwlock_unlock(&d->lock);
    return error;
}

void stands_drop(struct dio_decider *d, uint64_t dev, uint64_t ino) {
    const struct stand_entry entry = {.dev = dev, .ino = ino};
    pthread_rwlock_wrlock(&d->lock);
    sorted_drop(&d->stands, &entry);
    pthread_rwlock_unlock(&d->lock);
}

/* ---- look-ups ---- */

/* Whether a thread belongs to a process.  Whatever the kernel says but "no such" means that it does. */
int thread_belongs(pid_t tgid, pid_t tid) { return !syscall(SYS_tgkill, tgid, tid, 0) || errno != ESRCH; }

pid_t thread_process(pid_t tid) {
    if (thread_belongs(tid, tid))
        return tid;
    char name[40], line[128];
    int tgid = -1;
    snprintf(name, sizeof name, "/proc/%d/status", tid);
    FILE *file = fopen(name, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Tgid: %d", &tgid) == 1)
            break;
    fclose(file);
    return tgid;
}

/* 1 and the process of that id if it is special. */
static int special_find(struct dio_decider *d, pid_t tgid, struct dio_process *out) {
    struct process_entry key = {.tgid = tgid};
    pthread_rwlock_rdlock(&d->lock);
    const struct process_entry *found = sorted_find(&d->processes, &key);
    if (found)
        *out = found->is;
    pthread_rwlock_unlock(&d->lock);
    return found != NULL;
}

int decider_find(struct dio_decider *d, pid_t tid, struct dio_process *out) {
    *out = (struct dio_process){.cwd_mount = -1};
    if (!d->processes.count || special_find(d, tid, out))
        return 0;
    pid_t tgid = thread_process(tid);
    if (tgid < 0)
        return -EAGAIN;
    if (tgid != tid)
        special_find(d, tgid, out);
    return 0;
}

int decider_is_virtual(struct dio_decider *d, const struct stat *status) {
    struct identity_entry one = {.dev = status->st_dev, .ino = status->st_ino}, all = {.dev = status->st_dev, .ino = 0};
    if (!d->identities.count)
        return 0;
    pthread_rwlock_rdlock(&d->lock);
    int found = sorted_find(&d->identities, &one) || sorted_find(&d->identities, &all);
    pthread_rwlock_unlock(&d->lock);
    return found;
}

int decider_stands(struct dio_decider *d, const struct stat *status, int32_t *mount, uint64_t *inode) {
    struct stand_entry key = {.dev = status->st_dev, .ino = status->st_ino};
    if (!d->stands.count)
        return 0;
    pthread_rwlock_rdlock(&d->lock);
    const struct stand_entry *found = sorted_find(&d->stands, &key);
    if (found) {
        *mount = found->mount;
        *inode = found->inode;
    }
    pthread_rwlock_unlock(&d->lock);
    return found != NULL;
}

static int descriptor_writes(const char *name) {
    struct stat link;
    return lstat(name, &link) || link.st_mode & S_IWUSR;
}

/* All memfds are known by their device; one that is known by its number too is a file with locks, or in pieces. */
static int memfd_is_minded(struct dio_decider *d, const struct stat *status) {
    struct identity_entry one = {.dev = status->st_dev, .ino = status->st_ino};
    if (!S_ISREG(status->st_mode))
        return 0;
    pthread_rwlock_rdlock(&d->lock);
    int found = sorted_find(&d->identities, &one) != NULL;
    pthread_rwlock_unlock(&d->lock);
    return found;
}

int closing_matters(struct dio_decider *d, const char *name, const struct stat *status) {
    if (S_ISDIR(status->st_mode))
        return 0; /* nobody writes to one */
    return descriptor_writes(name) || memfd_is_minded(d, status);
}

int decider_is_direct(struct dio_decider *d, pid_t tid, int32_t fd) {
    char name[48];
    struct stat status;
    if (fd < 0 || !d->identities.count)
        return 0;
    snprintf(name, sizeof name, "/proc/%d/fd/%d", tid, fd);
    int error = identity_read(AT_FDCWD, name, &status);
    if (error)
        return error != -ENOENT;
    return memfd_is_minded(d, &status) || (S_ISSOCK(status.st_mode) && decider_is_virtual(d, &status));
}
