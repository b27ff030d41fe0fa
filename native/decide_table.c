/* decide_table.c - decisions and mounts: made once, then only read. */
#include "told.h"

#include <stdlib.h>
#include <string.h>

static int decision_order(const void *left, const void *right) {
    const struct dio_decision *a = left, *b = right;
    if (a->abi != b->abi)
        return a->abi < b->abi ? -1 : 1;
    return a->nr < b->nr ? -1 : a->nr > b->nr;
}

static int arg_is_valid(uint8_t arg) { return arg < 6 || arg == DIO_NO_ARG; }

static int decision_is_valid(const struct dio_decision *d) {
    if (d->path_count > 2 || d->settle > DIO_SETTLE_BARE || d->op > DIO_DO_LIST)
        return 0;
    for (int i = 0; i < 2; i++)
        if (!arg_is_valid(d->paths[i].path_arg) || !arg_is_valid(d->paths[i].dirfd_arg) ||
            !arg_is_valid(d->paths[i].flags_arg) || d->paths[i].follow > DIO_FOLLOW_OPEN)
            return 0;
    return arg_is_valid(d->arg) && arg_is_valid(d->arg2) && arg_is_valid(d->flags_arg) && arg_is_valid(d->buffer_arg) &&
           arg_is_valid(d->size_arg) && arg_is_valid(d->mode_arg) && arg_is_valid(d->mask_arg);
}

static int decisions_copy(struct table *t, const struct dio_decision *decisions, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!decision_is_valid(&decisions[i]))
            return -EINVAL;
    t->decisions = calloc(count ? count : 1, sizeof *t->decisions);
    if (!t->decisions)
        return -ENOMEM;
    if (count)
        memcpy(t->decisions, decisions, count * sizeof *decisions);
    qsort(t->decisions, count, sizeof *t->decisions, decision_order);
    t->decision_count = count;
    return 0;
}

static int text_copy(const char *text, char **out, size_t *length) {
    *length = strlen(text);
    if (*length >= PLACE_ROOM || (*length && (text[0] != '/' || text[*length - 1] == '/')))
        return -EINVAL;
    *out = strdup(text);
    return *out ? 0 : -ENOMEM;
}

/* A path that may be missing. */
static int optional_copy(const char *text, char **out, size_t *length) { return text ? text_copy(text, out, length) : 0; }

static int mount_texts(struct mounted *m, const struct dio_mounted *from, int is_first) {
    int error = text_copy(!is_first && from->point ? from->point : "", &m->point, &m->point_length);
    if (!error)
        error = text_copy(from->host ? from->host : "", &m->host, &m->host_length);
    if (!error)
        error = optional_copy(from->upper, &m->upper, &m->upper_length);
    if (!error)
        error = optional_copy(from->hidden, &m->hidden, &m->hidden_length);
    return error ? error : optional_copy(from->notes, &m->notes, &m->notes_length);
}

static int mounts_copy(struct table *t, const struct dio_mounted *mounts, size_t count) {
    if (!count || count > INT32_MAX || !mounts[0].host || *mounts[0].host)
        return -EINVAL;
    t->mounts = calloc(count, sizeof *t->mounts);
    if (!t->mounts)
        return -ENOMEM;
    t->mount_count = count;
    for (size_t i = 0; i < count; i++) {
        struct mounted *m = &t->mounts[i];
        /* A parent stands before what is mounted on it, so there are no circles. */
        if (i && (mounts[i].parent < 0 || (size_t)mounts[i].parent >= i))
            return -EINVAL;
        m->parent = i ? mounts[i].parent : -1;
        m->read_only = mounts[i].read_only;
        m->no_exec = mounts[i].no_exec;
        m->owned = mounts[i].owned;
        t->has_owned = (uint8_t)(t->has_owned || m->owned);
        m->directory = mounts[i].directory || !i;
        m->synthetic = !mounts[i].host;
        m->told = m->synthetic ? told_take(mounts[i].told) : NULL;
        m->inode = mounts[i].inode;
        m->device = mounts[i].device;
        m->id = mounts[i].id;
        int error = mount_texts(m, &mounts[i], !i);
        if (error)
            return error;
    }
    return 0;
}

static uint64_t cover_hash(int32_t mount, uint64_t hash) {
    hash ^= (uint64_t)(uint32_t)mount * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* The entry of a place, or the free one where it belongs. */
static struct cover *cover_slot(const struct table *t, int32_t mount, const char *path, size_t length, uint64_t hash) {
    size_t at = (size_t)cover_hash(mount, hash) & t->cover_mask;
    for (;; at = (at + 1) & t->cover_mask) {
        struct cover *c = &t->covers[at];
        if (!c->path || (c->hash == hash && c->mount == mount && c->length == length && !memcmp(c->path, path, length)))
            return c;
    }
}

int32_t table_cover(const struct table *t, int32_t mount, const char *path, size_t length, uint64_t hash) {
    const struct cover *c = cover_slot(t, mount, path, length, hash);
    return c->path ? c->top : COVER_NONE;
}

int table_has_points(const struct table *t, int32_t mount, const char *path, size_t length) {
    for (size_t i = 1; i < t->mount_count; i++) {
        const struct mounted *m = &t->mounts[i];
        if (m->parent == mount && m->point_length > length && m->point[length] == '/' && !memcmp(m->point, path, length))
            return 1;
    }
    return 0;
}

static void cover_put(struct table *t, int32_t mount, const char *path, size_t length, int32_t top) {
    uint64_t hash = hash_add(HASH_START, path, length);
    struct cover *c = cover_slot(t, mount, path, length, hash);
    *c = (struct cover){.mount = mount, .top = top, .hash = hash, .path = path, .length = length};
}

/* Whether what is mounted hides something of a process in the kernel's /proc, by the host path of its place. */
static int hides_proc(const struct table *t, const struct mounted *m) {
    const struct mounted *parent = &t->mounts[m->parent];
    const char *inside = m->point;
    if (parent->synthetic || !is_below(parent->host_length ? parent->host : inside, "/proc", 5))
        return 0;
    if (!parent->host_length)
        inside += 5;
    else if (parent->host_length > 5)
        return 1;
    inside += *inside == '/';
    return !*inside || (*inside >= '0' && *inside <= '9') || is_below(inside, "self", 4) ||
           is_below(inside, "thread-self", 11);
}

/* What stands for virtual objects is not to be found by its own path, wherever the root is. */
static void privates_put(struct table *t, int32_t mount) {
    const struct mounted *m = &t->mounts[mount];
    for (char **one = t->privates; one && *one; one++) {
        if (m->synthetic || !is_below(*one, m->host, m->host_length))
            continue;
        const char *path = *one + m->host_length;
        cover_put(t, mount, path, strlen(path), COVER_PRIVATE);
    }
}

static int privates_copy(struct table *t, const char *const *privates, size_t *count) {
    size_t length;
    int error = 0;
    for (*count = 0; privates && privates[*count];)
        ++*count;
    t->privates = calloc(*count + 1, sizeof *t->privates);
    if (!t->privates)
        return -ENOMEM;
    for (size_t i = 0; i < *count && !error; i++)
        error = *privates[i] ? text_copy(privates[i], &t->privates[i], &length) : -EINVAL;
    return error;
}

static void base_find(struct table *t) {
    int32_t top = table_cover(t, 0, "", 0, HASH_START);
    if (top <= 0)
        return;
    const struct mounted *m = &t->mounts[top];
    t->base = top;
    t->base_moved = (uint8_t)(m->host_length || m->synthetic);
    privates_put(t, top);
    if (m->hidden)
        cover_put(t, top, m->hidden, m->hidden_length, COVER_PRIVATE);
}

static int covers_make(struct table *t, const char *const *privates) {
    size_t room = 8, count;
    int error = privates_copy(t, privates, &count);
    if (error)
        return error;
    while (room < 2 * (t->mount_count + 2 * count + 1))
        room *= 2;
    t->covers = calloc(room, sizeof *t->covers);
    if (!t->covers)
        return -ENOMEM;
    t->cover_mask = room - 1;
    privates_put(t, 0);
    /* From the last to the first: what is mounted on a mount's root is known when the mount is put.  Of
     * several mounts on one place the first is replaced by none: mounts stack by the root of the one before. */
    for (size_t i = t->mount_count; i-- > 1;) {
        const struct mounted *m = &t->mounts[i];
        int32_t above = table_cover(t, (int32_t)i, "", 0, HASH_START);
        if (hides_proc(t, m))
            t->proc_mounts = 1;
        cover_put(t, m->parent, m->point, m->point_length, above == COVER_NONE ? (int32_t)i : above);
    }
    base_find(t);
    return 0;
}

int table_make(const struct dio_decision *decisions, size_t decision_count, const struct dio_mounted *mounts,
               size_t mount_count, const char *const *privates, uint32_t flags, struct table **out) {
    struct table *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    atomic_init(&t->references, 1);
    t->flags = flags;
    int error = decisions_copy(t, decisions, decision_count);
    if (!error)
        error = mounts_copy(t, mounts, mount_count);
    if (!error)
        error = covers_make(t, privates);
    if (error)
        table_release(t);
    else
        *out = t;
    return error;
}

void table_release(struct table *t) {
    if (!t || atomic_fetch_sub(&t->references, 1) != 1)
        return;
    for (size_t i = 0; i < t->mount_count; i++) {
        dio_told_free(t->mounts[i].told);
        free(t->mounts[i].point);
        free(t->mounts[i].host);
        free(t->mounts[i].upper);
        free(t->mounts[i].hidden);
        free(t->mounts[i].notes);
    }
    free(t->mounts);
    free(t->covers);
    free(t->decisions);
    for (char **one = t->privates; one && *one; one++)
        free(*one);
    free(t->privates);
    free(t);
}

const struct dio_decision *table_decision(const struct table *t, uint32_t abi, int64_t nr) {
    size_t low = 0, high = t->decision_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct dio_decision *d = &t->decisions[middle];
        if (d->abi < abi || (d->abi == abi && d->nr < nr))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == t->decision_count || t->decisions[low].abi != abi || t->decisions[low].nr != nr)
        return NULL;
    return &t->decisions[low];
}

int table_is_private(const struct table *t, const char *path) {
    for (char **one = t->privates; one && *one; one++)
        if (is_below(path, *one, strlen(*one)))
            return 1;
    return 0;
}
