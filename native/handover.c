/* handover.c - a newborn goes from its parent's guardian to one of its own.
 *
 * The kernel attaches a new task to its parent's tracer, and only the tracer may pass it on.  In the gap it
 * must neither run (untraced, its calls would be ENOSYS or unwatched) nor look stopped to its parent.  So
 * it sleeps in a ppoll that the filter lets through:
 *
 *   A, at the newborn's first stop, before its first instruction: block all its signals, save its registers,
 *      set others that make the system call instruction behind it run ppoll(PARK_TAG), PTRACE_DETACH
 *   B: PTRACE_SEIZE, PTRACE_INTERRUPT; at whatever stop comes first: put registers and signal mask back
 *
 * Compared with replacing the newborn's first call (the way of VUOS): no stop is spent on waiting for that
 * call, so a view that stops few calls hands over too; no entry stop has to be recognised; and since all
 * registers are put back, no restart rule of any architecture matters.  It rests on one fact: the
 * instruction before the newborn's is the one that made it.  A signal cannot act in the gap (blocked); a
 * SIGSTOP shows up in B as a stop like any other; SIGKILL as -ESRCH.  If the supervisor dies in the gap,
 * init ends the newborn (launch.c), since EXITKILL needs a tracer.
 *
 * A newborn stays with A ("adopted") when B could not attach or ppoll might not run: it has seccomp filters
 * besides ours, its memory is closed to us (PR_SET_DUMPABLE, set-user-ID), or Yama forbids.
 */
#include "placement.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const unsigned long OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                     PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP |
                                     PTRACE_O_EXITKILL;

/* Seccomp filters of the task, or a large number when that cannot be known. */
static unsigned filters_of(pid_t tid) {
    char name[40], text[4096];
    snprintf(name, sizeof name, "/proc/%d/status", tid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ~0u;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, "\nSeccomp_filters:");
    if (at)
        return (unsigned)strtoul(at + 17, NULL, 10);
    at = strstr(text, "\nSeccomp:"); /* before Linux 5.9 */
    return at && at[9] == '\t' && at[10] == '0' ? 0 : ~0u;
}

static int can_hand_over(const struct dio_guardian *g, pid_t tid) {
    char name[40];
    if (g->options.shared || filters_of(tid) > g->options.our_filters)
        return 0;
    snprintf(name, sizeof name, "/proc/%d/mem", tid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    close(fd);
    return 1;
}

static struct dio_transit *newborn_park(struct tracee *child) {
    struct dio_transit *transit = calloc(1, sizeof *transit);
    struct arch_regs parked;
    if (!transit)
        return NULL;
    if (signals_block(child->tid, &transit->mask) || arch_regs_get(child->tid, &transit->regs))
        goto fail;
    parked = transit->regs;
    const uint64_t args[6] = {DIO_PARK_TAG, 0, 0, 0, 0, 0};
    uint32_t abi = arch_abi(&parked);
    int64_t ppoll = arch_number_of(abi, ARCH_PPOLL);
    arch_call_set(&parked, abi, ppoll, args);
    arch_rewind(&parked, abi, ppoll, DIO_PARK_TAG);
    if (arch_forget_call(child->tid, &parked) || arch_regs_set(child->tid, &parked) ||
        ptrace(PTRACE_DETACH, child->tid, NULL, NULL))
        goto fail;
    transit->tid = child->tid;
    transit->space = child->space;
    transit->arena = child->arena;
    transit->borrowed = child->borrowed;
    child->space = NULL;
    return transit;
fail:
    free(transit);
    return NULL;
}

/* The parent's argument registers may be ours at the moment of the clone, and the child copied them.  The
 * parent goes on before the child's first stop, so what is to be put back is noted at its event. */
static void clone_note_registers(const struct tracee *parent, struct tracee *child) {
    const struct frame *f = parent->top;
    if (!f || f->phase != IN_CALL || !f->changed)
        return;
    child->unclean = malloc(sizeof *child->unclean);
    if (!child->unclean)
        return;
    *child->unclean = f->saved;
    child->unclean_abi = f->call.abi;
}

static void newborn_clean(struct tracee *child) {
    struct arch_regs regs;
    if (!child->unclean)
        return;
    if (!arch_regs_get(child->tid, &regs)) {
        arch_arguments_restore(&regs, child->unclean_abi, child->unclean);
        arch_regs_set(child->tid, &regs);
    }
    free(child->unclean);
    child->unclean = NULL;
}

static void clone_note_memory(const struct tracee *parent, struct tracee *child) {
    if (!parent->space)
        return;
    int shares = (child->clone_flags & CLONE_VM) != 0;
    child->space = shares ? space_share(parent->space) : space_copy(parent->space);
    /* A vforked child uses its parent's slot while that sleeps; a thread needs one of its own. */
    if (!shares || (child->clone_flags & CLONE_VFORK))
        child->arena = child->space ? parent->arena : 0;
    child->borrowed = shares && child->arena != 0;
}

void newborn_ready(struct dio_guardian *g, struct tracee *child) {
    struct dio_transit *transit = NULL;
    pid_t tid = child->tid, other = child->parent;
    newborn_clean(child);
    placement_born(child);
    child->stopped_newborn = 0;
    if (!g->options.promoted && can_hand_over(g, tid))
        transit = newborn_park(child);
    struct dio_event *e = guardian_emit(g, transit ? DIO_EVENT_NEWBORN : DIO_EVENT_ADOPTED, tid);
    if (e) {
        e->other = other;
        e->transit = transit;
    }
    if (transit) {
        guardian_unlink(g, child);
        tracee_free(child);
    } else if (g->options.promoted) {
        child->told = 1; /* it goes on when Python has heard of it */
    } else {
        placement_adopted(g);
        guardian_resume(g, child, 0);
    }
}

void newborn_restore(struct tracee *t) {
    struct dio_transit *transit = t->transit;
    /* The ppoll that these registers replace must not be restarted by the kernel. */
    arch_forget_call(t->tid, &transit->regs);
    arch_regs_set(t->tid, &transit->regs);
    signals_restore(t->tid, transit->mask);
    t->transit = NULL;
    free(transit);
}

static uint64_t clone_flags(struct tracee *t) {
    struct arch_regs regs;
    uint64_t args[6], flags = 0;
    int64_t nr;
    if (arch_regs_get(t->tid, &regs))
        return 0;
    uint32_t abi = t->top ? t->top->call.abi : arch_abi(&regs);
    arch_call_read(&regs, abi, &nr, args);
    if (nr == arch_number_of(abi, ARCH_CLONE3))
        return dio_memory_read(t->tid, args[0], &flags, sizeof flags) == sizeof flags ? flags : 0;
    if (nr == arch_number_of(abi, ARCH_VFORK))
        return CLONE_VM | CLONE_VFORK | SIGCHLD;
    return nr == arch_number_of(abi, ARCH_CLONE) ? args[0] : SIGCHLD;
}

void clone_event(struct dio_guardian *g, struct tracee *t) {
    unsigned long message = 0;
    int is_awaited = 0;
    if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &message))
        return;
    pid_t tid = (pid_t)message;
    struct tracee *child = guardian_find(g, tid);
    if (!child) {
        child = guardian_add(g, tid);
        if (child)
            child->awaited = 1;
    }
    struct dio_event *e = child ? guardian_emit(g, DIO_EVENT_CLONE, t->tid) : NULL;
    if (e) {
        child->parent = t->tid;
        child->clone_flags = clone_flags(t);
        if (g->options.decider && child->clone_flags & (CLONE_NEWUSER | CLONE_NEWNS))
            dio_decider_strangers(g->options.decider);
        child->parent_known = 1;
        clone_note_registers(t, child);
        clone_note_memory(t, child);
        placement_cloned(t, child);
        e->other = tid;
        e->info.args[0] = child->clone_flags;
        is_awaited = child->awaited && !g->options.promoted;
        if (child->stopped_newborn)
            newborn_ready(g, child); /* which may free it */
    }
    guardian_resume(g, t, 0);
    if (is_awaited)
        guardian_await(g, tid);
}

int dio_guardian_seize(struct dio_guardian *g, pid_t tid) {
    if (ptrace(PTRACE_SEIZE, tid, NULL, OPTIONS))
        return -errno;
    struct tracee *t = guardian_add(g, tid);
    if (!t)
        return -ENOMEM;
    t->starting = 1;
    return 0;
}

int dio_guardian_take(struct dio_guardian *g, struct dio_transit *transit) {
    int error = ptrace(PTRACE_SEIZE, transit->tid, NULL, OPTIONS) ? -errno : 0;
    if (!error && ptrace(PTRACE_INTERRUPT, transit->tid, NULL, NULL))
        error = -errno;
    struct tracee *t = error == -EPERM ? NULL : guardian_add(g, transit->tid);
    if (error == -ESRCH && t) {
        /* Dead already; nobody will tell us its status. */
        guardian_gone(g, t, -1);
        t = NULL;
    }
    if (!t) {
        if (error == -EPERM) /* zombie, or refused after all: it must not stay unwatched */
            kill(transit->tid, SIGKILL);
        space_drop(transit->space, 0);
        free(transit);
        return error ? error : -ENOMEM;
    }
    t->space = transit->space;
    t->arena = transit->arena;
    t->borrowed = transit->borrowed;
    t->transit = transit;
    return 0;
}
