/* ending.c - ends the call in which a thread waits for what is gone.
 *
 * Whoever waits in a call that the filter has let through is seen by nobody.  So the thread is disturbed: what
 * waits gives ERESTARTSYS then, the kernel makes the call again, and at its entry stop it is held, and skipped when
 * all are held that are meant.  If another call comes, the one that was meant is over, and nothing is done.
 *
 *   traced by a guardian    a signal with a word of ours, which the guardian takes for itself; ENDING tells
 *   traced by nobody        the thread gets a tracer until then
 */
#include "guardian.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { END_SIGNAL = SIGSTOP }; /* nobody can block it; the guardian lets it stop nobody */
static const uint64_t END_TAG = 0x6449;

/* ---- traced by a guardian -------------------------------------------------------------------- */

int dio_call_hold_guarded(pid_t pid, pid_t tid, int64_t nr, int fd) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    uint64_t word = END_TAG << 48 | ((uint64_t)nr & 0xffff) << 32 | (uint32_t)fd;
    info.si_value.sival_ptr = (void *)(uintptr_t)word;
    return syscall(SYS_rt_tgsigqueueinfo, pid, tid, END_SIGNAL, &info) ? -errno : 0;
}

/* At a signal-delivery-stop: whether it is that signal, of which the program is not told. */
int ending_asked(struct tracee *t, int sig) {
    siginfo_t info;
    if (sig != END_SIGNAL || ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info))
        return 0;
    uint64_t word = (uintptr_t)info.si_value.sival_ptr;
    if (info.si_code != SI_QUEUE || info.si_pid != getpid() || word >> 48 != END_TAG)
        return 0;
    t->ending = word;
    return 1;
}

/* At an entry stop: whether this is the call that is to end. */
int ending_meets(struct tracee *t, const struct dio_info *info) {
    uint64_t word = t->ending;
    t->ending = 0;
    return word && (uint32_t)word == (uint32_t)info->args[0] && (word >> 32 & 0xffff) == (uint64_t)info->nr;
}

/* ---- traced by nobody ------------------------------------------------------------------------ */

static int next_stop(pid_t tid) {
    int status;
    while (wait4(tid, &status, __WALL | __WNOTHREAD, NULL) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFSTOPPED(status) ? status >> 8 : -ESRCH;
}

static int go_on(pid_t tid) {
    if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL))
        return -errno;
    return next_stop(tid);
}

static int let_go(pid_t tid, int sig, int result) {
    if (!ptrace(PTRACE_DETACH, tid, NULL, sig))
        return result;
    while (next_stop(tid) >= 0) /* it was killed: of its end we must hear, else it stays a zombie */
        ptrace(PTRACE_CONT, tid, NULL, NULL);
    return -ESRCH;
}

int dio_call_hold(pid_t tid, int64_t nr, int fd) {
    const struct dio_paths paths = {0};
    struct dio_info info;
    if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD))
        return -errno;
    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
    int stop = next_stop(tid);
    if (stop == (SIGTRAP | PTRACE_EVENT_STOP << 8))
        stop = go_on(tid);
    if (stop < 0)
        return stop;
    if (stop != (SIGTRAP | 0x80)) /* a signal, of which it is to be told; or it is to stand still */
        return let_go(tid, stop >> 8 ? 0 : stop, -EAGAIN);
    if (dio_stop_read(tid, &paths, DIO_OP_NONE, &info) || info.op != DIO_OP_ENTRY || info.nr != nr ||
        (int)info.args[0] != fd)
        return let_go(tid, 0, -EAGAIN);
    return 0;
}

/* getpid runs in the place of the call, which no filter minds. */
int dio_call_end(pid_t tid, int64_t value) {
    const struct dio_paths paths = {.info = DIO_INFO_REGISTERS};
    struct dio_info info;
    struct arch_regs saved, now;
    int stop = dio_stop_read(tid, &paths, DIO_OP_ENTRY, &info);
    if (!stop)
        stop = arch_regs_get(tid, &saved);
    if (!stop)
        stop = dio_stop_change(tid, &paths, &info, arch_number_of(info.abi, ARCH_GETPID), info.args);
    if (!stop)
        stop = go_on(tid);
    if (stop < 0 || arch_regs_get(tid, &now))
        return let_go(tid, 0, -ESRCH);
    arch_arguments_restore(&now, info.abi, &saved);
    arch_result_set(&now, value);
    arch_regs_set(tid, &now);
    return let_go(tid, 0, 0);
}
