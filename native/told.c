/* told.c - what file systems have told of names and attributes, and until when that holds.
 *
 * Python tells it (src/diorama/engine/told.py) and asks the file system; here it is only looked up, so that a call
 * can be answered without the interpreter.  It is a cache: whatever is not here is asked for, and all of it may be
 * dropped at any time.  What must not be dropped is which inodes *differ*: of these the view itself knows better (a
 * file is being written, a name is gone), and nothing that was told counts.
 *
 * The answers come over a socket.  While there is something to be read from it, it may say that what is here holds
 * no longer, and when its other end is closed nothing holds. */
#include "listing.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SLOTS_LEAST = 1024, MOST = 1 << 18, TAKING_NS = 2000000 };

/* A name in a directory, or the attributes of an inode (`directory` 0, no name). */
struct entry {
    struct entry *next;
    uint64_t hash, directory, inode;
    int64_t until;
    struct dio_told_node *node;
    size_t length;
    char name[];
};

struct dio_told {
    atomic_uint references;
    pthread_rwlock_t lock;
    int fd; /* -1: nothing that was told holds any more */
    int socket;
    atomic_int noticing;
    struct entry **slots;
    size_t mask, count;
    struct sorted differing;
    struct server server;
};

struct server *told_server(struct dio_told *t) { return &t->server; }

int told_socket(struct dio_told *t) { return t->socket; }

static int inode_order(const void *left, const void *right) {
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

int dio_told_new(int fd, int unchecked, struct dio_told **out) {
    struct dio_told *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->slots = calloc(SLOTS_LEAST, sizeof *t->slots);
    if (!t->slots || pthread_rwlock_init(&t->lock, NULL) || server_init(&t->server, unchecked)) {
        nodes_free(&t->server.nodes);
        listings_free(&t->server);
        free(t->slots);
        free(t);
        return -ENOMEM;
    }
    t->mask = SLOTS_LEAST - 1;
    t->fd = t->socket = fd;
    atomic_init(&t->references, 1);
    sorted_init(&t->differing, sizeof(uint64_t), inode_order);
    *out = t;
    return 0;
}

static void entries_drop(struct dio_told *t) {
    for (size_t i = 0; i <= t->mask; i++)
        while (t->slots[i]) {
            struct entry *e = t->slots[i];
            t->slots[i] = e->next;
            free(e->node);
            free(e);
        }
    t->count = 0;
}

struct dio_told *told_take(struct dio_told *t) {
    if (t)
        atomic_fetch_add(&t->references, 1);
    return t;
}

void dio_told_free(struct dio_told *t) {
    if (!t || atomic_fetch_sub(&t->references, 1) != 1)
        return;
    entries_drop(t);
    server_free(&t->server);
    free(t->slots);
    free(t->differing.items);
    pthread_rwlock_destroy(&t->lock);
    free(t);
}

void dio_told_end(struct dio_told *t) {
    pthread_rwlock_wrlock(&t->lock);
    t->fd = -1;
    entries_drop(t);
    pthread_rwlock_unlock(&t->lock);
}

void dio_told_silence(struct dio_told *t, int is_silent) { atomic_store(&t->noticing, !is_silent); }

/* ---- entries ---- */

static uint64_t hash_of(uint64_t directory, uint64_t inode, const char *name, size_t length) {
    uint64_t hash = hash_add(HASH_START, name, length) ^ (directory * 2 + !directory) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= (directory ? 0 : inode) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 31;
}

/* The place of an entry, or where it would be put. */
static struct entry **entry_at(const struct dio_told *t, uint64_t directory, uint64_t inode, const char *name,
                               size_t length) {
    uint64_t hash = hash_of(directory, inode, name, length);
    struct entry **at = &t->slots[hash & t->mask];
    for (; *at; at = &(*at)->next) {
        const struct entry *e = *at;
        if (e->hash == hash && e->directory == directory && (directory || e->inode == inode) && e->length == length &&
            (!length || !memcmp(e->name, name, length)))
            break;
    }
    return at;
}

static void entry_drop(struct dio_told *t, struct entry **at) {
    struct entry *e = *at;
    if (!e)
        return;
    *at = e->next;
    free(e->node);
    free(e);
    t->count--;
}

/* More slots, where there is memory for them. */
static void slots_grow(struct dio_told *t) {
    size_t mask = 4 * t->mask + 3;
    struct entry **slots = calloc(mask + 1, sizeof *slots);
    if (!slots)
        return;
    for (size_t i = 0; i <= t->mask; i++)
        while (t->slots[i]) {
            struct entry *e = t->slots[i];
            t->slots[i] = e->next;
            e->next = slots[e->hash & mask];
            slots[e->hash & mask] = e;
        }
    free(t->slots);
    t->slots = slots;
    t->mask = mask;
}

/* A new entry, in the place of one that may be there; NULL without memory. */
static struct entry *entry_put(struct dio_told *t, uint64_t directory, uint64_t inode, const char *name,
                               size_t length) {
    entry_drop(t, entry_at(t, directory, inode, name, length));
    if (t->count >= MOST)
        entries_drop(t);
    if (t->count > 2 * t->mask)
        slots_grow(t);
    struct entry *e = calloc(1, sizeof *e + length);
    if (!e)
        return NULL;
    e->hash = hash_of(directory, inode, name, length);
    e->directory = directory;
    e->inode = inode;
    e->length = length;
    if (length)
        memcpy(e->name, name, length);
    e->next = t->slots[e->hash & t->mask];
    t->slots[e->hash & t->mask] = e;
    t->count++;
    return e;
}

/* ---- telling ---- */

/* With the lock. */
static void name_put(struct dio_told *t, uint64_t directory, const char *name, size_t length, uint64_t inode,
                     int64_t until) {
    if (until > 0 && t->fd >= 0) {
        struct entry *e = entry_put(t, directory, inode, name, length);
        if (e)
            e->until = until;
    } else {
        entry_drop(t, entry_at(t, directory, 0, name, length));
    }
}

static void node_put(struct dio_told *t, const struct dio_told_node *node, int64_t until) {
    struct dio_told_node *copy = until > 0 && t->fd >= 0 ? malloc(sizeof *copy) : NULL;
    struct entry *e = NULL;
    if (copy)
        e = entry_put(t, 0, node->inode, "", 0);
    else
        entry_drop(t, entry_at(t, 0, node->inode, "", 0));
    if (e) {
        *copy = *node;
        e->node = copy;
        e->until = until;
    } else {
        free(copy);
    }
}

void dio_told_name(struct dio_told *t, uint64_t directory, const char *name, size_t length, uint64_t inode,
                   int64_t until) {
    atomic_store(&t->server.keeps, until > 0);
    pthread_rwlock_wrlock(&t->lock);
    name_put(t, directory, name, length, inode, until);
    pthread_rwlock_unlock(&t->lock);
}

int64_t dio_told_drop(struct dio_told *t, uint64_t directory, const char *name, size_t length) {
    pthread_rwlock_wrlock(&t->lock);
    struct entry **at = entry_at(t, directory, 0, name, length);
    int64_t inode = *at ? (int64_t)(*at)->inode : -1;
    entry_drop(t, at);
    pthread_rwlock_unlock(&t->lock);
    return inode;
}

void dio_told_drop_all(struct dio_told *t, uint64_t inode) {
    pthread_rwlock_wrlock(&t->lock);
    for (size_t i = 0; i <= t->mask; i++)
        for (struct entry **at = &t->slots[i]; *at;)
            if ((*at)->directory && (!inode || (*at)->inode == inode))
                entry_drop(t, at);
            else
                at = &(*at)->next;
    pthread_rwlock_unlock(&t->lock);
}

void dio_told_node(struct dio_told *t, const struct dio_told_node *node, int64_t until) {
    if (node->mode) /* not only to be dropped */
        nodes_show(&t->server, node->inode, node->number);
    pthread_rwlock_wrlock(&t->lock);
    node_put(t, node, until);
    pthread_rwlock_unlock(&t->lock);
}

void dio_told_changed(struct dio_told *t) {
    pthread_rwlock_wrlock(&t->lock);
    atomic_fetch_add(&t->server.changes, 1);
    pthread_rwlock_unlock(&t->lock);
}

void told_store_name(struct dio_told *t, uint64_t directory, const char *name, size_t length, uint64_t inode,
                     int64_t until, uint64_t mark) {
    pthread_rwlock_wrlock(&t->lock);
    name_put(t, directory, name, length, inode, mark == atomic_load(&t->server.changes) ? until : 0);
    pthread_rwlock_unlock(&t->lock);
}

void told_store_node(struct dio_told *t, const struct dio_told_node *node, int64_t until, uint64_t mark) {
    pthread_rwlock_wrlock(&t->lock);
    node_put(t, node, mark == atomic_load(&t->server.changes) ? until : 0);
    pthread_rwlock_unlock(&t->lock);
}

int dio_told_differs(struct dio_told *t, uint64_t inode, int does) {
    int error = 0;
    pthread_rwlock_wrlock(&t->lock);
    if (does)
        error = sorted_put(&t->differing, &inode);
    else
        sorted_drop(&t->differing, &inode);
    pthread_rwlock_unlock(&t->lock);
    return error;
}

/* ---- looking ---- */

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Whether nothing has come since. */
static int is_silent(const struct dio_told *t) {
    char byte;
    /* In this order: what has left the socket is being worked on, or that is done. */
    if (t->fd < 0 || recv(t->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return 0;
    return !atomic_load(&t->noticing);
}

int told_holds(struct dio_told *t) {
    int holds = 0;
    for (int again = 0; again < 2 && !holds; again++) {
        pthread_rwlock_rdlock(&t->lock);
        holds = is_silent(t);
        pthread_rwlock_unlock(&t->lock);
        if (!holds && !again)
            server_absorb(t);
    }
    return holds;
}

/* Whoever reads here has been woken for it, and takes it as soon as he gets a CPU. */
int told_holds_soon(struct dio_told *t) {
    int64_t until = 0;
    for (;;) {
        int is_read = atomic_load(&t->server.here);
        if (told_holds(t))
            return 1;
        int64_t at = now();
        until = until ? until : at + TAKING_NS;
        if (!is_read || at > until)
            return 0;
        sched_yield();
    }
}

int told_name(struct dio_told *t, uint64_t directory, const char *name, size_t length, uint64_t *inode) {
    pthread_rwlock_rdlock(&t->lock);
    const struct entry *e = *entry_at(t, directory, 0, name, length);
    int holds = e && e->until >= now();
    if (holds)
        *inode = e->inode;
    pthread_rwlock_unlock(&t->lock);
    return holds;
}

int told_differs(struct dio_told *t, uint64_t inode) {
    pthread_rwlock_rdlock(&t->lock);
    int differs = sorted_find(&t->differing, &inode) != NULL;
    pthread_rwlock_unlock(&t->lock);
    return differs;
}

int dio_told_status(struct dio_told *t, uint64_t inode, struct dio_told_node *out) {
    pthread_rwlock_rdlock(&t->lock);
    const struct entry *e = *entry_at(t, 0, inode, "", 0);
    int holds = e && e->node && e->until >= now();
    if (holds)
        *out = *e->node;
    pthread_rwlock_unlock(&t->lock);
    return holds;
}

int told_node(struct dio_told *t, uint64_t inode, struct dio_told_node *out) {
    return !told_differs(t, inode) && dio_told_status(t, inode, out);
}

int64_t dio_told_find(struct dio_told *t, uint64_t directory, const char *name, size_t length) {
    uint64_t inode;
    return told_name(t, directory, name, length, &inode) ? (int64_t)inode : -1;
}
