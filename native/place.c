/* place.c - room in the tracee's memory for what a changed call points at.
 *
 * Never below the stack pointer: red zones, alternate stacks, small goroutine stacks and guard pages live
 * there.  A thread gets a slot of its own, mapped by a call made in its name the first time; the slots of
 * ended threads are used again.  The mapping call runs with all signals blocked and leaves the tracee at
 * an entry stop of the call that it interrupted.
 */
#include "guardian.h"
#include "listener.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARENA_SEAL = 16 };

/* Waits for the next system call stop of `t` alone.  Job control waits until the call is done. */
static int wait_call_stop(struct dio_guardian *g, struct tracee *t) {
    for (;;) {
        int status;
        if (ptrace(PTRACE_SYSCALL, t->tid, NULL, NULL) && errno != ESRCH)
            return -errno;
        pid_t got = wait4(t->tid, &status, __WALL | __WNOTHREAD, NULL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -ESRCH;
        if (!WIFSTOPPED(status)) {
            g->stashed = 1;
            g->stash_tid = t->tid;
            g->stash_status = status;
            return -ESRCH;
        }
        int sig = WSTOPSIG(status), event = status >> 16;
        if (sig == (SIGTRAP | 0x80))
            return 0;
        if (event == PTRACE_EVENT_STOP && sig != SIGTRAP)
            t->rejoin = 1;
        else if (event == 0 && sig == SIGSTOP)
            t->deferred_stop = 1;
    }
}

/* Runs one call in the held tracee; afterwards it is at an entry stop of the call that is held. */
static int run_inline(struct dio_guardian *g, struct tracee *t, int64_t nr, const uint64_t args[6], int64_t *rval) {
    const struct dio_paths *paths = &g->options.paths;
    struct frame *f = t->top;
    struct dio_info info;
    int error = f->saved_regs ? 0 : arch_regs_get(t->tid, &f->saved);
    if (!error)
        error = signals_block(t->tid, &f->mask);
    if (error)
        return error;
    f->saved_regs = f->masked = f->changed = 1;
    if (f->at.op == DIO_OP_EXIT) {
        error = dio_stop_rewind(t->tid, paths, &f->at);
        if (!error)
            error = wait_call_stop(g, t);
        if (!error)
            error = dio_stop_read(t->tid, paths, DIO_OP_ENTRY, &f->at);
    }
    if (!error)
        error = dio_stop_change(t->tid, paths, &f->at, nr, args);
    if (!error)
        error = wait_call_stop(g, t);
    if (!error)
        error = dio_stop_read(t->tid, paths, DIO_OP_EXIT, &info);
    *rval = info.rval;
    if (!error)
        error = dio_stop_rewind(t->tid, paths, &info);
    if (!error)
        error = wait_call_stop(g, t);
    if (!error)
        error = dio_stop_read(t->tid, paths, DIO_OP_ENTRY, &f->at);
    if (error)
        return error;
    f->masked = 0;
    return signals_restore(t->tid, f->mask);
}

static int arena_map(struct dio_guardian *g, struct tracee *t) {
    const uint64_t args[6] = {0, ARENA_SLOT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, 0};
    int64_t rval = -ENOMEM;
    if (!t->space)
        t->space = g->listener ? listener_space(g->listener, t->tid) : space_new();
    if (!t->space)
        return -ENOMEM;
    t->arena_used = g->listener ? ARENA_SEAL : 0;
    t->borrowed = 0;
    t->arena = g->listener ? listener_slot(g->listener, t) : space_take(t->space);
    if (t->arena)
        return 0;
    uint64_t wide[6];
    memcpy(wide, args, sizeof wide);
    if (g->options.promoted) /* a multiple of the page size, and no file: the kernel ignores it */
        wide[5] = t->top->call.abi == ARCH_NATIVE ? g->options.tag : (uint32_t)g->options.tag;
    if (t->top->call.abi != ARCH_NATIVE)
        wide[4] = UINT32_MAX;
    int error = run_inline(g, t, arch_number_of(t->top->call.abi, ARCH_MMAP), wide, &rval);
    if (error)
        return error;
    if (rval < 0 && rval > -4096)
        return -ENOMEM;
    t->arena = t->top->call.abi == ARCH_NATIVE ? (uint64_t)rval : (uint32_t)rval;
    return g->listener ? listener_seal(g->listener, t) : 0;
}

int place_copy(struct dio_guardian *g, struct tracee *t, const void *data, size_t size, uint64_t *address) {
    size_t room = (size + 15) & ~(size_t)15;
    int error = t->arena ? 0 : arena_map(g, t);
    if (error)
        return error;
    if (room > ARENA_SLOT - t->arena_used)
        return -ENOMEM;
    uint64_t at = t->arena + t->arena_used;
    ssize_t n = dio_memory_write(t->tid, at, data, size);
    if (n < 0)
        return n == -EFAULT ? -ENOMEM : (int)n;
    t->arena_used += room;
    *address = at;
    return 0;
}

int dio_guardian_place(struct dio_guardian *g, pid_t tid, const void *data, size_t size, uint64_t *address) {
    if (!pthread_equal(g->thread, pthread_self()))
        return -EPERM;
    struct tracee *t = guardian_find(g, tid);
    if (!t || !t->top || t->top->phase != HELD)
        return -ESRCH;
    return place_copy(g, t, data, size, address);
}
