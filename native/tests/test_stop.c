/* test_stop.c - the four actions, alone, on every path that this kernel has.
 *
 * The child makes one getppid and exits with what it saw; the tracer meets it at the entry stop (plain
 * PTRACE_SYSCALL) or at the seccomp stop. */
#include "../internal.h"
#include "check.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER = 42, FAILED = 99 };

static _Noreturn void child_run(int go, int filtered) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    char byte;
    if (read(go, &byte, 1) != 1)
        _exit(FAILED);
    if (filtered && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
                     syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0u, &program)))
        _exit(FAILED);
    long got = syscall(SYS_getppid);
    _exit(got < 0 ? errno : (int)(got & 0x7f));
}

/* What to do at the stop before getppid, and at exit stops; both return how to resume. */
struct plan {
    int (*before)(pid_t pid, const struct dio_paths *paths, const struct dio_info *at);
    int (*after)(pid_t pid, const struct dio_paths *paths, const struct dio_info *at);
};

static int visits;

static int child_trace(const struct plan *plan, const struct dio_paths *paths, int filtered) {
    int go[2], status = 0, before_done = 0, after_done = 0;
    visits = 0;
    if (pipe(go))
        return FAILED;
    pid_t pid = fork();
    if (pid == 0)
        child_run(go[0], filtered);
    CHECK_EQ(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL), 0);
    CHECK_EQ(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
    CHECK_EQ(write(go[1], "g", 1), 1);
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        struct dio_info info;
        int seccomp = status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
        int syscall_stop = WSTOPSIG(status) == (SIGTRAP | 0x80);
        int event = status >> 16;
        if (seccomp || syscall_stop) {
            CHECK_EQ(dio_stop_read(pid, paths, DIO_OP_NONE, &info), 0);
            if (seccomp)
                CHECK_EQ(info.op, DIO_OP_SECCOMP);
            int first = filtered ? seccomp : info.op == DIO_OP_ENTRY && info.nr == SYS_getppid;
            if (first && !before_done) {
                before_done = 1;
                plan->before(pid, paths, &info);
            } else if (info.op == DIO_OP_EXIT && before_done && plan->after && !after_done) {
                after_done = plan->after(pid, paths, &info);
            } else if (info.op == DIO_OP_ENTRY && before_done && visits == 1) {
                const uint64_t none[6] = {0};
                visits = 2;
                CHECK_EQ(dio_stop_change(pid, paths, &info, SYS_getpgid, none), 0);
            }
        }
        ptrace(PTRACE_SYSCALL, pid, NULL, event || syscall_stop ? 0 : WSTOPSIG(status));
    }
    close(go[0]), close(go[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int nothing(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    (void)pid, (void)paths, (void)at;
    return 0;
}

static int change(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    const uint64_t args[6] = {(uint64_t)-1, 0, 0, 0, 0, 0}; /* close(-1): EBADF */
    CHECK_EQ(at->nr, SYS_getppid);
    CHECK_EQ(dio_stop_change(pid, paths, at, SYS_close, args), 0);
    return 1;
}

static int64_t wanted;
static int pending;

static int skip(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    pending = dio_stop_skip(pid, paths, at, wanted, 0);
    CHECK_EQ(pending == 0 || pending == 1, 1);
    return 1;
}

static int skip_end(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    if (pending)
        CHECK_EQ(dio_stop_result(pid, paths, at, wanted), 0);
    return 1;
}

static int result(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    CHECK_EQ(at->rval, getpid());
    CHECK_EQ(at->is_error, 0);
    CHECK_EQ(dio_stop_result(pid, paths, at, wanted), 0);
    return 1;
}

/* A sequence: after getppid comes getpgid(0) from the same instruction, then its result is replaced. */
static int again(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    if (visits == 0) {
        CHECK_EQ(dio_stop_rewind(pid, paths, at), 0);
        visits = 1;
        return 0;
    }
    if (visits == 1)
        return 0;
    CHECK_EQ(at->rval, getpgid(0));
    CHECK_EQ(dio_stop_result(pid, paths, at, wanted), 0);
    return 1;
}

static int jump(pid_t pid, const struct dio_paths *paths, const struct dio_info *at) {
    CHECK_EQ(dio_stop_set_ip(pid, paths, at, at->ip), 0);
    CHECK_EQ(dio_stop_result(pid, paths, at, wanted), 0);
    return 1;
}

static void all_actions(const struct dio_paths *paths, int filtered) {
    const struct plan unchanged = {nothing, NULL}, changed = {change, NULL}, skipped = {skip, skip_end},
                      replaced = {nothing, result}, sequence = {nothing, again}, jumped = {nothing, jump};
    CHECK_EQ(child_trace(&unchanged, paths, filtered), getpid() & 0x7f);
    CHECK_EQ(child_trace(&changed, paths, filtered), EBADF);
    for (int i = 0; i < 2; i++) {
        wanted = i ? -ENOSPC : ANSWER;
        int seen = i ? ENOSPC : ANSWER;
        CHECK_EQ(child_trace(&skipped, paths, filtered), seen);
        CHECK_EQ(child_trace(&replaced, paths, filtered), seen);
        CHECK_EQ(child_trace(&sequence, paths, filtered), seen);
        CHECK_EQ(child_trace(&jumped, paths, filtered), seen);
    }
}

int main(void) {
    struct dio_features features;
    int combinations = 0;
    CHECK_EQ(dio_probe(&features), 0);
    for (uint8_t info = 0; info <= DIO_INFO_REGISTERS; info++)
        for (uint8_t how = 0; how <= DIO_SKIP_EXIT; how++)
            for (uint8_t rewind = 0; rewind <= DIO_REWIND_REGISTERS; rewind++) {
                struct dio_paths paths = {info, how, rewind, 0};
                if (dio_paths_resolve(&features, &paths))
                    continue;
                combinations++;
                all_actions(&paths, 0);
                all_actions(&paths, 1);
            }
    CHECK_EQ(combinations >= 8, 1);
    struct dio_info info;
    struct dio_paths paths = {0};
    dio_paths_resolve(&features, &paths);
    CHECK_EQ(dio_stop_read(1 << 22, &paths, DIO_OP_NONE, &info), -ESRCH);
    return checks_report("stop");
}
