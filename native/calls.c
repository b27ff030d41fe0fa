/* calls.c - the four actions, over the stops of one tracee.
 *
 * A frame holds a call from its first stop to its result (tracee.h).  What may happen in between:
 *
 *   HELD --answer--> IN_CALL --exit stop--> HELD (RETURNED)  --answer--> finished
 *                       |                      '--another call--> REWINDING --entry stop--> IN_CALL
 *                       '--ERESTART*--> INTERRUPTED --entry stop, same ip and sp--> IN_CALL
 *                                            '--exit stop of sigreturn, same ip and sp--> HELD (EINTR)
 *
 * Three facts carry this.  A call that gives ERESTART* has no result yet: the kernel will run it again or
 * make it EINTR, and which one is known only when the signal handler has returned, so until then every
 * stop is asked for.  Calls that the signal handler makes are other calls, told apart by ip and sp, and
 * may be held in frames above.  A handler that leaves by siglongjmp never comes back: its stack pointer
 * tells (`is_abandoned`).
 *
 * Signals stay blocked from an exit stop to the entry stop that follows, so a sequence is not cut in the
 * middle; a signal that arrived meanwhile acts on the next call as it would on the first.
 */
#include "placement.h"

#include <limits.h>
#include <string.h>

#define CLONE_UNTRACED_FLAG 0x00800000u

static int frame_save(struct tracee *t, struct frame *f) {
    if (f->saved_regs)
        return 0;
    int error = arch_regs_get(t->tid, &f->saved);
    f->saved_regs = !error;
    return error;
}

/* ---- running what stands in the frame ------------------------------------------------------- */

/* A child made with CLONE_UNTRACED would run under the filter without a tracer, every stop ENOSYS. */
static int untraced_clear(struct dio_guardian *g, struct tracee *t, struct frame *f) {
    uint64_t copy[16];
    if (f->nr == arch_number_of(f->call.abi, ARCH_CLONE)) {
        f->args[0] &= ~(uint64_t)CLONE_UNTRACED_FLAG;
        return 0;
    }
    size_t size = f->args[1] < sizeof copy ? (size_t)f->args[1] : sizeof copy;
    if (dio_memory_read(t->tid, f->args[0], copy, size) != (ssize_t)size || size < sizeof *copy)
        return 0; /* the kernel will refuse it too */
    copy[0] &= ~(uint64_t)CLONE_UNTRACED_FLAG;
    return place_copy(g, t, copy, size, &f->args[0]);
}

static int is_untraced_clone(struct tracee *t, uint32_t abi, int64_t nr, const uint64_t args[6]) {
    uint64_t flags = 0;
    if (nr == arch_number_of(abi, ARCH_CLONE))
        flags = args[0];
    else if (nr != arch_number_of(abi, ARCH_CLONE3) ||
             dio_memory_read(t->tid, args[0], &flags, sizeof flags) != sizeof flags)
        return 0;
    return (flags & CLONE_UNTRACED_FLAG) != 0;
}

/* Calls that must not run without a look at them, wanted or not. */
static int is_special(struct dio_guardian *g, struct tracee *t, uint32_t abi, int64_t nr, const uint64_t args[6]) {
    return is_untraced_clone(t, abi, nr, args) || placement_concerns(g, abi, nr);
}

static int frame_differs(const struct frame *f) {
    return f->nr != f->call.nr || memcmp(f->args, f->call.args, sizeof f->args) != 0;
}

/* At an entry or seccomp stop: let the frame's nr and args run to their exit stop. */
static int frame_run(struct dio_guardian *g, struct tracee *t, struct frame *f) {
    if (is_untraced_clone(t, f->call.abi, f->nr, f->args)) {
        int error = untraced_clear(g, t, f);
        if (error)
            return error;
    }
    promoted_tag(g, f);
    if (placement_concerns(g, f->call.abi, f->nr) && placement_expose(g, t, (pid_t)f->args[0]))
        f->exposed = g->options.placement;
    if (frame_differs(f) || f->at.op == DIO_OP_ENTRY) {
        int error = frame_save(t, f);
        if (!error)
            error = dio_stop_change(t->tid, &g->options.paths, &f->at, f->nr, f->args);
        if (error)
            return error;
        f->changed = 1;
    }
    f->phase = IN_CALL;
    guardian_resume(g, t, 0);
    return 0;
}

/* At an exit stop: go back for another call. */
static int frame_again(struct dio_guardian *g, struct tracee *t, struct frame *f) {
    if (f->execed) /* there is no system call instruction behind a new program's first */
        return -EINVAL;
    int error = frame_save(t, f);
    if (!error)
        error = signals_block(t->tid, &f->mask);
    if (error)
        return error;
    f->masked = 1;
    f->changed = 1;
    error = dio_stop_rewind(t->tid, &g->options.paths, &f->at);
    if (error)
        return error;
    f->phase = REWINDING;
    guardian_resume(g, t, 0);
    return 0;
}

static void frame_unmask(struct tracee *t, struct frame *f) {
    if (f->masked)
        signals_restore(t->tid, f->mask);
    f->masked = 0;
}

/* At an exit stop: `rval` is what the program sees, with its registers as they were. */
static int frame_finish(struct dio_guardian *g, struct tracee *t, struct frame *f, int64_t rval) {
    int error = 0;
    if (is_restart(rval))
        rval = -EINTR;
    frame_unmask(t, f);
    if (f->changed && !f->execed) {
        struct arch_regs now;
        error = arch_regs_get(t->tid, &now);
        if (!error) {
            arch_arguments_restore(&now, f->call.abi, &f->saved);
            arch_result_set(&now, rval);
            error = arch_regs_set(t->tid, &now);
        }
    } else if (rval != f->at.rval) {
        error = dio_stop_result(t->tid, &g->options.paths, &f->at, rval);
    }
    frame_pop(t);
    guardian_resume(g, t, 0);
    return error;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* At an entry or seccomp stop: the call does not run. */
static int answer_skip(struct dio_guardian *g, struct tracee *t, struct frame *f, int64_t rval) {
    int judged = f->at.op == DIO_OP_ENTRY && (!g->options.no_filter || g->options.promoted);
    int error = ARCH_NUMBER_LEAKS || f->changed ? frame_save(t, f) : 0;
    if (error)
        return error;
    if (f->changed)
        judged = 1; /* the exit stop is needed to put registers back */
    struct dio_paths paths = g->options.paths;
    if (judged)
        paths.skip = DIO_SKIP_EXIT;
    int more = dio_stop_skip(t->tid, &paths, &f->at, rval, judged);
    if (more < 0)
        return more;
    if (more == 0) {
        frame_pop(t);
    } else {
        f->changed |= ARCH_NUMBER_LEAKS;
        f->set_result = 1;
        f->rval = rval;
        f->phase = IN_CALL;
    }
    guardian_resume(g, t, 0);
    return 0;
}

static int answer_run(struct dio_guardian *g, struct tracee *t, struct frame *f) {
    f->see = 0;
    if (f->at.op == DIO_OP_EXIT)
        return frame_finish(g, t, f, f->at.rval);
    if (f->changed || (f->at.op == DIO_OP_ENTRY && (!g->options.no_filter || g->options.promoted)) ||
        is_special(g, t, f->call.abi, f->call.nr, f->call.args))
        return frame_run(g, t, f);
    t->tail = f->call;
    t->tail_valid = 1;
    frame_pop(t);
    guardian_resume(g, t, 0);
    return 0;
}

static int answer_call(struct dio_guardian *g, struct tracee *t, struct frame *f, const struct dio_answer *a) {
    int as_it_is = a->action == DIO_RUN_SEE;
    /* The kernel refuses what does not fit the ABI; a program's registers would have cut it off. */
    uint64_t word = f->call.abi == ARCH_NATIVE ? UINT64_MAX : UINT32_MAX;
    f->see = a->action != DIO_CHANGE;
    f->nr = as_it_is ? f->call.nr : (int32_t)a->nr;
    for (int i = 0; i < 6; i++)
        f->args[i] = as_it_is ? f->call.args[i] : a->args[i] & word;
    return f->at.op == DIO_OP_EXIT ? frame_again(g, t, f) : frame_run(g, t, f);
}

int call_answer(struct dio_guardian *g, const struct dio_answer *a) {
    struct tracee *t = guardian_find(g, a->tid);
    struct frame *f = t ? t->top : NULL;
    if (!f || f->phase != HELD)
        return 0; /* died while Python thought; its EXITED is on the way */
    switch (a->action) {
    case DIO_RUN: return answer_run(g, t, f);
    case DIO_RESULT:
        return f->at.op == DIO_OP_EXIT ? frame_finish(g, t, f, a->rval) : answer_skip(g, t, f, a->rval);
    case DIO_RUN_SEE:
    case DIO_CHANGE:
    case DIO_CHANGE_SEE: return answer_call(g, t, f, a);
    default: return -EINVAL;
    }
}

/* ---- stops ------------------------------------------------------------------------------------ */

static void emit_held(struct dio_guardian *g, struct tracee *t, uint32_t kind, uint64_t matched) {
    struct dio_event *e = guardian_emit(g, kind, t->tid);
    if (!e)
        return;
    e->info = t->top->at;
    e->depth = t->depth;
    e->matched = matched;
}

static void call_fixed(struct dio_guardian *g, struct tracee *t, const struct dio_info *info, int64_t value) {
    struct frame *f = frame_push(t, info);
    if (!f || answer_skip(g, t, f, value))
        guardian_resume(g, t, 0);
}

static void call_held(struct dio_guardian *g, struct tracee *t, const struct dio_info *info, uint32_t kind,
                      uint64_t matched) {
    struct frame *f = frame_push(t, info);
    if (!f) {
        guardian_resume(g, t, 0);
        return;
    }
    f->phase = HELD;
    emit_held(g, t, kind, matched);
}

/* Lets a call run with this path in the place of an argument; Python is asked where there is no room for it. */
static void call_led(struct dio_guardian *g, struct tracee *t, const struct dio_info *info, const char *path,
                     int64_t arg, struct dio_lent *lent, uint64_t matched) {
    struct frame *f = frame_push(t, info);
    if (!f) {
        if (lent)
            lent_end(lent, 0);
        guardian_resume(g, t, 0);
        return;
    }
    f->phase = HELD;
    f->lent = lent;
    if (lent && lent->arg < 6)
        f->args[lent->arg] = lent->value;
    uint64_t address = 0;
    int error = place_copy(g, t, path, strlen(path) + 1, &address);
    if (!error) {
        f->args[arg] = address;
        error = frame_run(g, t, f);
    }
    if (error) {
        memcpy(f->args, f->call.args, sizeof f->args);
        f->lent = NULL;
        if (lent)
            lent_end(lent, 0);
        emit_held(g, t, DIO_EVENT_CALL, matched);
    }
}

/* What is settled by path, directory or descriptor: FIXED, NONE (let it run), ASK or DECIDE (led, to `path`). */
static int call_decide(const struct dio_guardian *g, pid_t tid, const struct dio_info *info, char path[PATH_MAX],
                       int64_t *value, struct dio_lent **lent) {
    struct dio_asked asked = {.tid = tid, .abi = info->abi, .nr = info->nr, .path = g->listener ? NULL : path,
                              .lent = g->listener ? NULL : lent};
    struct dio_verdict verdict;
    if (!g->options.decider)
        return DIO_MATCH_ASK;
    memcpy(asked.args, info->args, sizeof asked.args);
    if (dio_decide(g->options.decider, &asked, &verdict) || verdict.kind == DIO_VERDICT_ASK)
        return DIO_MATCH_ASK;
    *value = verdict.value;
    if (verdict.kind == DIO_VERDICT_PATH)
        return DIO_MATCH_DECIDE;
    return verdict.kind == DIO_VERDICT_RUN ? DIO_MATCH_NONE : DIO_MATCH_FIXED;
}

static void call_begins(struct dio_guardian *g, struct tracee *t, const struct dio_info *info) {
    uint64_t matched = 0;
    int64_t value = 0;
    int is_exec = info->nr == arch_number_of(info->abi, ARCH_EXECVE) ||
                  info->nr == arch_number_of(info->abi, ARCH_EXECVEAT);
    int match = t->starting && !is_exec ? DIO_MATCH_NONE
                                        : dio_rules_match(g->rules, t->tid, info->abi, info->nr, info->args,
                                                          &matched, &value);
    char path[PATH_MAX];
    struct dio_lent *lent = NULL;
    if (match == DIO_MATCH_DECIDE)
        match = call_decide(g, t->tid, info, path, &value, &lent);
    t->tail_valid = 0;
    if (match == DIO_MATCH_DECIDE) {
        call_led(g, t, info, path, value, lent, matched);
        return;
    }
    if (match == DIO_MATCH_FIXED) {
        call_fixed(g, t, info, value);
        return;
    }
    if (!match && !is_special(g, t, info->abi, info->nr, info->args)) {
        guardian_resume(g, t, 0);
        return;
    }
    if (match) {
        call_held(g, t, info, DIO_EVENT_CALL, matched);
        return;
    }
    struct frame *f = frame_push(t, info);
    if (!f || frame_run(g, t, f))
        guardian_resume(g, t, 0);
}

/* Whether an entry stop is the call of this frame again.  ip and sp are not enough: all calls of an i386
 * program come from one instruction of the vDSO.  The kernel restarts what ran, or on some architectures
 * the number that the program had asked for, or restart_syscall. */
static int is_reentry(const struct frame *f, const struct dio_info *info) {
    if (!same_site(info, &f->call))
        return 0;
    if (f->phase == REWINDING)
        return 1;
    int known = info->nr == f->nr || info->nr == f->call.nr || info->nr == arch_number_of(f->call.abi, ARCH_RESTART);
    return known && !memcmp(info->args, f->args, sizeof f->args);
}

/* A call at or above the stack pointer of the interrupted one, on the same stack: its frame is gone. */
static int is_abandoned(const struct frame *f, const struct dio_info *info) {
    const uint64_t same_stack = 8 << 20;
    if (f->phase != INTERRUPTED || is_reentry(f, info))
        return 0;
    return f->execed || (info->sp >= f->call.sp && info->sp - f->call.sp < same_stack);
}

static void frames_abandon(struct dio_guardian *g, struct tracee *t, const struct dio_info *info) {
    while (t->top && is_abandoned(t->top, info)) {
        if (t->top->see)
            emit_held(g, t, DIO_EVENT_ABANDONED, 0);
        frame_pop(t);
    }
}

/* The exit stop of what ran in the frame, or of the sigreturn that made it EINTR. */
static void frame_returned(struct dio_guardian *g, struct tracee *t, struct frame *f, const struct dio_info *info) {
    if (info->is_error && is_restart(info->rval) && !f->execed) {
        f->phase = INTERRUPTED;
        guardian_resume(g, t, 0);
        return;
    }
    f->at = *info;
    frame_conceal(f);
    if (f->set_result) {
        frame_finish(g, t, f, f->rval);
    } else if (!f->see) {
        frame_finish(g, t, f, info->rval);
    } else {
        f->phase = HELD;
        emit_held(g, t, DIO_EVENT_RETURNED, 0);
    }
}

static void frame_reentered(struct dio_guardian *g, struct tracee *t, struct frame *f, const struct dio_info *info) {
    int rewound = f->phase == REWINDING;
    f->at = *info;
    frame_unmask(t, f);
    if (f->arriving) {
        f->arriving = 0;
        f->phase = HELD;
        return;
    }
    /* restart_syscall continues a call whose arguments the kernel kept. */
    if (rewound || (f->changed && info->nr != arch_number_of(info->abi, ARCH_RESTART))) {
        if (frame_run(g, t, f))
            guardian_resume(g, t, 0);
        return;
    }
    f->phase = IN_CALL;
    guardian_resume(g, t, 0);
}

static void entry_stop(struct dio_guardian *g, struct tracee *t, const struct dio_info *info) {
    struct frame *f = t->top;
    if (f && (f->phase == REWINDING || f->phase == INTERRUPTED) && is_reentry(f, info)) {
        frame_reentered(g, t, f, info);
        return;
    }
    frames_abandon(g, t, info);
    if (ending_meets(t, info))
        call_held(g, t, info, DIO_EVENT_ENDING, 0);
    else if (g->options.promoted && !t->top)
        t->told = 1; /* to be let go, when the abandoned handler has left; its notification is on the way */
    else if (g->options.no_filter && !(t->top && t->top->phase == IN_CALL))
        call_begins(g, t, info);
    else
        guardian_resume(g, t, 0);
}

void call_syscall_stop(struct dio_guardian *g, struct tracee *t) {
    struct dio_info info;
    struct frame *f = t->top;
    if (dio_stop_read(t->tid, &g->options.paths, DIO_OP_NONE, &info))
        return; /* dead; wait4 will tell */
    if (info.op != DIO_OP_EXIT)
        entry_stop(g, t, &info);
    else if (f && (f->phase == IN_CALL || (f->phase == INTERRUPTED && same_site(&info, &f->call))))
        frame_returned(g, t, f, &info);
    else
        guardian_resume(g, t, 0);
}

void call_seccomp_stop(struct dio_guardian *g, struct tracee *t) {
    struct dio_info info;
    if (t->top && t->top->phase == IN_CALL) {
        guardian_resume(g, t, 0); /* the filter judges what we put there */
        return;
    }
    if (dio_stop_read(t->tid, &g->options.paths, DIO_OP_SECCOMP, &info))
        return;
    frames_abandon(g, t, &info);
    call_begins(g, t, &info);
}

/* Called where a signal or a stop meets a tracee whose last call was let run unseen: if that call is to
 * be restarted, it is still the same call and its handler must not be asked again. */
void call_interrupted(struct dio_guardian *g, struct tracee *t) {
    struct arch_regs regs;
    (void)g;
    if (!t->tail_valid)
        return;
    t->tail_valid = 0;
    if (arch_regs_get(t->tid, &regs) || arch_number(&regs) < 0 || arch_ip(&regs) != t->tail.ip ||
        !is_restart(arch_result(&regs, t->tail.abi)))
        return;
    struct frame *f = frame_push(t, &t->tail);
    if (f)
        f->phase = INTERRUPTED;
}
