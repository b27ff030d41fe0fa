/* standins.c - directories of FUSE servers that are opened again, without the interpreter.
 *
 * Python makes the real directory that stands for one when that is opened first (`diorama.dispatch.files.standins`), and
 * tells what path the program had come by.  Whoever opens the same by the same path gets the same real directory: as a
 * descriptor, or by its path.  All paths are forgotten when a directory is renamed.  */
#include "told.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLOTS = 4096, MOST = 1 << 16, LIKELY = 16, UNLIKELY = 2, TRIES = 16 };

struct standin {
    struct standin *next;
    int32_t mount;
    uint64_t inode;
    size_t length; /* of `path`, which begins with a slash, or is empty at the root of the mount */
    char path[];   /* and, behind a zero byte, that of the real one */
};

struct standins {
    pthread_rwlock_t lock;
    struct standin *slots[SLOTS];
    atomic_uint count;
    atomic_int likely, tried;
};

int standins_init(struct dio_decider *decider) {
    decider->standins = calloc(1, sizeof *decider->standins);
    if (!decider->standins)
        return -ENOMEM;
    return -pthread_rwlock_init(&decider->standins->lock, NULL);
}

/* With the lock. */
static void drop_all(struct standins *all) {
    for (size_t i = 0; i < SLOTS; i++)
        while (all->slots[i]) {
            struct standin *one = all->slots[i];
            all->slots[i] = one->next;
            free(one);
        }
    atomic_store(&all->count, 0);
}

void standins_free(struct dio_decider *decider) {
    if (decider->standins)
        drop_all(decider->standins);
    free(decider->standins);
}

static struct standin **standin_at(struct standins *all, int32_t mount, uint64_t inode) {
    struct standin **at = &all->slots[(inode ^ (uint64_t)mount << 8) % SLOTS];
    while (*at && ((*at)->mount != mount || (*at)->inode != inode))
        at = &(*at)->next;
    return at;
}

int dio_decider_standin(struct dio_decider *decider, int32_t mount, uint64_t inode, const char *path, const char *real) {
    struct standins *all = decider->standins;
    size_t length = strlen(path), size = strlen(real) + 1;
    struct standin *one = length + size < PATH_MAX ? malloc(sizeof *one + length + 1 + size) : NULL;
    if (!one)
        return -ENOMEM;
    *one = (struct standin){.mount = mount, .inode = inode, .length = length};
    memcpy(one->path, path, length + 1);
    memcpy(one->path + length + 1, real, size);
    pthread_rwlock_wrlock(&all->lock);
    if (atomic_load(&all->count) >= MOST)
        drop_all(all);
    struct standin **at = standin_at(all, mount, inode), *old = *at;
    one->next = old ? old->next : NULL;
    *at = one;
    free(old);
    atomic_fetch_add(&all->count, !old);
    pthread_rwlock_unlock(&all->lock);
    return 0;
}

void dio_decider_standins_forget(struct dio_decider *decider) {
    pthread_rwlock_wrlock(&decider->standins->lock);
    drop_all(decider->standins);
    pthread_rwlock_unlock(&decider->standins->lock);
}

/* ---- opening ---- */

int standin_is_likely(struct dio_decider *decider) {
    struct standins *all = decider->standins;
    if (!atomic_load(&all->count))
        return 0;
    return atomic_load(&all->likely) > 0 || atomic_fetch_add(&all->tried, 1) % TRIES == 0;
}

static void tried(struct standins *all, int is_found) {
    int likely = atomic_load(&all->likely), next = is_found ? likely + 1 : likely - UNLIKELY;
    atomic_store(&all->likely, next > LIKELY ? LIKELY : next < 0 ? 0 : next);
}

/* The path that a directory was opened by: its length, or -1. */
static ssize_t path_known(struct standins *all, int32_t mount, uint64_t inode, char path[PATH_MAX]) {
    pthread_rwlock_rdlock(&all->lock);
    const struct standin *one = *standin_at(all, mount, inode);
    ssize_t length = one ? (ssize_t)one->length : -1;
    if (one)
        memcpy(path, one->path, one->length);
    pthread_rwlock_unlock(&all->lock);
    return length;
}

/* The path that a walk has gone, from the root of its mount: its length, or -1. */
static ssize_t path_gone(struct standins *all, const struct walk *w, char path[PATH_MAX]) {
    const char *at = w->todo + w->at, *name;
    ssize_t used = 0;
    size_t length;
    if (w->inode != w->table->mounts[w->mount].inode)
        used = path_known(all, w->mount, w->inode, path);
    while (used >= 0 && (length = name_next(&at, &name))) {
        if (length == 1 && *name == '.')
            continue;
        if ((size_t)used + length + 1 >= PATH_MAX)
            return -1;
        path[used] = '/';
        memcpy(path + used + 1, name, length);
        used += (ssize_t)length + 1;
    }
    return used;
}

/* The real directory for one that is opened by the path by which it was opened before. */
static int real_find(struct standins *all, const struct walk *w, uint64_t inode, char real[PATH_MAX]) {
    char path[PATH_MAX];
    ssize_t length = path_gone(all, w, path);
    if (length < 0)
        return 0;
    pthread_rwlock_rdlock(&all->lock);
    const struct standin *one = *standin_at(all, w->mount, inode);
    int is_same = one && one->length == (size_t)length && !memcmp(one->path, path, one->length);
    if (is_same)
        strcpy(real, one->path + one->length + 1);
    pthread_rwlock_unlock(&all->lock);
    return is_same;
}

void standin_open(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                  const struct walk *w, uint64_t inode, uint32_t flags, struct dio_verdict *out) {
    struct standins *all = decider->standins;
    char real[PATH_MAX];
    int is_known = real_find(all, w, inode, real);
    tried(all, is_known);
    if (!is_known)
        return;
    if (!asked->may_give) {
        strcpy(asked->path, real);
        out->kind = DIO_VERDICT_PATH;
        out->value = decision->paths[0].path_arg;
        return;
    }
    int fd = (int)syscall(SYS_openat, AT_FDCWD, real,
                          (flags & ~(uint32_t)O_NOFOLLOW) | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    out->kind = DIO_VERDICT_GIVE;
    out->fd = fd;
    out->fd_flags = flags & O_CLOEXEC;
}
