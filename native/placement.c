/* placement.c - a guardian and its tracee on one CPU, while that pays.
 *
 * A stop wakes the guardian and its end wakes the tracee; never do both run.  On one CPU that is two context
 * switches (3 to 9 us measured), on two it is two wake-ups of an idle CPU (15 to 60 us).  So a pair that stops
 * often is pinned, and one that does not is left to the scheduler:
 *
 *   pin      by the guardian, at a stop, when STOPS_PER_LOOK stops took less than HOT_MS a few times on end: on
 *            the CPU with the fewest pairs among those that the program's mask and ours allow
 *   release  by the balancer, a thread of the view that sleeps while no pair is pinned: a tracee that computes or
 *            waits gives no stops, so it must be done from outside
 *   move     by the balancer, from a CPU with at least two pairs more than another
 *   again    by the balancer: a pair that waits for its CPU too long, because somebody else is pinned there, is
 *            released; its guardian pins it where the scheduler has put it
 *
 * What the program may know.  The program's mask is the kernel's while the tracee is not pinned, and
 * `seat.own` while it is.  A call about masks is not imitated: the tracee that it is about is released, the kernel
 * does the call with all its rules, and a later pin takes note of the new mask.  Until the call is over its target
 * must not be pinned again.  A tracee that calls about itself can't be, since only its guardian pins, at its next
 * stop; for calls about others `holds` forbids all pins.
 *
 * A newborn copies the kernel's mask, at a moment that nobody sees: before its first instruction it is given what
 * its parent has at the clone event, if the parent has been pinned since the clone event before.
 *
 * One lock guards everything.  Only the guardian pins, so it may read its own `cpu` without the lock to see whether
 * there is anything to do.  A guardian with several tracees pins none: they would take turns on one CPU.
 */
#include "placement.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HOT_MS = 16, HOT_LOOKS = 3, CROWDED_PERCENT = 35 };

struct dio_placement {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the balancer: something is pinned, or all is over */
    pthread_t balancer;
    int running, sleeping, ending;
    struct seat *seats;
    unsigned pinned, holds;
    uint16_t pairs[CPUS]; /* pinned to each CPU */
};

/* ---- masks -------------------------------------------------------------------------------- */

int cpus_get(pid_t tid, struct cpus *out) {
    memset(out->bits, 0, sizeof out->bits);
    long n = syscall(SYS_sched_getaffinity, tid, sizeof out->bits, out->bits);
    if (n < 0)
        return -errno;
    out->bytes = (size_t)n;
    return 0;
}

int cpus_set(pid_t tid, const struct cpus *mask) {
    return syscall(SYS_sched_setaffinity, tid, mask->bytes, mask->bits) ? -errno : 0;
}

static int cpus_has(const struct cpus *mask, int cpu) {
    return cpu >= 0 && cpu < CPUS && (mask->bits[cpu / CPU_BITS] >> (cpu % CPU_BITS) & 1) != 0;
}

static void cpus_only(struct cpus *mask, size_t bytes, int cpu) {
    memset(mask->bits, 0, sizeof mask->bits);
    mask->bytes = bytes;
    mask->bits[cpu / CPU_BITS] = 1ul << (cpu % CPU_BITS);
}

static int cpus_equal(const struct cpus *a, const struct cpus *b) {
    return !memcmp(a->bits, b->bits, sizeof a->bits);
}

/* What the supervisor may use: its first thread is never pinned. */
static int cpus_home(struct cpus *out) { return cpus_get(getpid(), out); }

/* ---- pairs, with the lock held ---------------------------------------------------------------- */

/* The CPU with the fewest pairs among those allowed by both; `here` if it is one of them; -1 if there is none. */
static int cpu_choose(const struct dio_placement *p, const struct cpus *own, const struct cpus *home, int here) {
    int best = cpus_has(own, here) && cpus_has(home, here) ? here : -1;
    for (int word = 0; word < CPU_WORDS; word++)
        for (unsigned long left = own->bits[word] & home->bits[word]; left; left &= left - 1) {
            int cpu = word * CPU_BITS + __builtin_ctzl(left);
            if (best < 0 || p->pairs[cpu] < p->pairs[best])
                best = cpu;
        }
    return best;
}

static int seat_move(struct seat *s, int cpu) {
    struct cpus one;
    cpus_only(&one, s->own.bytes, cpu);
    int error = cpus_set(s->tid, &one);
    if (!error)
        error = cpus_set(s->guardian, &one);
    return error;
}

static void seat_account(struct seat *s, int cpu) {
    struct dio_placement *p = s->placement;
    int before = atomic_load(&s->cpu);
    if (before >= 0) {
        p->pairs[before]--;
        p->pinned--;
    }
    atomic_store(&s->cpu, cpu);
    if (cpu < 0)
        return;
    p->pairs[cpu]++;
    p->pinned++;
    s->pinned_since_clone = 1;
}

/* Puts the program's mask back in place of our pin; -EBUSY if somebody outside has changed it meanwhile. */
static int own_restore(const struct seat *s, int cpu) {
    struct cpus now, one;
    int error = cpus_get(s->tid, &now);
    if (error)
        return error;
    cpus_only(&one, s->own.bytes, cpu);
    return cpus_equal(&now, &one) ? cpus_set(s->tid, &s->own) : -EBUSY;
}

static void guardian_restore(const struct seat *s) {
    struct cpus home;
    if (!cpus_home(&home))
        cpus_set(s->guardian, &home);
}

static void seat_release(struct seat *s) {
    int cpu = atomic_load(&s->cpu);
    if (cpu < 0)
        return;
    s->astray = own_restore(s, cpu) ? cpu : -1;
    guardian_restore(s);
    seat_account(s, -1);
}

static void seat_pin(struct seat *s) {
    struct dio_placement *p = s->placement;
    struct cpus home;
    if (p->holds || cpus_get(s->tid, &s->own) || cpus_home(&home))
        return;
    int cpu = cpu_choose(p, &s->own, &home, sched_getcpu());
    if (cpu < 0)
        return;
    seat_account(s, cpu);
    s->astray = -1;
    s->idle = 0;
    s->delay = 0;
    atomic_store(&s->looked, 1);
    if (seat_move(s, cpu))
        seat_release(s);
    else if (p->sleeping)
        pthread_cond_signal(&p->wake);
}

/* ---- the balancer ------------------------------------------------------------------------------ */

/* Nanoseconds for which a thread could have run and had no CPU (sched-stats.rst); 0 if unknown. */
static uint64_t delay_of(pid_t tid) {
    char name[40];
    unsigned long long run, delay = 0;
    snprintf(name, sizeof name, "/proc/%d/schedstat", tid);
    FILE *file = fopen(name, "re");
    if (file && fscanf(file, "%llu %llu", &run, &delay) != 2)
        delay = 0;
    if (file)
        fclose(file);
    return delay;
}

/* A lone pair that waited for its CPU for much of the last rounds shares it with somebody. */
static int seat_is_crowded(struct seat *s) {
    const uint64_t much = (uint64_t)UNEVEN_ROUNDS * ROUND_MS * 1000000 / 100 * CROWDED_PERCENT;
    if (s->placement->pairs[atomic_load(&s->cpu)] > 1)
        return 0;
    uint64_t before = s->delay;
    s->delay = delay_of(s->tid) + delay_of(s->guardian);
    return before && s->delay > before + much;
}

static void seat_balance(struct seat *s, const struct cpus *home) {
    struct dio_placement *p = s->placement;
    int cpu = atomic_load(&s->cpu), better = cpu_choose(p, &s->own, home, cpu);
    if (better < 0 || seat_is_crowded(s)) {
        seat_release(s);
    } else if (p->pairs[better] + 2 <= p->pairs[cpu] && !seat_move(s, better)) {
        seat_account(s, better);
        s->delay = 0;
    }
}

static void seat_round(struct seat *s, const struct cpus *home) {
    if (atomic_load(&s->cpu) < 0)
        return;
    s->idle = atomic_exchange(&s->looked, 0) ? 0 : s->idle + 1;
    if (s->idle >= IDLE_ROUNDS)
        seat_release(s);
    else if (home)
        seat_balance(s, home);
}

void placement_round(struct dio_placement *p, unsigned round) {
    struct cpus home;
    int weigh = round % UNEVEN_ROUNDS == 0 && !cpus_home(&home);
    for (struct seat *s = p->seats; s; s = s->next)
        seat_round(s, weigh ? &home : NULL);
}

static void *balance(void *argument) {
    struct dio_placement *p = argument;
    struct timespec until;
    unsigned round = 0;
    placement_guardian(p);
    pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        if (!p->pinned) {
            p->sleeping = 1;
            pthread_cond_wait(&p->wake, &p->lock);
            p->sleeping = 0;
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += ROUND_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (pthread_cond_timedwait(&p->wake, &p->lock, &until) == ETIMEDOUT)
            placement_round(p, ++round);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Without it nothing may be pinned: nobody would let it go. */
static int balancer_start(struct dio_placement *p) {
    sigset_t all, before;
    if (p->running)
        return 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    p->running = !pthread_create(&p->balancer, NULL, balance, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p->running;
}

/* ---- the handle ---------------------------------------------------------------------------- */

int dio_placement_new(struct dio_placement **out) {
    struct dio_placement *p = calloc(1, sizeof *p);
    pthread_condattr_t attributes;
    if (!p)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = p;
    return 0;
}

void dio_placement_free(struct dio_placement *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->ending = 1;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->running)
        pthread_join(p->balancer, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- what guardians tell -------------------------------------------------------------------- */

void placement_guardian(struct dio_placement *p) {
    struct cpus now, home;
    if (p && !cpus_get(0, &now) && !cpus_home(&home) && !cpus_equal(&now, &home))
        cpus_set(0, &home);
}

static struct seat *seat_new(struct dio_guardian *g, struct tracee *t) {
    struct dio_placement *p = g->options.placement;
    struct seat *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->placement = p;
    s->tid = t->tid;
    s->guardian = g->owner;
    atomic_store(&s->cpu, -1);
    s->astray = -1;
    s->next = p->seats;
    if (s->next)
        s->next->previous = s;
    p->seats = s;
    t->seat = s;
    return s;
}

/* Milliseconds, as coarse as the scheduler's tick. */
static uint64_t clock_coarse(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void placement_look(struct dio_guardian *g, struct tracee *t) {
    struct dio_placement *p = g->options.placement;
    if (t->seat && atomic_load_explicit(&t->seat->cpu, memory_order_relaxed) >= 0) {
        atomic_store_explicit(&t->seat->looked, 1, memory_order_relaxed);
        return;
    }
    uint64_t now = clock_coarse(), took = now - t->looked_at;
    t->looked_at = now;
    t->hot = took <= HOT_MS ? t->hot + 1 : 0;
    if (t->hot < HOT_LOOKS || g->tracees != 1)
        return;
    t->hot = 0;
    pthread_mutex_lock(&p->lock);
    if (balancer_start(p) && (t->seat || seat_new(g, t)))
        seat_pin(t->seat);
    pthread_mutex_unlock(&p->lock);
}

int placement_concerns(const struct dio_guardian *g, uint32_t abi, int64_t nr) {
    return g->options.placement && (nr == arch_number_of(abi, ARCH_SCHED_SETAFFINITY) ||
                                    nr == arch_number_of(abi, ARCH_SCHED_GETAFFINITY));
}

/* A tid that is not found may be one of another PID namespace: then it could be anybody. */
static struct seat *seat_find(struct dio_placement *p, pid_t tid) {
    struct seat *s = p->seats;
    while (s && s->tid != tid)
        s = s->next;
    return s;
}

int placement_expose(struct dio_guardian *g, struct tracee *t, pid_t target) {
    struct dio_placement *p = g->options.placement;
    int self = target == 0 || target == t->tid;
    if (self && !t->seat)
        return 0;
    pthread_mutex_lock(&p->lock);
    struct seat *s = self ? t->seat : seat_find(p, target);
    if (s)
        seat_release(s);
    else
        for (s = p->seats; s; s = s->next)
            seat_release(s);
    p->holds += !self;
    pthread_mutex_unlock(&p->lock);
    return !self;
}

void placement_conceal(struct dio_placement *p) {
    pthread_mutex_lock(&p->lock);
    p->holds--;
    pthread_mutex_unlock(&p->lock);
}

void placement_cloned(struct tracee *t, struct tracee *child) {
    struct seat *s = t->seat;
    if (!s)
        return;
    pthread_mutex_lock(&s->placement->lock);
    int pinned = atomic_load(&s->cpu) >= 0;
    if (s->pinned_since_clone && !child->own)
        child->own = malloc(sizeof *child->own);
    if (child->own && (pinned || cpus_get(s->tid, child->own)))
        *child->own = s->own;
    s->pinned_since_clone = pinned;
    pthread_mutex_unlock(&s->placement->lock);
}

void placement_born(struct tracee *child) {
    struct cpus now;
    if (child->own && !cpus_get(child->tid, &now) && !cpus_equal(&now, child->own))
        cpus_set(child->tid, child->own);
    free(child->own);
    child->own = NULL;
}

void placement_renamed(struct dio_guardian *g, struct tracee *t) {
    struct dio_placement *p = g->options.placement;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    for (struct seat *s = p->seats; s; s = s->next)
        if (s != t->seat && s->tid == t->tid) {
            s->tid = -1; /* the leader before, which went without a word */
            seat_release(s);
        }
    if (t->seat) {
        t->seat->tid = t->tid;
        seat_release(t->seat);
        /* The balancer may have come between the exec and its event. */
        if (t->seat->astray >= 0)
            own_restore(t->seat, t->seat->astray);
        t->seat->astray = -1;
    }
    pthread_mutex_unlock(&p->lock);
}

void placement_adopted(struct dio_guardian *g) {
    struct dio_placement *p = g->options.placement;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    for (struct seat *s = p->seats; s; s = s->next)
        if (s->guardian == g->owner)
            seat_release(s);
    pthread_mutex_unlock(&p->lock);
}

void placement_leave(struct tracee *t) {
    struct seat *s = t->seat;
    free(t->own);
    t->own = NULL;
    if (!s)
        return;
    t->seat = NULL;
    pthread_mutex_lock(&s->placement->lock);
    /* Its mask is left alone: after an exec by another thread its tid is that thread's. */
    if (atomic_load(&s->cpu) >= 0) {
        guardian_restore(s);
        seat_account(s, -1);
    }
    if (s->next)
        s->next->previous = s->previous;
    if (s->previous)
        s->previous->next = s->next;
    else
        s->placement->seats = s->next;
    pthread_mutex_unlock(&s->placement->lock);
    free(s);
}
