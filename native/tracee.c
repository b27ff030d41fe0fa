/* tracee.c - records of traced threads, their frames and arena slots. */
#include "placement.h"

#include <stdlib.h>
#include <string.h>

struct tracee *tracee_new(pid_t tid) {
    struct tracee *t = calloc(1, sizeof *t);
    if (t)
        t->tid = tid;
    return t;
}

void tracee_leave_space(struct tracee *t) {
    space_drop(t->space, t->borrowed ? 0 : t->arena);
    t->space = NULL;
    t->arena = 0;
    t->borrowed = 0;
}

void tracee_free(struct tracee *t) {
    while (t->top)
        frame_pop(t);
    tracee_leave_space(t);
    placement_leave(t);
    free(t->transit);
    free(t->unclean);
    free(t);
}

struct frame *frame_push(struct tracee *t, const struct dio_info *call) {
    struct frame *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->call = f->at = *call;
    f->nr = call->nr;
    memcpy(f->args, call->args, sizeof f->args);
    f->below = t->top;
    f->arena_mark = t->arena_used;
    t->top = f;
    t->depth++;
    return f;
}

void frame_conceal(struct frame *f) {
    if (f->exposed)
        placement_conceal(f->exposed);
    f->exposed = NULL;
}

void frame_pop(struct tracee *t) {
    struct frame *f = t->top;
    t->top = f->below;
    t->depth--;
    t->arena_used = f->arena_mark;
    frame_conceal(f);
    if (f->lent)
        lent_end(f->lent, f->at.op == DIO_OP_EXIT ? !f->at.is_error : -1);
    free(f);
}

struct space *space_new(void) {
    struct space *space = calloc(1, sizeof *space);
    if (!space)
        return NULL;
    pthread_mutex_init(&space->lock, NULL);
    space->users = 1;
    return space;
}

struct space *space_share(struct space *space) {
    if (!space)
        return NULL;
    pthread_mutex_lock(&space->lock);
    space->users++;
    pthread_mutex_unlock(&space->lock);
    return space;
}

/* Without memory for it a slot is forgotten. */
static void space_put(struct space *space, uint64_t slot) {
    if (space->free_count == space->free_room) {
        size_t room = space->free_room ? 2 * space->free_room : 8;
        uint64_t *grown = realloc(space->free_slots, room * sizeof *grown);
        if (!grown)
            return;
        space->free_slots = grown;
        space->free_room = room;
    }
    space->free_slots[space->free_count++] = slot;
}

struct space *space_copy(struct space *space) {
    struct space *copy = space_new();
    if (!copy || !space)
        return copy;
    pthread_mutex_lock(&space->lock);
    for (size_t i = 0; i < space->free_count; i++)
        space_put(copy, space->free_slots[i]);
    pthread_mutex_unlock(&space->lock);
    return copy;
}

void space_drop(struct space *space, uint64_t slot) {
    if (!space)
        return;
    pthread_mutex_lock(&space->lock);
    if (slot)
        space_put(space, slot);
    int left = --space->users;
    pthread_mutex_unlock(&space->lock);
    if (left)
        return;
    pthread_mutex_destroy(&space->lock);
    free(space->free_slots);
    free(space);
}

uint64_t space_take(struct space *space) {
    uint64_t slot = 0;
    pthread_mutex_lock(&space->lock);
    if (space->free_count)
        slot = space->free_slots[--space->free_count];
    pthread_mutex_unlock(&space->lock);
    return slot;
}

int signals_block(pid_t tid, uint64_t *mask) {
    const uint64_t all = ~(uint64_t)0;
    if (ptrace((enum __ptrace_request)PTRACE_GETSIGMASK, tid, sizeof *mask, mask))
        return -errno;
    return ptrace((enum __ptrace_request)PTRACE_SETSIGMASK, tid, sizeof all, &all) ? -errno : 0;
}

int signals_restore(pid_t tid, uint64_t mask) {
    return ptrace((enum __ptrace_request)PTRACE_SETSIGMASK, tid, sizeof mask, &mask) ? -errno : 0;
}
