/* guardian.c - a tracer thread: wait, classify, settle or tell.
 *
 * A guardian waits with __WALL | __WNOTHREAD, so it sees its own tracees only; any other thread that waits
 * without __WNOTHREAD would steal its stops.  It usually has one tracee, more when it adopted some
 * (handover.c) or when one guardian serves all.
 *
 * Every ptrace request can fail with ESRCH because the tracee was killed meanwhile.  That is never handled
 * where it happens: the death itself comes out of wait4, once, and is told then.
 */
#include "listener.h"
#include "placement.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- records and events ------------------------------------------------------------------- */

struct tracee *guardian_find(struct dio_guardian *g, pid_t tid) {
    struct tracee *t = g->buckets[(unsigned)tid % BUCKETS];
    while (t && t->tid != tid)
        t = t->next;
    return t;
}

static void guardian_link(struct dio_guardian *g, struct tracee *t) {
    struct tracee **bucket = &g->buckets[(unsigned)t->tid % BUCKETS];
    t->next = *bucket;
    *bucket = t;
    g->tracees++;
}

struct tracee *guardian_add(struct dio_guardian *g, pid_t tid) {
    struct tracee *t = tracee_new(tid);
    if (t)
        guardian_link(g, t);
    return t;
}

void guardian_unlink(struct dio_guardian *g, struct tracee *t) {
    struct tracee **at = &g->buckets[(unsigned)t->tid % BUCKETS];
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    g->tracees--;
}

struct dio_event *guardian_emit(struct dio_guardian *g, uint32_t kind, pid_t tid) {
    if (g->queue_head == g->queue_count)
        g->queue_head = g->queue_count = 0;
    if (g->queue_count == g->queue_room) {
        size_t room = g->queue_room ? g->queue_room * 2 : 8;
        struct dio_event *grown = realloc(g->queue, room * sizeof *grown);
        if (!grown)
            return NULL;
        g->queue = grown;
        g->queue_room = room;
    }
    struct dio_event *e = &g->queue[g->queue_count++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    e->tid = tid;
    return e;
}

void guardian_resume(struct dio_guardian *g, struct tracee *t, int sig) {
    int all = t->top || t->ending || g->options.no_filter;
    if (t->deferred_stop) {
        t->deferred_stop = 0;
        syscall(SYS_tkill, t->tid, SIGSTOP);
    }
    if (t->rejoin) {
        t->rejoin = 0;
        ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
    }
    if (g->options.promoted && !t->top) {
        promoted_release(g, t, sig);
        return;
    }
    ptrace(all ? PTRACE_SYSCALL : PTRACE_CONT, t->tid, NULL, sig);
}

/* ---- ends --------------------------------------------------------------------------------- */

/* Parent of the process that `tid` belongs to, 0 if unknown. */
static pid_t parent_of(pid_t tid) {
    char name[40], text[1024];
    snprintf(name, sizeof name, "/proc/%d/status", tid);
    FILE *file = fopen(name, "re");
    pid_t parent = 0;
    while (file && fgets(text, sizeof text, file))
        if (sscanf(text, "PPid: %d", &parent) == 1)
            break;
    if (file)
        fclose(file);
    return parent;
}

/* Newborns whose parent died between the clone and its event would wait for ever. */
static void orphans_settle(struct dio_guardian *g, struct tracee *dead) {
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct tracee *t = g->buckets[i], *next; t; t = next) {
            next = t->next;
            if (!t->stopped_newborn || t->parent_known)
                continue;
            pid_t parent = parent_of(t->tid);
            if (parent != dead->tid && guardian_find(g, parent))
                continue;
            t->parent = dead->tid;
            placement_cloned(dead, t);
            t->parent_known = 1;
            newborn_ready(g, t);
        }
}

void guardian_gone(struct dio_guardian *g, struct tracee *t, int status) {
    struct dio_event *e = guardian_emit(g, DIO_EVENT_EXITED, t->tid);
    if (e)
        e->status = status;
    if (g->listener)
        listener_promoted_remove(g->listener, t->tid, g);
    guardian_unlink(g, t);
    orphans_settle(g, t);
    g->last_dead = t->tid;
    g->bereaved = g->options.promoted;
    tracee_free(t);
}

/* wait4 has nothing more for us: what is left in the table went without a word, as the old leader does
 * when another thread of its process calls execve. */
static void all_gone(struct dio_guardian *g) {
    for (size_t i = 0; i < BUCKETS; i++)
        while (g->buckets[i])
            guardian_gone(g, g->buckets[i], -1);
}

/* ---- events ------------------------------------------------------------------------------- */

/* execve by a thread that is not the leader: it goes on under the leader's tid. */
static struct tracee *exec_rename(struct dio_guardian *g, struct tracee *t, pid_t tid, pid_t before) {
    struct tracee *caller = guardian_find(g, before);
    if (before == tid || !caller)
        return t;
    if (t && t != caller)
        guardian_gone(g, t, -1);
    if (g->listener) {
        listener_promoted_remove(g->listener, before, g);
        listener_promoted_add(g->listener, tid, g);
    }
    guardian_unlink(g, caller);
    caller->tid = tid;
    guardian_link(g, caller);
    placement_renamed(g, caller);
    return caller;
}

static void exec_event(struct dio_guardian *g, struct tracee *t, pid_t tid) {
    unsigned long message = (unsigned long)tid;
    if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message))
        return;
    t = exec_rename(g, t, tid, (pid_t)message);
    if (!t)
        return;
    tracee_leave_space(t);
    t->starting = 0;
    for (struct frame *f = t->top; f; f = f->below)
        f->execed = 1;
    struct dio_event *e = guardian_emit(g, DIO_EVENT_EXEC, tid);
    if (!e) {
        guardian_resume(g, t, 0);
        return;
    }
    e->other = (pid_t)message;
    t->begins = 1;
    g->beginning = 1;
}

/* Programs begin when Python has been told of them, and so could write into their memory. */
static void execs_resume(struct dio_guardian *g) {
    if (!g->beginning)
        return;
    g->beginning = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct tracee *t = g->buckets[i], *next; t; t = next) {
            next = t->next;
            if (!t->begins)
                continue;
            t->begins = 0;
            guardian_resume(g, t, 0);
        }
}

static int is_stop_signal(int sig) { return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU; }

static void event_stop(struct dio_guardian *g, struct tracee *t, int sig) {
    call_interrupted(g, t);
    if (is_stop_signal(sig)) {
        struct dio_event *e = t->listening ? NULL : guardian_emit(g, DIO_EVENT_STOPPED, t->tid);
        if (e)
            e->status = sig;
        t->listening = 1;
        ptrace(PTRACE_LISTEN, t->tid, NULL, NULL);
        return;
    }
    if (t->listening)
        guardian_emit(g, DIO_EVENT_CONTINUED, t->tid);
    t->listening = 0;
    promoted_stopped(t);
    guardian_resume(g, t, 0);
}

static void signal_stop(struct dio_guardian *g, struct tracee *t, int sig) {
    call_interrupted(g, t);
    if (ending_asked(t, sig)) {
        guardian_resume(g, t, 0);
        return;
    }
    struct dio_event *e = g->options.signals ? guardian_emit(g, DIO_EVENT_SIGNAL, t->tid) : NULL;
    if (e)
        e->status = sig;
    guardian_resume(g, t, sig);
}

static void stopped(struct dio_guardian *g, struct tracee *t, int status) {
    int sig = WSTOPSIG(status);
    placement_count(g, t);
    switch (status >> 16) {
    case 0:
        if (sig == (SIGTRAP | 0x80))
            call_syscall_stop(g, t);
        else
            signal_stop(g, t, sig);
        break;
    case PTRACE_EVENT_SECCOMP: call_seccomp_stop(g, t); break;
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE: clone_event(g, t); break;
    case PTRACE_EVENT_STOP: event_stop(g, t, sig); break;
    default: guardian_resume(g, t, 0);
    }
}

/* Whether the parent of an unknown newborn has died without a word of the clone: nobody is left who could tell. */
static int is_orphan(const struct dio_guardian *g) {
    if (!g->bereaved)
        return 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct tracee *t = g->buckets[i]; t; t = t->next)
            if (!t->stopped_newborn)
                return 0;
    return 1;
}

/* A tid that we do not know: a newborn, before or after its parent's event. */
static void newborn_stop(struct dio_guardian *g, struct tracee *t, pid_t tid) {
    if (!t)
        t = guardian_add(g, tid);
    if (!t)
        return;
    t->awaited = 0;
    t->stopped_newborn = 1;
    if (!t->parent_known && is_orphan(g)) {
        t->parent = g->last_dead;
        t->parent_known = 1;
    }
    if (t->parent_known)
        newborn_ready(g, t);
}

static void status_handle(struct dio_guardian *g, pid_t tid, int status) {
    struct tracee *t = guardian_find(g, tid);
    if (!WIFSTOPPED(status)) {
        if (t)
            guardian_gone(g, t, status);
        return;
    }
    if (status >> 16 == PTRACE_EVENT_EXEC) {
        exec_event(g, t, tid);
        return;
    }
    if (!t || t->awaited) {
        newborn_stop(g, t, tid);
        return;
    }
    if (t->transit)
        newborn_restore(t);
    stopped(g, t, status);
}

void guardian_await(struct dio_guardian *g, pid_t tid) {
    int status;
    if (!(g->stashed && g->stash_tid == tid) && waitpid(tid, &status, __WALL | __WNOTHREAD) == tid)
        status_handle(g, tid, status);
}

static int stash_take(struct dio_guardian *g, pid_t *tid, int *status) {
    if (!g->stashed)
        return 0;
    g->stashed = 0;
    *tid = g->stash_tid;
    *status = g->stash_status;
    return 1;
}

int guardian_wait(struct dio_guardian *g) {
    int status;
    pid_t tid;
    if (!stash_take(g, &tid, &status)) {
        tid = wait4(-1, &status, __WALL | __WNOTHREAD, NULL);
        if (tid < 0 && errno == EINTR)
            return 0;
        if (tid < 0 && errno == ECHILD) {
            all_gone(g);
            g->bereaved = 0;
            return 0;
        }
        if (tid < 0)
            return -errno;
    }
    status_handle(g, tid, status);
    return 0;
}

/* ---- the handle --------------------------------------------------------------------------- */

int dio_guardian_open(const struct dio_options *options, const struct dio_rules *rules, struct dio_guardian **out) {
    struct dio_guardian *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    g->owner = (pid_t)syscall(SYS_gettid);
    g->thread = pthread_self();
    g->options = *options;
    g->rules = rules;
    placement_guardian(options->placement);
    *out = g;
    return 0;
}

int dio_guardian_next(struct dio_guardian *g, const struct dio_answer *answer, struct dio_event *out) {
    if (!pthread_equal(g->thread, pthread_self()))
        return -EPERM;
    if (answer) {
        int error = call_answer(g, answer);
        if (error && error != -ESRCH)
            return error;
    }
    while (g->queue_head == g->queue_count) {
        execs_resume(g);
        if (g->options.promoted)
            promoted_told_release(g);
        /* A promoted thread that was killed in a clone may have left us a child of which nobody has told.  This
         * thread does not end with the guardian, so the child would stay stopped for ever. */
        if (!g->tracees && !g->bereaved) {
            memset(out, 0, sizeof *out);
            return 0; /* DIO_EVENT_DONE */
        }
        int error = guardian_wait(g);
        if (error)
            return error;
    }
    *out = g->queue[g->queue_head++];
    return 0;
}

void dio_guardian_close(struct dio_guardian *g) {
    for (size_t i = 0; i < BUCKETS; i++)
        while (g->buckets[i]) {
            struct tracee *t = g->buckets[i];
            guardian_unlink(g, t);
            tracee_free(t);
        }
    free(g->queue);
    free(g);
}
