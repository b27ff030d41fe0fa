/* listing.c - what is kept of the directories of a FUSE server that programs list.
 *
 * A listing is asked for anew by whoever begins at its start.  Each name has an offset of ours, which stays its own as
 * long as the listing is kept: so who goes on with an earlier one gets each name that was there from its start, and was
 * not removed, exactly once.  What is new comes last.
 *
 * Of a large directory only what was asked for is read; its handle stays open for the rest, until somebody closes the
 * directory, or the process is gone.  Then whoever goes on has all of it read anew.
 *
 * Who works on a listing takes it; others wait for a moment, or ask by themselves. */
#include "listing.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 256, MOST_LISTINGS = 256, MOST_OPEN = 8, FEW = 8, LARGEST = 32 << 20, WAIT_S = 1 };

struct listings {
    pthread_mutex_t lock; /* taken before that of the server */
    pthread_cond_t put;
    struct listing *slots[SLOTS];
    size_t count, bytes;
    uint64_t clock;
    atomic_uint changes, open;
};

static struct listings *listings_of(struct dio_told *told) { return told_server(told)->listings; }

int listings_init(struct server *server) {
    server->listings = calloc(1, sizeof *server->listings);
    if (!server->listings)
        return -ENOMEM;
    return pthread_mutex_init(&server->listings->lock, NULL) || pthread_cond_init(&server->listings->put, NULL) ? -ENOMEM
                                                                                                                 : 0;
}

static void records_free(struct records *r) {
    free(r->data);
    free(r->starts);
    *r = (struct records){0};
}

static void listing_free(struct listing *l) {
    records_free(&l->now);
    records_free(&l->old);
    free(l->index);
    free(l->came);
    free(l);
}

void listings_free(struct server *server) {
    struct listings *all = server->listings;
    for (size_t i = 0; all && i < SLOTS; i++)
        while (all->slots[i]) {
            struct listing *l = all->slots[i];
            all->slots[i] = l->next;
            listing_free(l);
        }
    free(all);
}

/* ---- records ---- */

static int name_is(const struct record *record, const char *name, size_t length) {
    return !memcmp(record->name, name, length) && !record->name[length];
}

static int records_grow(struct records *r, size_t size) {
    if (r->size + size > r->room) {
        size_t room = 2 * (r->room + size) + 1024;
        char *data = room < UINT32_MAX ? realloc(r->data, room) : NULL;
        if (!data)
            return -ENOMEM;
        r->data = data;
        r->room = room;
    }
    if (r->count == r->most) {
        size_t most = 2 * r->most + 32;
        uint32_t *starts = realloc(r->starts, most * sizeof *starts);
        if (!starts)
            return -ENOMEM;
        r->starts = starts;
        r->most = most;
    }
    return 0;
}

static int records_add(struct records *r, uint64_t inode, int64_t offset, uint8_t type, const char *name, size_t length) {
    size_t size = (RECORD_NAME + length + RECORD_ALIGN) / RECORD_ALIGN * RECORD_ALIGN;
    if (size > UINT16_MAX || records_grow(r, size))
        return -ENOMEM;
    r->starts[r->count++] = (uint32_t)r->size;
    memset(r->data + r->size, 0, size);
    r->size += size;
    struct record *record = record_at(r, r->count - 1);
    record->inode = inode;
    record->offset = offset;
    record->length = (uint16_t)size;
    record->type = type;
    memcpy(record->name, name, length);
    return 0;
}

struct placed {
    int64_t offset;
    uint32_t start;
};

static int placed_order(const void *left, const void *right) {
    const struct placed *a = left, *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* In the order of offsets. */
static int records_sort(struct records *r) {
    struct placed *order = malloc((r->count + 1) * sizeof *order);
    char *data = malloc(r->room + 1);
    if (!order || !data) {
        free(order);
        free(data);
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->count; i++)
        order[i] = (struct placed){.offset = record_at(r, i)->offset, .start = r->starts[i]};
    qsort(order, r->count, sizeof *order, placed_order);
    size_t size = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct record *record = (const struct record *)(const void *)(r->data + order[i].start);
        memcpy(data + size, record, record->length);
        r->starts[i] = (uint32_t)size;
        size += record->length;
    }
    free(order);
    free(r->data);
    r->data = data;
    return 0;
}

/* ---- the offsets of names ---- */

static size_t index_place(const struct listing *l, const char *name, size_t length) {
    size_t at = hash_add(HASH_START, name, length) & (l->index_size - 1);
    while (l->index[at] && !name_is(record_at(&l->old, l->index[at] - 1), name, length))
        at = (at + 1) & (l->index_size - 1);
    return at;
}

static int index_make(struct listing *l) {
    size_t size = 16;
    while (size < 2 * l->old.count)
        size *= 2;
    l->index = calloc(size, sizeof *l->index);
    l->came = calloc(l->old.count, 1);
    if (!l->index || !l->came) {
        free(l->index);
        free(l->came);
        l->index = NULL;
        l->came = NULL;
        return -ENOMEM;
    }
    memset(l->came, 1, l->cursor);
    l->index_size = size;
    for (size_t i = 0; i < l->old.count; i++) {
        const char *name = record_at(&l->old, i)->name;
        l->index[index_place(l, name, strlen(name))] = (uint32_t)i + 1;
    }
    return 0;
}

/* The offset of a name, or -ENOMEM. */
static int64_t offset_of(struct listing *l, const char *name, size_t length) {
    if (l->cursor < l->old.count && !l->index && name_is(record_at(&l->old, l->cursor), name, length))
        return record_at(&l->old, l->cursor++)->offset;
    if (l->old.count && !l->index && index_make(l))
        return -ENOMEM;
    size_t known = l->old.count ? l->index[index_place(l, name, length)] : 0;
    if (!known) {
        l->is_new = 1;
        return l->next_offset++;
    }
    if (l->is_new || known <= l->cursor)
        l->is_mixed = 1;
    l->cursor = known > l->cursor ? known : l->cursor;
    l->came[known - 1] = 1;
    return record_at(&l->old, known - 1)->offset;
}

int listing_add(struct listing *l, uint64_t inode, uint8_t type, const char *name, size_t length) {
    int64_t offset = offset_of(l, name, length);
    return offset < 0 ? (int)offset : records_add(&l->now, inode, offset, type, name, length);
}

void listing_forget(struct listing *l) {
    records_free(&l->old);
    free(l->index);
    free(l->came);
    l->index = NULL;
    l->came = NULL;
    l->cursor = 0;
    l->is_new = l->is_mixed = 0;
}

int listing_finish(struct dio_told *told, struct listing *l) {
    int error = l->is_mixed ? records_sort(&l->now) : 0;
    listing_forget(l);
    listing_close(told, l);
    l->is_complete = !error;
    return error;
}

/* What was not read to the end is what has come, and what has not come yet. */
static void rest_add(struct listing *l) {
    for (size_t i = l->index ? 0 : l->cursor; i < l->old.count; i++) {
        const struct record *record = record_at(&l->old, i);
        if (l->index && l->came[i])
            continue;
        if (records_add(&l->now, record->inode, record->offset, record->type, record->name, strlen(record->name)))
            break;
    }
    if (l->index)
        records_sort(&l->now);
}

void listing_restart(struct dio_told *told, struct listing *l) {
    listing_close(told, l);
    if (l->dropped) {
        records_free(&l->now);
        l->next_offset = FIRST_OFFSET;
        l->dropped = 0;
    } else if (!l->is_complete) {
        rest_add(l);
    }
    listing_forget(l);
    l->old = l->now;
    l->now = (struct records){0};
    l->at = 0;
    l->is_complete = 0;
    atomic_store(&l->is_stale, 0);
}

int listing_is_straight(const struct listing *l) {
    return !l->old.count || (l->cursor == l->now.count && !l->is_new && !l->is_mixed);
}

/* ---- what is behind a position ---- */

size_t listing_behind(const struct listing *l, int64_t position) {
    size_t low = 0, high = l->now.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (record_at(&l->now, middle)->offset <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t listing_fitting(const struct listing *l, size_t first, size_t room, int64_t *last) {
    size_t size = 0;
    for (; first < l->now.count; first++) {
        const struct record *record = record_at(&l->now, first);
        if (size + record->length > room)
            break;
        size += record->length;
        *last = record->offset;
    }
    return size;
}

/* ---- handles ---- */

void listing_opened(struct dio_told *told, struct listing *l, const struct handle *handle, pid_t tgid) {
    l->handle = *handle;
    l->tgid = tgid;
    l->is_open = 1;
    atomic_fetch_add(&listings_of(told)->open, 1);
}

static void handle_end(struct dio_told *told, struct listing *l) {
    l->is_open = 0;
    atomic_fetch_sub(&listings_of(told)->open, 1);
    if (l->handle.flags && server_release(told, l->node, &l->handle))
        server_give(told, l->node, &l->handle);
}

void listing_close(struct dio_told *told, struct listing *l) {
    if (l->is_open)
        handle_end(told, l);
}

/* ---- all of them ---- */

static struct listing **listing_at(struct listings *all, uint64_t inode) {
    struct listing **at = &all->slots[inode % SLOTS];
    while (*at && (*at)->inode != inode)
        at = &(*at)->next;
    return at;
}

static size_t bytes_of(const struct listing *l) { return l->now.room + l->old.room; }

/* Out of the table; with the lock.  Who has taken it frees it. */
static void listing_unlink(struct dio_told *told, struct listing **at) {
    struct listing *l = *at;
    struct listings *all = listings_of(told);
    *at = l->next;
    all->count--;
    if (l->is_taken) {
        l->is_gone = 1;
        return;
    }
    all->bytes -= bytes_of(l);
    listing_close(told, l);
    listing_free(l);
}

/* The one that was not used for the longest time; with `is_open`, of those that are. */
static struct listing **listing_oldest(struct listings *all, int is_open) {
    struct listing **oldest = NULL;
    for (size_t i = 0; i < SLOTS; i++)
        for (struct listing **at = &all->slots[i]; *at; at = &(*at)->next)
            if (!(*at)->is_taken && (!is_open || (*at)->is_open) && (!oldest || (*at)->used < (*oldest)->used))
                oldest = at;
    return oldest;
}

static void listings_trim(struct dio_told *told) {
    struct listings *all = listings_of(told);
    struct listing **oldest;
    while ((all->count > MOST_LISTINGS || (all->bytes > LARGEST && all->count > FEW)) &&
           (oldest = listing_oldest(all, 0)))
        listing_unlink(told, oldest);
    while (atomic_load(&all->open) > MOST_OPEN && (oldest = listing_oldest(all, 1)))
        listing_close(told, *oldest);
}

static struct listing *listing_new(struct listings *all, uint64_t inode, uint64_t node) {
    struct listing *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->inode = inode;
    l->node = node;
    l->next_offset = FIRST_OFFSET;
    atomic_init(&l->is_stale, 1);
    l->next = all->slots[inode % SLOTS];
    all->slots[inode % SLOTS] = l;
    all->count++;
    return l;
}

/* With the lock.  One that is taken is waited for, if `wait`, for a moment, and then it is no longer ours. */
static struct listing *take(struct dio_told *told, uint64_t inode, int wait) {
    struct listings *all = listings_of(told);
    uint64_t node = dio_told_number(told, inode);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    struct listing **at = listing_at(all, inode);
    while (*at && (*at)->is_taken && wait && !pthread_cond_timedwait(&all->put, &all->lock, &until))
        at = listing_at(all, inode);
    if (*at && (*at)->is_taken) {
        if (!wait)
            return NULL;
        listing_unlink(told, at);
    }
    struct listing *l = *at;
    if (!l)
        l = listing_new(all, inode, node);
    else
        all->bytes -= bytes_of(l);
    if (l)
        l->is_taken = 1;
    return l;
}

static void put(struct dio_told *told, struct listing *l) {
    struct listings *all = listings_of(told);
    l->is_taken = 0;
    l->used = ++all->clock;
    all->bytes += bytes_of(l);
    if (l->is_gone) {
        all->bytes -= bytes_of(l);
        listing_close(told, l);
        listing_free(l);
    }
    listings_trim(told);
    pthread_cond_broadcast(&all->put);
}

struct listing *listing_take(struct dio_told *told, uint64_t inode) {
    struct listings *all = listings_of(told);
    pthread_mutex_lock(&all->lock);
    struct listing *l = take(told, inode, 0);
    pthread_mutex_unlock(&all->lock);
    return l;
}

void listing_put(struct dio_told *told, struct listing *l) {
    struct listings *all = listings_of(told);
    pthread_mutex_lock(&all->lock);
    put(told, l);
    pthread_mutex_unlock(&all->lock);
}

void listing_drop(struct dio_told *told, uint64_t inode) {
    struct listings *all = listings_of(told);
    pthread_mutex_lock(&all->lock);
    struct listing **at = listing_at(all, inode);
    if (*at)
        listing_unlink(told, at);
    pthread_mutex_unlock(&all->lock);
}

void listing_leave(struct dio_told *told, uint64_t inode, pid_t tid) {
    struct listings *all = listings_of(told);
    if (!atomic_load(&all->open))
        return;
    pid_t tgid = inode ? thread_process(tid) : tid; /* which may be gone */
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < SLOTS; i++)
        for (struct listing *l = all->slots[i]; l; l = l->next)
            if (!l->is_taken && l->is_open && l->tgid == tgid && (!inode || l->inode == inode))
                listing_close(told, l);
    pthread_mutex_unlock(&all->lock);
}

/* ---- for Python, which asks too ---- */

uint32_t dio_told_list_mark(struct dio_told *told) { return atomic_load(&listings_of(told)->changes); }

void dio_told_list_changed(struct dio_told *told, uint64_t inode) {
    struct listings *all = listings_of(told);
    pthread_mutex_lock(&all->lock);
    atomic_fetch_add(&all->changes, 1);
    struct listing *l = *listing_at(all, inode);
    if (l)
        atomic_store(&l->is_stale, 1);
    pthread_mutex_unlock(&all->lock);
}

int dio_told_list_moved(struct dio_told *told, int fd, int64_t from, int64_t to) {
    struct listings *all = listings_of(told);
    pthread_mutex_lock(&all->lock);
    int is_there = lseek(fd, 0, SEEK_CUR) == from && lseek(fd, to, SEEK_SET) == to;
    pthread_mutex_unlock(&all->lock);
    return is_there;
}

static int64_t give(const struct listing *l, int64_t position, char *out, size_t room) {
    size_t first = listing_behind(l, position);
    int64_t last;
    size_t size = listing_fitting(l, first, room, &last);
    if (size)
        memcpy(out, record_at(&l->now, first), size);
    return (int64_t)size;
}

int64_t dio_told_listed(struct dio_told *told, uint64_t inode, int64_t position, void *out, size_t room) {
    struct listings *all = listings_of(told);
    int64_t result = -ENOENT;
    pthread_mutex_lock(&all->lock);
    struct listing *l = *listing_at(all, inode) ? take(told, inode, 1) : NULL;
    if (l) {
        if (l->is_complete && !atomic_load(&l->is_stale) && position >= l->dropped)
            result = give(l, position, out, room);
        put(told, l);
    }
    pthread_mutex_unlock(&all->lock);
    return result;
}

int64_t dio_told_list(struct dio_told *told, uint64_t inode, uint32_t mark, const void *names, size_t size,
                      int64_t position, void *out, size_t room) {
    struct listings *all = listings_of(told);
    const char *at = names, *end = at + size;
    struct dio_listed_name head;
    pthread_mutex_lock(&all->lock);
    struct listing *l = take(told, inode, 1);
    int64_t result = l ? 0 : -ENOMEM;
    if (l)
        listing_restart(told, l);
    for (; !result && (size_t)(end - at) >= sizeof head; at += sizeof head + head.length) {
        memcpy(&head, at, sizeof head);
        result = listing_add(l, head.inode, head.type, at + sizeof head, head.length);
    }
    if (!result)
        result = listing_finish(told, l);
    if (!result)
        result = give(l, position, out, room);
    if (l && mark != atomic_load(&all->changes))
        atomic_store(&l->is_stale, 1);
    if (l)
        put(told, l);
    pthread_mutex_unlock(&all->lock);
    return result;
}
