/* promote.c - a guardian for one notified call.
 *
 * A notified call can be answered or let through, nothing else.  To change it, or to run others in its place,
 * its thread gets a tracer while it waits for the answer:
 *
 *   PTRACE_SEIZE, PTRACE_INTERRUPT, answer -ERESTARTNOINTR: the thread stops at PTRACE_EVENT_STOP on its way
 *   out, with all signals blocked from there; the kernel's own restart makes the call again, and its entry
 *   stop, which comes before the filter, is held like any other (calls.c).
 *
 * When nothing of the thread is held any more it is let go again.  Until then the guardian decides at entry
 * stops, and the listener lets all notifications of the thread through: they were decided.  Children that a
 * promoted call makes are told (CLONE) and let go before their first instruction.
 *
 * The arena is kept from one promotion of a process to the next (`listener_space`).  A slot is used again only
 * if a secret of ours still stands at its start: after an exec it does not. */
#include "guardian.h"
#include "listener.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const unsigned long OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                     PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;

/* ---- arenas ---------------------------------------------------------------------------------- */

#ifndef KCMP_VM
#define KCMP_VM 1
#endif

static struct kept_space *space_find(struct dio_listener *l, pid_t tgid) {
    for (int i = 0; i < SPACES; i++)
        if (l->spaces[i].tgid == tgid)
            return &l->spaces[i];
    return NULL;
}

static struct kept_space *space_oldest(struct dio_listener *l) {
    struct kept_space *oldest = &l->spaces[0];
    for (int i = 1; i < SPACES; i++)
        if (l->spaces[i].used < oldest->used)
            oldest = &l->spaces[i];
    return oldest;
}

static pid_t status_number(pid_t tid, const char *name) {
    char path[40], line[256], format[32];
    pid_t found = 0;
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    snprintf(format, sizeof format, "%s: %%d", name);
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file))
        if (sscanf(line, format, &found) != 1)
            found = 0;
    if (file)
        fclose(file);
    return found;
}

/* The list of slots of the thread's memory, which vfork(2) makes that of the parent. */
struct space *listener_space(struct dio_listener *l, pid_t tid) {
    pid_t parent = status_number(tid, "PPid"), tgid = status_number(tid, "Tgid");
    int shares = parent > 0 && syscall(SYS_kcmp, tid, parent, KCMP_VM, 0, 0) == 0;
    pid_t key = shares ? parent : tgid;
    pthread_mutex_lock(&l->lock);
    struct kept_space *kept = space_find(l, key);
    if (!kept) {
        kept = space_oldest(l);
        space_drop(kept->space, 0);
        *kept = (struct kept_space){.tgid = key, .space = space_new()};
    }
    kept->used = ++l->space_clock;
    struct space *space = space_share(kept->space);
    pthread_mutex_unlock(&l->lock);
    return space;
}

/* A slot that still is ours: an exec, or an unmapping, may have made it something else. */
uint64_t listener_slot(struct dio_listener *l, struct tracee *t) {
    uint64_t seal[2], slot;
    while ((slot = space_take(t->space)) != 0) {
        ssize_t n = dio_memory_read(t->tid, slot, seal, sizeof seal);
        if (n == (ssize_t)sizeof seal && seal[0] == l->secret && seal[1] == slot)
            return slot;
    }
    return 0;
}

int listener_seal(struct dio_listener *l, struct tracee *t) {
    const uint64_t seal[2] = {l->secret, t->arena};
    ssize_t n = dio_memory_write(t->tid, t->arena, seal, sizeof seal);
    return n == (ssize_t)sizeof seal ? 0 : -ENOMEM;
}

void listener_spaces_drop(struct dio_listener *l) {
    for (int i = 0; i < SPACES; i++)
        space_drop(l->spaces[i].space, 0);
}

/* ---- promotion ------------------------------------------------------------------------------- */

void promoted_stopped(struct tracee *t) {
    struct frame *f = t->top;
    struct dio_info info;
    if (!f || !f->arriving || f->phase != INTERRUPTED || f->masked)
        return;
    if (dio_stop_read(t->tid, &(struct dio_paths){0}, DIO_OP_NONE, &info) || info.ip != f->call.ip)
        return;
    if (signals_block(t->tid, &f->mask))
        return;
    f->masked = 1;
    f->call.sp = info.sp;
    f->phase = REWINDING;
}

/* What a promoted thread is made to call comes by the filter once more; the tag spares it a notification. */
void promoted_tag(const struct dio_guardian *g, struct frame *f) {
    int native = f->call.abi == ARCH_NATIVE;
    const uint8_t *untaggable = g->options.untaggable[!native];
    if (g->options.promoted && untaggable && f->nr >= 0 && f->nr < 512 && !untaggable[f->nr])
        f->args[5] = native ? g->options.tag : (uint32_t)g->options.tag;
}

/* One that was killed meanwhile stays ours, and its death comes out of wait4: an execve in its process waits
 * until it is reaped, and this thread's next PTRACE_SEIZE there would wait for that execve. */
void promoted_release(struct dio_guardian *g, struct tracee *t, int sig) {
    pid_t tid = t->tid;
    listener_promoted_remove(g->listener, tid);
    if (ptrace(PTRACE_DETACH, tid, NULL, sig) && errno == ESRCH)
        return;
    guardian_unlink(g, t);
    tracee_free(t);
}

/* Children whose birth Python has been told of, and threads that left a call for good. */
void promoted_told_release(struct dio_guardian *g) {
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct tracee *t = g->buckets[i], *next; t; t = next) {
            next = t->next;
            if (t->told)
                promoted_release(g, t, 0);
        }
}

int dio_guardian_promote(struct dio_guardian *g, struct dio_listener *l, const struct dio_event *notice) {
    const struct dio_reply again = {.kind = DIO_REPLY_VALUE, .cookie = notice->cookie, .value = -513};
    pid_t tid = notice->tid;
    int error = listener_promoted_add(l, tid);
    if (error)
        return error;
    g->listener = l;
    if (ptrace(PTRACE_SEIZE, tid, NULL, OPTIONS)) {
        /* EPERM is also what a thread gives that is on its way out; then its call is gone too. */
        error = errno == ESRCH || dio_listener_valid(l, notice->cookie) ? -ESRCH : -EPERM;
        listener_promoted_remove(l, tid);
        return error;
    }
    struct tracee *t = guardian_add(g, tid);
    struct frame *f = t ? frame_push(t, &notice->info) : NULL;
    if (!f) {
        listener_promoted_remove(l, tid);
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
        kill(tid, SIGKILL); /* no memory left: it must not go on unwatched */
        return -ENOMEM;
    }
    f->phase = INTERRUPTED;
    f->arriving = 1;
    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    dio_listener_reply(l, &again);
    while (guardian_find(g, tid) == t && !t->told && (t->top != f || f->phase != HELD)) {
        error = guardian_wait(g);
        if (error)
            return error;
    }
    return guardian_find(g, tid) == t && !t->told ? 0 : -ESRCH;
}
