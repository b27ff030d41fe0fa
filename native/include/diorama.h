/* diorama.h - the mechanism: start, stop, read, change and resume threads.
 *
 * Conventions.  Functions are `dio_noun_verb`; they return 0 or a count on success and -errno on
 * failure; results go through the last parameters.  -ESRCH always means that the tracee is gone (or
 * that the caller is not its tracer).  The library keeps no global state: what must be remembered
 * lives in a handle.  A guardian handle belongs to the thread that opened it, because ptrace does;
 * every other thread is refused with -EPERM.
 *
 * Three rings, each usable without the next:
 *   stop      one ptrace-stop: what it is, and the four actions (run, change, skip, sequence)
 *   memory    the tracee's memory
 *   guardian  a tracer thread: wait, classify, answer, hand over
 * and `decide`, which answers calls in the place of Python and needs none of them but memory.
 */
#ifndef DIORAMA_H
#define DIORAMA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DIO_API __attribute__((visibility("default")))
#define DIO_ABI_VERSION 2

/* First argument of the ppoll that parks a thread during a hand-over; the filter lets it through. */
#define DIO_PARK_TAG 0x64696f72u

struct dio_decider;  /* calls settled without Python */
struct dio_listener; /* one program's notifications */

/* ---- how: the paths of the portable layer ------------------------------------------------- */

enum dio_info_path { DIO_INFO_AUTO, DIO_INFO_KERNEL, DIO_INFO_REGISTERS };
enum dio_skip_path { DIO_SKIP_AUTO, DIO_SKIP_KERNEL, DIO_SKIP_REGISTERS, DIO_SKIP_EXIT };
enum dio_rewind_path { DIO_REWIND_AUTO, DIO_REWIND_KERNEL, DIO_REWIND_RESTART, DIO_REWIND_REGISTERS };

/* Which path each action takes.  AUTO is resolved by dio_probe, never later. */
struct dio_paths {
    uint8_t info, skip, rewind, pad;
};

/* What a throw-away child showed about this kernel: 1 yes, 0 no. */
struct dio_features {
    uint8_t get_syscall_info, set_syscall_info, skip_by_exit, set_ip;
    uint8_t seccomp_filter, ptrace_allowed, pidfd, yama;
    uint8_t user_notif;      /* a listener can be had: 2 when somebody above us has one already */
    uint8_t notif_killable;  /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (5.19) */
    uint8_t notif_addfd;     /* SECCOMP_ADDFD_FLAG_SEND (5.14) */
    uint8_t notif_sync;      /* SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (6.6) */
};

DIO_API int dio_abi_version(void);
DIO_API int dio_probe(struct dio_features *out);
/* Replaces every AUTO by the best path `features` allow; -EOPNOTSUPP if a forced one is not there. */
DIO_API int dio_paths_resolve(const struct dio_features *features, struct dio_paths *paths);

/* ---- stop ---------------------------------------------------------------------------------- */

enum dio_op { DIO_OP_NONE, DIO_OP_ENTRY, DIO_OP_EXIT, DIO_OP_SECCOMP };

/* A system call stop, as PTRACE_GET_SYSCALL_INFO tells it, whichever way it was read. */
struct dio_info {
    uint32_t op;
    uint32_t abi; /* AUDIT_ARCH_* */
    uint64_t ip, sp;
    int64_t nr; /* entry and seccomp stops */
    uint64_t args[6];
    int64_t rval; /* exit stops: the result, or -errno when is_error */
    uint32_t is_error;
    uint32_t ret_data;
};

/* The kind of stop that `status` (from wait4) announces decides `op` when registers are read. */
DIO_API int dio_stop_read(pid_t tid, const struct dio_paths *paths, enum dio_op op, struct dio_info *out);
/* Entry and seccomp stops: run this call instead. */
DIO_API int dio_stop_change(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, int64_t nr,
                            const uint64_t args[6]);
/* Entry and seccomp stops: do not run the call; its result is `rval` (-errno for an error).
 * Returns 0 when all is done, or 1 when the caller must resume to the exit stop and set the result
 * there with dio_stop_result.  `own_filter`: the tracee has a seccomp filter besides the tracer's. */
DIO_API int dio_stop_skip(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, int64_t rval,
                          int own_filter);
/* Exit stops: the result that the program sees. */
DIO_API int dio_stop_result(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, int64_t rval);
/* Exit stops: continue at `ip`. */
DIO_API int dio_stop_set_ip(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, uint64_t ip);
/* Exit stops: back onto the system call instruction.  Resume with PTRACE_SYSCALL; the entry stop with
 * the same ip and sp is the one to change (one PTRACE_EVENT_STOP may come before it). */
DIO_API int dio_stop_rewind(pid_t tid, const struct dio_paths *paths, const struct dio_info *at);

/* ---- memory -------------------------------------------------------------------------------- */

/* All three return the bytes moved, which may be fewer than asked at the end of a mapping; -EFAULT if
 * there are none, -ESRCH if there is no such thread, -EPERM if its memory is closed to us (not dumpable).
 * Any thread may call them. */
DIO_API ssize_t dio_memory_read(pid_t tid, uint64_t address, void *buffer, size_t size);
DIO_API ssize_t dio_memory_write(pid_t tid, uint64_t address, const void *buffer, size_t size);
/* Length without the NUL; -ENAMETOOLONG if there is no NUL in the first `size` bytes. */
DIO_API ssize_t dio_memory_string(pid_t tid, uint64_t address, char *buffer, size_t size);

/* ---- launch -------------------------------------------------------------------------------- */

struct dio_launch {
    const char *const *executables; /* tried in turn, NULL-terminated */
    char *const *argv;
    char *const *envp; /* NULL: the caller's */
    const char *cwd;   /* NULL: the caller's */
    int32_t fds[3];    /* stdin, stdout, stderr; -1 inherits */
    const int32_t *keep; /* descriptors that stay open, sorted, ended by -1; NULL with close_fds=0 */
    const void *filter;  /* struct sock_filter[] */
    uint32_t filter_count;
    int32_t umask;         /* -1 keeps */
    int32_t process_group; /* -1 keeps */
    uint8_t close_fds, new_session, restore_signals; /* new_session: 2 has init lead it, and the program a job there */
    uint8_t listen; /* the filter notifies: its listener comes as SCM_RIGHTS of one byte over error_fd */
    uint64_t tag;   /* sixth argument with which a call passes the filter */
    int64_t uid, gid; /* -1 keeps */
    const uint32_t *groups; /* supplementary groups, set when group_count >= 0 */
    int32_t group_count;
    int32_t no_new_privs; /* whatever it executes gives it nothing (PR_SET_NO_NEW_PRIVS) */
    int32_t terminal; /* that of the session that init leads; -1: none */
    int32_t pad2;
};

/* A started program, still held before its exec, with its first process (see launch.c). */
struct dio_started {
    int32_t init_pid; /* adopts orphans, ends the rest when the supervisor is gone; the caller's child */
    int32_t pid;      /* the program */
    int32_t go_fd;    /* one byte releases the program */
    int32_t error_fd; /* a socket: struct dio_failure if the set-up or exec failed, EOF when it worked */
    int32_t life_fd;  /* closing it ends everything that descends from init */
};

struct dio_failure {
    int32_t error, step; /* step: enum dio_step */
};
enum dio_step { DIO_STEP_SETUP, DIO_STEP_CWD, DIO_STEP_FILTER, DIO_STEP_EXEC, DIO_STEP_IDENTITY };

DIO_API int dio_launch(const struct dio_launch *how, struct dio_started *out);
/* This process may have as many descriptors as it can be given, but no more than that; what is launched, and what is forked
 * besides (but not by vfork(2)), has the limit from before.  1 if it could have less before, 0 if not. */
DIO_API int dio_limit_raise(uint64_t most);

/* ---- rules: which calls a handler wants, settled without Python ----------------------------- */

/* OUTSIDE, of 32 bits: less than the low 16 bits of `value`, or not less than the high ones, and not negative.
 * WITHIN: neither. */
enum dio_test_op { DIO_TEST_EQ, DIO_TEST_NE, DIO_TEST_BITS, DIO_TEST_NO_BITS, DIO_TEST_OUTSIDE, DIO_TEST_WITHIN };

struct dio_test {
    uint8_t arg, op, width, pad; /* width: bits of the argument that count, 32 or 64 */
    uint32_t pad2;
    uint64_t value;
};

/* Rules are sorted by (abi, nr).  A call matches a rule when all its tests hold and, if `glob` is
 * given, the string that argument `path_arg` points at matches it (fnmatch(3), `*` crosses `/`). */
struct dio_rule {
    uint32_t abi;
    int32_t nr;
    uint16_t id;
    uint8_t path_arg, test_count;
    uint8_t fixed;   /* `value` is the answer (-errno for an error), without Python */
    uint8_t decides; /* dio_decide may settle it, when no other rule matches */
    uint8_t pad[2];
    struct dio_test tests[6];
    const char *glob;
    int64_t value;
};

struct dio_rules; /* immutable once made; shared by guardians; freed by the last of them */
DIO_API int dio_rules_new(const struct dio_rule *rules, size_t count, struct dio_rules **out);
DIO_API void dio_rules_free(struct dio_rules *rules);
/* Bit i of `*matched` is set for the i-th rule of this (abi, nr) that matches.  The first of them decides. */
enum dio_match {
    DIO_MATCH_NONE,
    DIO_MATCH_ASK,
    DIO_MATCH_FIXED, /* the answer is `*value` */
    DIO_MATCH_DECIDE /* only rules match that let dio_decide settle it */
};
DIO_API int dio_rules_match(const struct dio_rules *rules, pid_t tid, uint32_t abi, int64_t nr,
                            const uint64_t args[6], uint64_t *matched, int64_t *value);

/* ---- decide: calls settled without Python ---------------------------------------------------
 *
 * What the view has mounted, and for each system call what about it can concern a mount.  Calls that
 * cannot are run, some that lead to a host file through a mount are done here, on the program's behalf,
 * and everything unsure is asked.  Any thread may call everything; `dio_decide` is called while `tid` waits
 * in the call.  A verdict is true of the tracee as it was; the caller makes sure that it still waits. */

enum dio_settle {
    DIO_SETTLE_ASK,     /* Python */
    DIO_SETTLE_RUN,     /* let it run */
    DIO_SETTLE_PATHS,   /* run if no path meets a mount; a single one that does may be done by `op` */
    DIO_SETTLE_FD,      /* run if argument `arg`, and `arg2` if any, is no descriptor of a virtual object */
    DIO_SETTLE_CWD,     /* run if the current directory is not in a mount */
    DIO_SETTLE_ADDRESS, /* run unless the address `arg`, of size `arg2`, is a path (paths[0]) that meets a mount */
    DIO_SETTLE_EXEC,    /* as PATHS, and the file must not begin with "#!" */
    DIO_SETTLE_MESSAGE, /* as ADDRESS, for the name in the struct msghdr at `arg` */
    DIO_SETTLE_CLONE,   /* run if it makes a thread, or a process that inherits nothing and shares nothing */
    DIO_SETTLE_SIGNAL,  /* rt_sigaction(arg, arg2): run unless it sets or tells of a handler that interrupts calls */
    DIO_SETTLE_ANY_FD,  /* run while nobody can have a descriptor of a virtual object */
    DIO_SETTLE_TIME,    /* tell the time of the clock `arg` at `buffer_arg`, as `fixed_flags` (dio_time_form) says, unless
                           `arg2` is not 0 */
    DIO_SETTLE_WAIT,    /* run if a wait, of the sort that `fixed_flags` (dio_wait) says, is what it is for the host */
    DIO_SETTLE_BARE     /* run if the struct msghdr at `arg` has neither an address nor what goes with the data; and, with
                           `arg2`, if that is a stream whose peer no address changes, `flags_arg` neither */
};
/* Where a process has the stubs before such handlers, if it has any (src/diorama/engine/stubs.py). */
#define DIO_STUBS UINT64_C(0x2d1000000000)
/* What is done for the program where a path leads to a host file through a mount; LIST: a directory of a FUSE server. */
enum dio_do { DIO_DO_NOTHING, DIO_DO_OPEN, DIO_DO_STAT, DIO_DO_STATX, DIO_DO_ACCESS, DIO_DO_READLINK, DIO_DO_LIST };
/* Whether a symbolic link at the end is followed.  OPEN: by the open(2) flags in `flags_arg`, or in `flag`
 * when there is no such argument. */
enum dio_follow {
    DIO_FOLLOW_NEVER,
    DIO_FOLLOW_ALWAYS,
    DIO_FOLLOW_UNLESS_FLAG,
    DIO_FOLLOW_IF_FLAG,
    DIO_FOLLOW_OPEN
};
/* What must also hold for a call to run. */
enum dio_needs {
    DIO_NEEDS_NO_WRITER = 64, /* FD: or the descriptor is not open for writing */
    DIO_NEEDS_PLAIN_CWD = 1, /* the current directory was not entered through a mount (the call changes it) */
    DIO_NEEDS_NOT_OPENED = 2, /* FD: the descriptor was not opened through a mount either */
    DIO_NEEDS_NO_POINTS = 4,  /* nothing is mounted below the path (the call takes the name away) */
    DIO_NEEDS_UNCHANGED = 8,  /* FD: a directory that has no part in the upper layer of the root */
    DIO_CHANGES_NOTHING = 16  /* not a need: the call may be let run on what an upper layer has left as it is */
};
#define DIO_NO_ARG 255

struct dio_path_use {
    uint8_t path_arg, dirfd_arg /* NO_ARG: current directory */, follow, flags_arg;
    uint32_t flag;
    uint32_t empty_flag; /* in `flags_arg`: an empty path means the descriptor; UINT32_MAX: always; 0: never */
};

struct dio_decision {
    uint32_t abi;
    int32_t nr;
    uint8_t settle, op, path_count, arg, arg2, flags_arg, needs, pad;
    struct dio_path_use paths[2];
    uint8_t buffer_arg, size_arg, mode_arg, mask_arg;
    uint32_t fixed_flags; /* the flags of `op` when `flags_arg` is NO_ARG */
};

struct dio_told;

/* The mounts of a view; the first is the host's root, with parent -1 and host "". */
struct dio_mounted {
    int32_t parent;
    const char *point; /* inside the parent mount: "/x/y", "" on its root */
    const char *host;  /* host path of its root without a slash at the end; NULL if it is not on the host */
    /* The writable layer over `host`, as overlayfs marks it (userxattr), and a directory not to be seen in it; both
     * may be NULL.  Only the mount on the root may have a layer. */
    const char *upper, *hidden;
    struct dio_told *told; /* not on the host: what is known of its files; may be NULL */
    uint64_t inode, device, id; /* of its root; of stat(2); of statx(2) */
    const char *notes; /* owned: the file with what is remembered outside of attributes; it need not be there */
    uint8_t read_only, directory, no_exec, owned, pad[4];
};

/* Whether a mount remembers who owns what, and where. */
enum dio_owned { DIO_OWNED_PLAIN, DIO_OWNED_NOTED, DIO_OWNED_ASKED };

/* What is special about a process. */
struct dio_process {
    int32_t cwd_mount; /* its current directory was entered by; 0 and below: the root mount */
    uint8_t ask_all, ask_exec;
    uint8_t ask_clone; /* DIO_SETTLE_CLONE: there is something that a child inherits */
    uint8_t checked;   /* what it may do in mounts that are `owned`: enum dio_checked */
    uint32_t clock; /* the number of its clock; 0 is that of the view */
};

/* As all others; what Python says; whatever there is. */
enum dio_checked { DIO_CHECKED_AS_ALL, DIO_CHECKED_YES, DIO_CHECKED_NO };

enum dio_decide_flags {
    DIO_DECIDE_ON_BEHALF = 1, /* do what `op` says; else everything that meets a mount is asked */
    DIO_DECIDE_CRAWL = 2,     /* without openat2(2), as where the kernel lacks it */
    DIO_DECIDE_STATUS = 4,    /* /proc/PID/status is that of the view */
    DIO_DECIDE_CHECKED = 8    /* processes are `checked` unless something else is known of them */
};

#include "diorama_told.h"

struct dio_decider;
DIO_API int dio_decider_new(struct dio_decider **out);
/* Nobody may be using it any more. */
DIO_API void dio_decider_free(struct dio_decider *decider);
/* Replaces decisions, mounts and the directories of stand-ins (of which all below is virtual; the last is NULL, or it is
 * all) at a stroke.  -EINVAL for mounts that make no tree, or names that are too long; nothing has changed then. */
DIO_API int dio_decider_load(struct dio_decider *decider, const struct dio_decision *decisions, size_t decision_count,
                             const struct dio_mounted *mounts, size_t mount_count, const char *const *privates,
                             uint32_t flags);
/* NULL: nothing is special about it any more.  What it inherits must be told for a child before that runs, and
 * again for processes that share a current directory. */
DIO_API int dio_decider_process(struct dio_decider *decider, pid_t tgid, const struct dio_process *process);
/* Which mount a process has opened something through; 0 and below forget it.  Directories, and
 * files of read-only mounts, that are given to a program by a verdict are noted as well.  What is open no more is forgotten some time. */
DIO_API int dio_decider_opened(struct dio_decider *decider, pid_t tgid, uint64_t dev, uint64_t ino, int32_t mount);
/* The mount, or -1; with `dev` and `ino` 0: 0 if there is anything at all, else -1. */
DIO_API int32_t dio_decider_opened_through(struct dio_decider *decider, pid_t tgid, uint64_t dev, uint64_t ino);
/* By which mount a file was reached last, if only its name depends on that: a cache, which forgets.  Files that are
 * given to a program by a verdict are noted as well.  The mount, or -1. */
DIO_API int dio_decider_reach(struct dio_decider *decider, uint64_t dev, uint64_t ino, int32_t mount);
DIO_API int32_t dio_decider_reached(struct dio_decider *decider, uint64_t dev, uint64_t ino);
/* A child inherits what its parent has opened. */
DIO_API int dio_decider_inherit(struct dio_decider *decider, pid_t parent, pid_t child);
/* Files of the host that are `host_uid`'s are shown as `uid`'s, and groups alike; before programs run. */
DIO_API void dio_decider_map(struct dio_decider *decider, uint32_t host_uid, uint32_t uid, uint32_t host_gid,
                             uint32_t gid);
/* From now on there may be processes with namespaces of their own, where ids and paths mean something else. */
DIO_API void dio_decider_strangers(struct dio_decider *decider);
/* Whether every process has the identity of this one, and can have no other: it is not privileged, and no process has
 * namespaces of its own. */
DIO_API int dio_decider_alike(const struct dio_decider *decider);
/* A process has ended: forgets it and what it has opened. */
DIO_API void dio_decider_forget(struct dio_decider *decider, pid_t tgid);
/* A real object that stands for a virtual one; `ino` 0: all of that device. */
DIO_API int dio_decider_identity(struct dio_decider *decider, uint64_t dev, uint64_t ino);
/* For which one: an inode of what is mounted there. */
DIO_API int dio_decider_stands(struct dio_decider *decider, uint64_t dev, uint64_t ino, int32_t mount, uint64_t inode);

#include "diorama_clock.h"

enum dio_verdict_kind { DIO_VERDICT_ASK, DIO_VERDICT_RUN, DIO_VERDICT_VALUE, DIO_VERDICT_GIVE, DIO_VERDICT_PATH };

struct dio_asked {
    pid_t tid;
    uint32_t abi; /* AUDIT_ARCH_* */
    int64_t nr;
    uint64_t args[6];
    uint8_t may_give, pad[7]; /* whether the caller can put a descriptor into the tracee */
    /* of a notified call, which is valid as long as its memory is written to; NULL: the tracee is stopped */
    struct dio_listener *listener;
    uint64_t cookie;
    uint8_t *aside; /* with a listener: set when the caller receives no more, since the verdict may take long */
    char *path;     /* PATH_MAX bytes, for a caller that can change the call; or NULL */
    struct dio_lent **lent; /* with `path`: what the caller keeps until the changed call is over, if there is such; or NULL */
};

struct dio_verdict {
    uint32_t kind;
    int32_t fd;        /* GIVE: becomes the program's descriptor; the caller closes this one */
    uint32_t fd_flags; /* GIVE: O_CLOEXEC or 0 */
    uint32_t pad;
    int64_t value; /* VALUE: the result, or -errno; PATH: the argument in whose place `path` is to be given */
};

/* Always fills `out`; 0. */
DIO_API int dio_decide(struct dio_decider *decider, const struct dio_asked *asked, struct dio_verdict *out);

/* ---- placement: guardians beside their tracees ------------------------------------------------ */

struct dio_placement; /* what the guardians of one view share; outlives them */
DIO_API int dio_placement_new(struct dio_placement **out);
DIO_API void dio_placement_free(struct dio_placement *placement);

/* ---- guardian ------------------------------------------------------------------------------ */

enum dio_event_kind {
    DIO_EVENT_DONE,     /* no tracee left */
    DIO_EVENT_CALL,     /* a call that a rule wants; answer it */
    DIO_EVENT_RETURNED, /* the exit stop that an answer asked for; answer it */
    DIO_EVENT_CLONE,    /* tid made child `other` with clone flags in args[0]; child not yet running */
    DIO_EVENT_NEWBORN,  /* child `tid` of `other` is parked in `transit`: give it a guardian, or take it */
    DIO_EVENT_ADOPTED,  /* child `tid` of `other` stays with this guardian */
    DIO_EVENT_EXEC,     /* tid runs a new program; `other` is the tid before, for a thread that was not leader */
    DIO_EVENT_SIGNAL,   /* signal `status` is delivered to tid (with options.signals) */
    DIO_EVENT_STOPPED,  /* group-stop by signal `status` */
    DIO_EVENT_CONTINUED,
    DIO_EVENT_EXITED,   /* tid ended with wait status `status`; -1 when nobody can know it */
    DIO_EVENT_ABANDONED, /* a handler's call will never come back (siglongjmp): unwind it */
    DIO_EVENT_IDLE,     /* listener: this worker is one too many */
    DIO_EVENT_ENDING    /* a call that `dio_call_hold_guarded` has meant is held; answer with a result */
};

struct dio_event {
    uint32_t kind;
    int32_t tid, other, status;
    uint32_t depth; /* CALL, RETURNED, ABANDONED: how many suspended calls lie below this one */
    uint32_t lone;  /* listener: nobody is left to wait for the next call */
    uint64_t matched;
    uint64_t cookie; /* listener: names this call to the kernel */
    struct dio_info info;
    struct dio_transit *transit;
};

enum dio_action {
    DIO_RUN,         /* CALL: as it is */
    DIO_RUN_SEE,     /* CALL: as it is, RETURNED follows */
    DIO_CHANGE,      /* CALL: nr and args instead, registers restored; RETURNED not asked for */
    DIO_CHANGE_SEE,  /* CALL or RETURNED: nr and args run (after RETURNED: once more); RETURNED follows */
    DIO_RESULT       /* CALL: skip with rval.  RETURNED: rval is what the program sees */
};

struct dio_answer {
    uint32_t action;
    int32_t tid;
    int64_t nr;
    uint64_t args[6];
    int64_t rval;
};

struct dio_options {
    struct dio_paths paths;
    uint8_t shared;    /* one guardian for all: never hand over */
    uint8_t signals;   /* report SIGNAL events */
    uint8_t no_filter; /* stop at every call without seccomp */
    uint8_t promoted;  /* for one notified call: let go when it is done (see promote.c) */
    uint32_t our_filters; /* seccomp filters that a tracee has because of us */
    /* promoted: a call with this sixth argument passes the filter; and, for each number below 512 of the native
     * and of the other ABI, 1 when a call cannot carry it, because it has six arguments or makes a child */
    uint64_t tag;
    const uint8_t *untaggable[2];
    struct dio_decider *decider; /* NULL: there is nothing to decide in C */
    struct dio_placement *placement; /* NULL: the scheduler's; else the filter stops sched_[gs]etaffinity */
};

struct dio_guardian;
struct dio_transit; /* a parked newborn between two guardians */

DIO_API int dio_guardian_open(const struct dio_options *options, const struct dio_rules *rules,
                              struct dio_guardian **out);
/* Starts to trace a program held by dio_launch. */
DIO_API int dio_guardian_seize(struct dio_guardian *g, pid_t tid);
/* Takes a parked newborn over (it frees `transit`); -ESRCH if it died in the gap. */
DIO_API int dio_guardian_take(struct dio_guardian *g, struct dio_transit *transit);
/* Answers the stop of answer->tid (NULL: nothing to answer), resumes, waits, and fills the next event.
 * Blocks in wait4; settles in C what no rule wants. */
DIO_API int dio_guardian_next(struct dio_guardian *g, const struct dio_answer *answer, struct dio_event *out);
/* Puts data where the stopped tracee can read it until its current call ends (maps an arena by a call
 * of its own the first time): -ENOMEM when it has no room, -ESRCH.  May only be called at a CALL or
 * RETURNED event.  */
DIO_API int dio_guardian_place(struct dio_guardian *g, pid_t tid, const void *data, size_t size,
                               uint64_t *address);
DIO_API void dio_guardian_close(struct dio_guardian *g);

/* ---- listener: calls by seccomp user notification (seccomp_unotify(2)) ----------------------- */

/* Many workers of one listener call dio_listener_next; everything else is any thread's. */

enum dio_reply_kind {
    DIO_REPLY_RUN,   /* as it is */
    DIO_REPLY_VALUE, /* `value` is its result, -errno for an error */
    DIO_REPLY_GIVE   /* the descriptor `fd` is given to the tracee and closed here, its number is the result */
};

struct dio_reply {
    uint32_t kind;
    int32_t fd;
    uint32_t fd_flags; /* 0 or O_CLOEXEC */
    int32_t tid;       /* GIVE: whose call it is */
    uint64_t cookie;
    int64_t value;
};

/* What a worker begins with: a current directory and a umask of its own. */
DIO_API int dio_worker_begin(void);
/* Takes `fd` over. */
DIO_API int dio_listener_open(int fd, const struct dio_features *features, const struct dio_rules *rules,
                              struct dio_decider *decider, struct dio_listener **out);
/* Answers a call (NULL: nothing to answer), waits, and fills in the next one that Python must decide: CALL, or
 * IDLE (this worker may end), or DONE (no program is left).  Settles in C what no rule wants. */
DIO_API int dio_listener_next(struct dio_listener *l, const struct dio_reply *reply, struct dio_event *out);
/* Answers only.  -EMFILE and the like when a descriptor cannot be given: the call is still to be answered. */
DIO_API int dio_listener_reply(struct dio_listener *l, const struct dio_reply *reply);
/* Gives a descriptor and leaves the call unanswered: its number in the tracee, or -errno. */
DIO_API int dio_listener_give(struct dio_listener *l, uint64_t cookie, int fd, uint32_t fd_flags);
/* 0 while the call waits for its answer; -ESRCH when its thread is gone. */
DIO_API int dio_listener_valid(const struct dio_listener *l, uint64_t cookie);
/* Somebody is to receive at once: the caller waits for a call that has yet to come by. */
DIO_API void dio_listener_step_in(struct dio_listener *l);
DIO_API void dio_listener_close(struct dio_listener *l);

/* Makes the notified call in `notice` one that `g` (with options.promoted) holds at its entry: seizes the thread
 * and has the call made again.  -EPERM: it has another tracer, or its memory is closed to us.  -ESRCH: dead.
 * In any other case the call needs no reply any more. */
DIO_API int dio_guardian_promote(struct dio_guardian *g, struct dio_listener *l, const struct dio_event *notice);

/* ---- ending calls (ending.c) ----------------------------------------------------------------- */

/* Stops a thread that waits in the call `nr` with `fd` as its first argument, which is made again after signals:
 * 0, and it stands before the call until `dio_call_end` by the same thread of ours.  Or -EAGAIN: it was in no such
 * call; -EPERM: it has a tracer, or is closed to us; -ESRCH: it is dead.  On a thread that is no guardian. */
DIO_API int dio_call_hold(pid_t tid, int64_t nr, int fd);

/* Gives a thread that was stopped so the result of its call, and lets it go: 0, or -ESRCH. */
DIO_API int dio_call_end(pid_t tid, int64_t value);

/* As `dio_call_hold` for a thread that a guardian of this process traces, which is told (DIO_EVENT_ENDING, to be
 * answered with a result): 0, -ESRCH or -EPERM. */
DIO_API int dio_call_hold_guarded(pid_t pid, pid_t tid, int64_t nr, int fd);

#endif
