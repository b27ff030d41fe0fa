/* placement.h - a guardian and its tracee on one CPU, while that pays (theory in placement.c). */
#ifndef DIORAMA_PLACEMENT_H
#define DIORAMA_PLACEMENT_H

#include "guardian.h"

/* A mask of CPUs as the kernel's raw calls pass it; 8192 is the most CPUs that Linux can be built for. */
enum { CPUS = 8192, CPU_BITS = 8 * (int)sizeof(unsigned long), CPU_WORDS = CPUS / CPU_BITS };
struct cpus {
    size_t bytes; /* the size that the kernel uses */
    unsigned long bits[CPU_WORDS];
};

int cpus_get(pid_t tid, struct cpus *out);
int cpus_set(pid_t tid, const struct cpus *mask);

/* What is remembered of a tracee that has been pinned.  All but `looked` is under the placement's lock. */
struct seat {
    struct seat *next, *previous;
    struct dio_placement *placement;
    pid_t tid, guardian;
    _Atomic int cpu;    /* -1: not pinned.  Read by its guardian without the lock */
    _Atomic int looked; /* its guardian counted stops since the balancer came by */
    int astray;         /* the CPU of a pin that could not be undone under this tid; -1 */
    int idle;           /* rounds of the balancer without */
    int pinned_since_clone;
    uint64_t delay; /* nanoseconds that the two had waited for their CPU when the balancer last looked */
    struct cpus own; /* while pinned: the program's mask */
};

/* Rounds of the balancer, which a test makes by itself. */
enum { ROUND_MS = 20, IDLE_ROUNDS = 2, UNEVEN_ROUNDS = 5 };
void placement_round(struct dio_placement *p, unsigned round);

/* Looks whether the tracee, which is stopped, stops often enough to be pinned. */
void placement_look(struct dio_guardian *g, struct tracee *t);

/* The clock is looked at once in STOPS_PER_LOOK stops. */
enum { STOPS_PER_LOOK = 32 };
static inline void placement_count(struct dio_guardian *g, struct tracee *t) {
    if (g->options.placement && ++t->stops % STOPS_PER_LOOK == 0)
        placement_look(g, t);
}

/* The guardian's thread begins: its creator may have been pinned. */
void placement_guardian(struct dio_placement *p);

/* Whether this call asks for masks or sets them. */
int placement_concerns(const struct dio_guardian *g, uint32_t abi, int64_t nr);
/* Before the tracee makes such a call on the task `target`: masks are the program's own, and those of
 * others stay so until placement_conceal, once if this returns 1. */
int placement_expose(struct dio_guardian *g, struct tracee *t, pid_t target);
void placement_conceal(struct dio_placement *p);

/* At the clone event of `t`, then before the child's first instruction: it has the program's mask. */
void placement_cloned(struct tracee *t, struct tracee *child);
void placement_born(struct tracee *child);
/* execve by a thread that was not leader: it is `t->tid` now, as another was before. */
void placement_renamed(struct dio_guardian *g, struct tracee *t);
/* The guardian has several tracees from now on. */
void placement_adopted(struct dio_guardian *g);
void placement_leave(struct tracee *t);

#endif
