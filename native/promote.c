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
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const unsigned long OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                     PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;

/* ---- arenas ---------------------------------------------------------------------------------- */

#ifndef KCMP_VM
#define KCMP_VM 1
#endif

static void spaces_sweep(struct dio_listener *l) {
    for (size_t i = 0; i < SPACE_BUCKETS; i++)
        for (struct kept_space **at = &l->spaces[i], *one; (one = *at) != NULL;) {
            if (!kill(one->tgid, 0) || errno != ESRCH) {
                at = &one->next;
                continue;
            }
            *at = one->next;
            space_drop(one->space, 0);
            free(one);
            l->space_count--;
        }
    l->spaces_swept_at = l->space_count + SPACES_SWEPT;
}

static struct space *space_find(const struct dio_listener *l, pid_t tgid) {
    const struct kept_space *one = l->spaces[(unsigned)tgid % SPACE_BUCKETS];
    while (one && one->tgid != tgid)
        one = one->next;
    return one ? one->space : NULL;
}

/* With the lock held.  A new list begins with that of the process, if any, whose memory was copied: mapping in each
 * child anew would fail where the program's own filters no longer let it. */
static struct space *space_kept(struct dio_listener *l, pid_t tgid, pid_t copied_from) {
    struct kept_space **bucket = &l->spaces[(unsigned)tgid % SPACE_BUCKETS], *one;
    struct space *space = space_find(l, tgid);
    if (space)
        return space;
    if (l->space_count >= l->spaces_swept_at)
        spaces_sweep(l);
    space = space_copy(copied_from ? space_find(l, copied_from) : NULL);
    one = space ? malloc(sizeof *one) : NULL;
    if (!one) {
        space_drop(space, 0);
        return NULL;
    }
    *one = (struct kept_space){*bucket, tgid, space};
    *bucket = one;
    l->space_count++;
    return space;
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
    long order = parent > 0 ? syscall(SYS_kcmp, tid, parent, KCMP_VM, 0, 0) : -1;
    pthread_mutex_lock(&l->lock);
    struct space *kept = order ? space_kept(l, tgid, order > 0 ? parent : 0) : space_kept(l, parent, 0);
    struct space *space = space_share(kept);
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
    for (size_t i = 0; i < SPACE_BUCKETS; i++)
        for (struct kept_space *one = l->spaces[i], *next; one; one = next) {
            next = one->next;
            space_drop(one->space, 0);
            free(one);
        }
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

/* One that was killed meanwhile cannot be let go: as its tracer we must hear of its end, else it stays a zombie. */
void promoted_release(struct dio_guardian *g, struct tracee *t, int sig) {
    listener_promoted_remove(g->listener, t->tid, g);
    tracee_leave_space(t); /* before its next call, which may be promoted at once and would map another slot */
    if (ptrace(PTRACE_DETACH, t->tid, NULL, sig))
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

/* A thread that has another tracer, or whose memory is closed; or one that has ended: -EPERM or -ESRCH. */
static int seize(struct dio_listener *l, pid_t tid, uint64_t cookie) {
    if (!ptrace(PTRACE_SEIZE, tid, NULL, OPTIONS))
        return 0;
    return errno == ESRCH ? -ESRCH : dio_listener_valid(l, cookie) ? -ESRCH : -EPERM;
}

/* What was seized is another thread, which was given the id of ours: only a stopped one can be let go. */
static void unseize(pid_t tid) {
    int status, sig;
    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    do {
        while (wait4(tid, &status, __WALL | __WNOTHREAD, NULL) < 0)
            if (errno != EINTR)
                return;
        sig = status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
    } while (WIFSTOPPED(status) && ptrace(PTRACE_DETACH, tid, NULL, sig));
}

int dio_guardian_promote(struct dio_guardian *g, struct dio_listener *l, const struct dio_event *notice) {
    const struct dio_reply again = {.kind = DIO_REPLY_VALUE, .cookie = notice->cookie, .value = -513};
    pid_t tid = notice->tid;
    int error = listener_promoted_add(l, tid, g);
    if (error)
        return error;
    g->listener = l;
    error = seize(l, tid, notice->cookie);
    if (!error && dio_listener_valid(l, notice->cookie)) {
        unseize(tid); /* ours would stay a zombie from here on, and keep its id */
        error = -ESRCH;
    }
    if (error) {
        listener_promoted_remove(l, tid, g);
        return error;
    }
    struct tracee *t = guardian_add(g, tid);
    struct frame *f = t ? frame_push(t, &notice->info) : NULL;
    if (!f) {
        listener_promoted_remove(l, tid, g);
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
