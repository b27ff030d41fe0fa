/* listener.h - one program's seccomp listener, shared by the files that implement it. */
#ifndef DIORAMA_LISTENER_H
#define DIORAMA_LISTENER_H

#include "tracee.h"

#include <stdatomic.h>

enum { PROMOTED_BUCKETS = 256, SPACE_BUCKETS = 256, SPACES_SWEPT = 64 };

/* A thread that has a guardian for one call.  Who has it is noted, because an exec gives a thread the id of
 * another, whose guardian may not yet have heard of its end. */
struct promoted {
    struct promoted *next;
    pid_t tid;
    const void *by;
};

/* The arena of a process whose calls were promoted, kept from one promotion to the next until it has ended: what
 * is forgotten would be mapped anew, again and again. */
struct kept_space {
    struct kept_space *next;
    pid_t tgid;
    struct space *space;
};

struct dio_listener {
    int fd;
    int cpus;
    const struct dio_rules *rules;
    struct dio_decider *decider;
    uint8_t has_sync;
    pthread_mutex_t lock; /* guards all that follows, but for the atomics */
    pthread_cond_t changed;
    int receivers; /* workers that wait in the kernel */
    atomic_int wanted; /* how many should */
    int idle;      /* workers that wait for their turn */
    int watchers;  /* those of them that look every tick */
    uint8_t urgent, ended;
    atomic_int asking;
    unsigned long departures; /* how often the last receiver went to Python, or stepped aside */
    struct promoted *promoted[PROMOTED_BUCKETS];
    atomic_int promoted_count;
    struct kept_space *spaces[SPACE_BUCKETS];
    size_t space_count, spaces_swept_at;
    uint64_t secret; /* at the start of each slot */
    /* how parallel the program is, over a window of notifications */
    atomic_uint seen, switches;
    atomic_int last_tid, other_tid;
    atomic_int giving_ns; /* what the kernel's way of giving a descriptor takes */
    atomic_uint gifts;
    atomic_uint parallel_windows;
};

/* Has somebody else receive while the receiver may have to wait: 0, or -EBUSY when there is nobody. */
int listener_step_aside(struct dio_listener *l);
/* A server that may be a program of this listener is asked, by somebody who has stepped aside; or is no longer. */
void listener_asks(struct dio_listener *l, int begins);
int listener_promoted_add(struct dio_listener *l, pid_t tid, const void *by);
void listener_promoted_remove(struct dio_listener *l, pid_t tid, const void *by);
struct space *listener_space(struct dio_listener *l, pid_t tid);
uint64_t listener_slot(struct dio_listener *l, struct tracee *t);
int listener_seal(struct dio_listener *l, struct tracee *t);
void listener_spaces_drop(struct dio_listener *l);

#endif
