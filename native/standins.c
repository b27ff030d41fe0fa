/* standins.c - directories of FUSE servers are opened, without the interpreter.
 *
 * A real directory stands for each.  Whoever opens it first has that made here, as Python does
 * (`diorama.dispatch.files.standins`), by the path that he has come by; whoever opens it again by the same path gets the
 * same real directory: as a descriptor, or by its path.
 *
 * What was made here, or has another path, Python *adopts* before it looks for anything.  What it is about to make itself
 * it *claims*, and then adopts what was made before.  All paths are forgotten when a directory is renamed.  Meanwhile nothing is made, nor
 * entered what was begun before: Python has by then adopted all that has the old path, and gives it the new one. */
#include "told.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLOTS = 1 << 14, MOST = 1 << 17, LIKELY = 16, UNLIKELY = 2, TRIES = 16, WAITING = 1024 };

struct standin {
    struct standin *next;
    int32_t mount;
    uint64_t inode;
    ssize_t length; /* of `path`, which begins with a slash, or is empty at the root of the mount; -1: it is not known */
    char path[];    /* and, behind a zero byte, that of the real one */
};

/* What Python is to adopt. */
struct unadopted {
    struct unadopted *next;
    uint64_t directory, device, number;
    uint32_t mode;
    struct standin *what; /* a copy */
};

struct standins {
    pthread_rwlock_t lock;
    struct standin *slots[SLOTS];
    struct unadopted *oldest, **end;
    atomic_uint count, made_count;
    atomic_int likely, tried;
    char *home;       /* where they are made, or NULL */
    atomic_int makes; /* whether there is that */
    uint64_t renamed; /* how often paths became others */
    int renaming;     /* so often at once */
    int is_full;      /* what else there is is not known here */
    atomic_uint number; /* of what is made next */
};

int standins_init(struct dio_decider *decider) {
    decider->standins = calloc(1, sizeof *decider->standins);
    if (!decider->standins)
        return -ENOMEM;
    decider->standins->end = &decider->standins->oldest;
    return -pthread_rwlock_init(&decider->standins->lock, NULL);
}

static void unadopted_free(struct unadopted *one) {
    if (one)
        free(one->what);
    free(one);
}

void standins_free(struct dio_decider *decider) {
    struct standins *all = decider->standins;
    for (size_t i = 0; all && i < SLOTS; i++)
        while (all->slots[i]) {
            struct standin *one = all->slots[i];
            all->slots[i] = one->next;
            free(one);
        }
    while (all && all->oldest) {
        struct unadopted *one = all->oldest;
        all->oldest = one->next;
        unadopted_free(one);
    }
    if (all)
        free(all->home);
    free(all);
}

static struct standin **standin_at(struct standins *all, int32_t mount, uint64_t inode) {
    struct standin **at = &all->slots[(inode ^ (uint64_t)mount << 8) % SLOTS];
    while (*at && ((*at)->mount != mount || (*at)->inode != inode))
        at = &(*at)->next;
    return at;
}

/* Of both, each with its zero byte. */
static size_t paths_size(const struct standin *one) {
    size_t first = strlen(one->path) + 1;
    return first + strlen(one->path + first) + 1;
}

static struct standin *standin_new(int32_t mount, uint64_t inode, const char *path, ssize_t length, const char *real) {
    size_t before = length < 0 ? 0 : (size_t)length, size = strlen(real) + 1;
    struct standin *one = before + size < PATH_MAX ? malloc(sizeof *one + before + 1 + size) : NULL;
    if (!one)
        return NULL;
    *one = (struct standin){.mount = mount, .inode = inode, .length = length};
    memcpy(one->path, path, before);
    one->path[before] = 0;
    memcpy(one->path + before + 1, real, size);
    return one;
}

/* In the place of one that may be there: 0, or -ENOSPC.  With the lock. */
static int standin_put(struct standins *all, struct standin *one) {
    struct standin **at = standin_at(all, one->mount, one->inode), *old = *at;
    all->is_full |= !old && atomic_load(&all->count) >= MOST;
    if (!old && all->is_full)
        return -ENOSPC;
    one->next = old ? old->next : NULL;
    *at = one;
    free(old);
    atomic_fetch_add(&all->count, !old);
    return 0;
}

int dio_decider_standin(struct dio_decider *decider, int32_t mount, uint64_t inode, const char *path, const char *real) {
    struct standins *all = decider->standins;
    struct standin *one = standin_new(mount, inode, path, (ssize_t)strlen(path), real);
    if (!one)
        return -ENOMEM;
    pthread_rwlock_wrlock(&all->lock);
    int error = standin_put(all, one);
    pthread_rwlock_unlock(&all->lock);
    if (error)
        free(one);
    return error;
}

void dio_decider_standin_claim(struct dio_decider *decider, int32_t mount, uint64_t inode) {
    struct standins *all = decider->standins;
    pthread_rwlock_wrlock(&all->lock);
    struct standin *one = *standin_at(all, mount, inode) ? NULL : standin_new(mount, inode, "", -1, "");
    if (one && standin_put(all, one))
        free(one);
    all->is_full |= !*standin_at(all, mount, inode); /* without memory: nothing at all is made any more */
    pthread_rwlock_unlock(&all->lock);
}

void dio_decider_standin_drop(struct dio_decider *decider, int32_t mount, uint64_t inode) {
    struct standins *all = decider->standins;
    pthread_rwlock_wrlock(&all->lock);
    struct standin **at = standin_at(all, mount, inode), *one = *at;
    if (one) {
        *at = one->next;
        free(one);
        atomic_fetch_sub(&all->count, 1);
    }
    pthread_rwlock_unlock(&all->lock);
}

void dio_decider_standins_hold(struct dio_decider *decider) {
    struct standins *all = decider->standins;
    pthread_rwlock_wrlock(&all->lock);
    all->renaming++;
    all->renamed++;
    pthread_rwlock_unlock(&all->lock);
}

void dio_decider_standins_forget(struct dio_decider *decider) {
    struct standins *all = decider->standins;
    pthread_rwlock_wrlock(&all->lock);
    for (size_t i = 0; i < SLOTS; i++)
        for (struct standin *one = all->slots[i]; one; one = one->next)
            one->length = -1;
    all->renaming--;
    all->renamed++;
    pthread_rwlock_unlock(&all->lock);
}

/* ---- making ---- */

int dio_decider_standins_make(struct dio_decider *decider, const char *home) {
    struct standins *all = decider->standins;
    char *copy = home ? strdup(home) : NULL;
    if (home && !copy)
        return -ENOMEM;
    pthread_rwlock_wrlock(&all->lock);
    free(all->home);
    all->home = copy;
    atomic_store(&all->makes, home != NULL);
    pthread_rwlock_unlock(&all->lock);
    return 0;
}

const uint32_t *dio_decider_standins_made(struct dio_decider *decider) {
    return (const uint32_t *)(const void *)&decider->standins->made_count;
}

int dio_decider_standin_adopt(struct dio_decider *decider, struct dio_standin *out) {
    struct standins *all = decider->standins;
    pthread_rwlock_wrlock(&all->lock);
    struct unadopted *one = all->oldest;
    if (one) {
        all->oldest = one->next;
        all->end = all->oldest ? all->end : &all->oldest;
        atomic_fetch_sub(&all->made_count, 1);
    }
    pthread_rwlock_unlock(&all->lock);
    if (!one)
        return -ENOENT;
    *out = (struct dio_standin){.inode = one->what->inode, .directory = one->directory, .device = one->device,
                                .number = one->number, .mode = one->mode, .mount = one->what->mount};
    memcpy(out->paths, one->what->path, paths_size(one->what));
    unadopted_free(one);
    return 0;
}

uint64_t standins_renamed(struct dio_decider *decider) {
    struct standins *all = decider->standins;
    pthread_rwlock_rdlock(&all->lock);
    uint64_t renamed = all->renamed;
    pthread_rwlock_unlock(&all->lock);
    return renamed;
}

/* Whether what a walk has led to may be entered; with the lock. */
static int may_enter(const struct standins *all, const struct standin_place *at) {
    return all->home && !all->renaming && all->renamed == at->renamed && dio_told_number(at->told, at->inode) &&
           !told_differs(at->told, at->inode);
}

/* The path of what stands for it: NULL if there is none, empty if Python is about to make it; with the lock. */
static const char *real_known(struct standins *all, const struct standin_place *at) {
    const struct standin *one = *standin_at(all, at->walk->mount, at->inode);
    return one ? one->path + strlen(one->path) + 1 : NULL;
}

/* A new directory: 0 or -errno. */
static int real_make(struct standins *all, const struct standin_place *at, char real[PATH_MAX], struct stat *status) {
    pthread_rwlock_rdlock(&all->lock);
    int may = may_enter(all, at) && !all->is_full && !real_known(all, at);
    if (may)
        may = snprintf(real, PATH_MAX, "%s/c%u", all->home, atomic_fetch_add(&all->number, 1)) < PATH_MAX;
    pthread_rwlock_unlock(&all->lock);
    if (!may)
        return -EAGAIN;
    /* The mask of this thread may be that of a program, for which it has made something. */
    return mkdir(real, 0555) || chmod(real, 0555) || lstat(real, status) ? -errno : 0;
}

/* Enters what was made, or with `before`, the same path, what was there: 0 or -errno. */
static int made_enter(struct standins *all, const struct standin_place *at, const char *path, size_t length,
                      const char *real, const char *before, const struct stat *status) {
    const struct walk *w = at->walk;
    struct unadopted *made = calloc(1, sizeof *made);
    struct standin *one = standin_new(w->mount, at->inode, path, (ssize_t)length, real);
    if (made)
        made->what = standin_new(w->mount, at->inode, path, (ssize_t)length, real);
    int error = one && made && made->what ? 0 : -ENOMEM;
    pthread_rwlock_wrlock(&all->lock);
    const char *known = real_known(all, at);
    int is_same = before ? known && !strcmp(known, before) : !known;
    if (!error)
        error = is_same && may_enter(all, at) ? standin_put(all, one) : -EAGAIN;
    if (!error) {
        made->directory = at->directory;
        made->device = status->st_dev;
        made->number = status->st_ino;
        made->mode = status->st_mode;
        *all->end = made;
        all->end = &made->next;
        atomic_fetch_add(&all->made_count, 1);
    }
    pthread_rwlock_unlock(&all->lock);
    if (error) {
        unadopted_free(made);
        free(one);
    }
    return error;
}

/* Whether one was made for a directory that nobody has opened before. */
static int standin_make(struct dio_decider *decider, const struct standin_place *at, const char *path, size_t length,
                        char real[PATH_MAX]) {
    struct stat status;
    if (real_make(decider->standins, at, real, &status))
        return 0;
    int error = dio_decider_stands(decider, status.st_dev, status.st_ino, at->walk->mount, at->inode);
    if (!error)
        error = dio_decider_identity(decider, status.st_dev, status.st_ino);
    if (!error)
        error = made_enter(decider->standins, at, path, length, real, NULL, &status);
    if (error) {
        stands_drop(decider, status.st_dev, status.st_ino);
        rmdir(real);
    }
    return !error;
}

/* Whether there is one that was opened by another path, or by one that is not known any more; from now on it is by this. */
static int standin_move(struct standins *all, const struct standin_place *at, const char *path, size_t length,
                        char real[PATH_MAX]) {
    struct stat status;
    if (atomic_load(&all->made_count) >= WAITING) /* Python is to look some time */
        return 0;
    pthread_rwlock_rdlock(&all->lock);
    const char *known = may_enter(all, at) ? real_known(all, at) : NULL;
    strcpy(real, known ? known : "");
    pthread_rwlock_unlock(&all->lock);
    return *real && !lstat(real, &status) && !made_enter(all, at, path, length, real, real, &status);
}

/* ---- opening ---- */

int standin_is_likely(struct dio_decider *decider) {
    struct standins *all = decider->standins;
    if (!atomic_load(&all->count) && !atomic_load(&all->makes))
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
    ssize_t length = one ? one->length : -1;
    if (length > 0)
        memcpy(path, one->path, (size_t)length);
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
static int real_find(struct standins *all, const struct standin_place *at, const char *path, size_t length,
                     char real[PATH_MAX]) {
    pthread_rwlock_rdlock(&all->lock);
    const struct standin *one = *standin_at(all, at->walk->mount, at->inode);
    int is_same = one && one->length == (ssize_t)length && !memcmp(one->path, path, length);
    if (is_same)
        strcpy(real, one->path + length + 1);
    pthread_rwlock_unlock(&all->lock);
    return is_same;
}

void standin_open(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                  const struct standin_place *at, uint32_t flags, struct dio_verdict *out) {
    struct standins *all = decider->standins;
    char path[PATH_MAX], real[PATH_MAX];
    ssize_t length = path_gone(all, at->walk, path);
    int is_known = length >= 0 && (real_find(all, at, path, (size_t)length, real) ||
                                   standin_move(all, at, path, (size_t)length, real) ||
                                   standin_make(decider, at, path, (size_t)length, real));
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
