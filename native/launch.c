/* launch.c - starts a program, held until its guardian is there.
 *
 *   supervisor --fork--> init --fork--> program
 *
 * init is the view's first process.  It adopts orphans (PR_SET_CHILD_SUBREAPER), so that they stay
 * descendants of the supervisor; it reports what becomes of the program; and when the supervisor is
 * gone (life_fd reads EOF) it kills all that descends from it.  PTRACE_O_EXITKILL alone would not do:
 * a thread in the gap of a hand-over has no tracer, and an empty view traces nothing.
 *
 * The program waits for one byte on go_fd, which its tracer writes once it has seized it: the filter must
 * not be installed before, since RET_TRACE without a tracer is ENOSYS.  Both children run only
 * async-signal-safe code; everything they need was prepared before the fork.
 */
#include "internal.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSION_LED = 2 };
enum { GO = 0, ERROR = 2, LIFE = 4, PIPES = 6 };

/* ---- the program -------------------------------------------------------------------------- */

/* The tag lets these calls pass a filter that nobody may be answering yet. */
static _Noreturn void child_fail(int fd, int step, uint64_t tag) {
    struct dio_failure failure = {errno, step};
    syscall(SYS_write, fd, &failure, sizeof failure, 0, 0, tag);
    syscall(SYS_exit_group, 127, 0, 0, 0, 0, tag);
    _exit(127);
}

static void child_signals(const struct dio_launch *how, const sigset_t *mask) {
    struct sigaction standard = {.sa_handler = SIG_DFL}, now;
    for (int sig = 1; sig < NSIG; sig++)
        /* Ignored signals stay ignored across exec, as POSIX has it; Python's own three do not. */
        if (sigaction(sig, NULL, &now) == 0 && (now.sa_handler != SIG_IGN ||
            (how->restore_signals && (sig == SIGPIPE || sig == SIGXFSZ))))
            sigaction(sig, &standard, NULL);
    sigprocmask(SIG_SETMASK, mask, NULL);
}

static int child_fds(const struct dio_launch *how, int keep_open) {
    int moved[3];
    for (int i = 0; i < 3; i++) {
        /* Above 2 first, so that no dup2 below overwrites a source that is still needed. */
        moved[i] = how->fds[i] < 0 ? -1 : fcntl(how->fds[i], F_DUPFD_CLOEXEC, 3);
        if (how->fds[i] >= 0 && moved[i] < 0)
            return -1;
    }
    for (int i = 0; i < 3; i++)
        if (moved[i] >= 0 && dup2(moved[i], i) < 0)
            return -1;
    if (!how->close_fds)
        return 0;
    unsigned first = 3;
    const int32_t end[] = {-1};
    for (const int32_t *keep = how->keep ? how->keep : end;; keep++) {
        /* close_range would close the error pipe too: mark everything close-on-exec instead. */
        unsigned last = *keep < 0 ? ~0u : (unsigned)*keep - 1;
        if (*keep < 0 || *keep > (int)first)
            if (first <= last && syscall(SYS_close_range, first, last, 4u /* CLOEXEC */))
                return -1;
        if (*keep < 0)
            break;
        if ((unsigned)*keep >= first)
            first = (unsigned)*keep + 1;
    }
    for (const int32_t *keep = how->keep; keep && *keep >= 0; keep++)
        if (*keep != keep_open)
            fcntl(*keep, F_SETFD, 0);
    return 0;
}

static int child_identity(const struct dio_launch *how) {
    if (how->group_count >= 0 && setgroups((size_t)how->group_count, how->groups))
        return -1;
    if (how->gid >= 0 && setresgid((gid_t)how->gid, (gid_t)how->gid, (gid_t)how->gid))
        return -1;
    return how->uid >= 0 ? setresuid((uid_t)how->uid, (uid_t)how->uid, (uid_t)how->uid) : 0;
}

/* The listener goes to the supervisor; the program's own copy is closed by its exec. */
static int child_send_listener(int listener, int fd, uint64_t tag) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 'l';
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    memset(&control, 0, sizeof control);
    control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
    return syscall(SYS_sendmsg, fd, &message, MSG_NOSIGNAL, 0, 0, tag) == 1 ? 0 : -1;
}

static int child_filter(const struct dio_launch *how, int error_fd) {
    struct sock_fprog program = {(unsigned short)how->filter_count, (struct sock_filter *)(uintptr_t)how->filter};
    unsigned flags = how->listen ? NOTIFY_FILTER_FLAGS : 0;
    /* The listener may have a number that the program's limit does not let it have. */
    if (!how->listen && limit_give(0))
        return -1;
    if (how->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    if (!how->filter_count)
        return 0;
    /* With CAP_SYS_ADMIN set-user-ID programs keep working; without, the kernel insists on this. */
    long done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (done < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (done < 0)
        return -1;
    if (!how->listen)
        return 0;
    return limit_give(how->tag) ? -1 : child_send_listener((int)done, error_fd, how->tag);
}

/* The first job of a session that init leads, in the foreground of its terminal: so it can be stopped from there, which
 * a session's leader cannot.  All signals are still blocked, SIGTTOU among them. */
static void child_job(const struct dio_launch *how) {
    if (how->new_session != SESSION_LED)
        return;
    setpgid(0, 0);
    if (how->terminal >= 0)
        tcsetpgrp(how->terminal, getpid());
}

static _Noreturn void child_run(const struct dio_launch *how, const int pipes[PIPES], const sigset_t *mask) {
    extern char **environ;
    char **env = how->envp ? (char **)(uintptr_t)how->envp : environ;
    int error_fd = pipes[ERROR + 1], saved = 0;
    char go;
    child_job(how);
    child_signals(how, mask);
    if (how->new_session == 1 && setsid() < 0)
        child_fail(error_fd, DIO_STEP_SETUP, how->tag);
    if (how->process_group >= 0 && setpgid(0, how->process_group))
        child_fail(error_fd, DIO_STEP_SETUP, how->tag);
    if (how->umask >= 0)
        umask((mode_t)how->umask);
    if (read(pipes[GO], &go, 1) != 1)
        _exit(127);
    if (child_fds(how, error_fd))
        child_fail(error_fd, DIO_STEP_SETUP, how->tag);
    if (how->cwd && chdir(how->cwd))
        child_fail(error_fd, DIO_STEP_CWD, how->tag);
    if (child_identity(how))
        child_fail(error_fd, DIO_STEP_IDENTITY, how->tag);
    if (child_filter(how, error_fd))
        child_fail(error_fd, DIO_STEP_FILTER, how->tag);
    for (const char *const *name = how->executables; *name; name++) {
        /* Not execve(3): the register of a sixth argument may still hold the tag. */
        syscall(SYS_execve, *name, how->argv, env, 0, 0, 0);
        if (errno != ENOENT && errno != ENOTDIR)
            saved = errno;
    }
    if (saved)
        errno = saved;
    child_fail(error_fd, DIO_STEP_EXEC, how->tag);
}

/* ---- init --------------------------------------------------------------------------------- */

static void init_kill_children(void) {
    char name[64], list[4096];
    snprintf(name, sizeof name, "/proc/self/task/%d/children", getpid());
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, list, sizeof list - 1);
    close(fd);
    list[n > 0 ? n : 0] = 0;
    for (char *at = list, *end; *at; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at || *end != ' ') /* what was cut off at the end is the number of somebody else */
            break;
        if (pid > 0)
            kill((pid_t)pid, SIGKILL);
    }
}

/* Whether the supervisor is gone.  The one thing that it says before is the listener: while a copy of it is open
 * here, what waits for an answer at that moment waits until it is killed, instead of going on with ENOSYS. */
static int init_listen(int life) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(life, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Reaps; 0 when no child is left. */
static int init_reap(pid_t program, int report) {
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL | WNOHANG | WUNTRACED | WCONTINUED);
        if (pid == 0)
            return 1;
        if (pid < 0)
            return errno != ECHILD;
        if (pid != program)
            continue;
        ssize_t ignored = write(report, &status, sizeof status);
        (void)ignored;
    }
}

static _Noreturn void init_run(pid_t program, int life) {
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    int signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd watch[2] = {{.fd = life, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    struct signalfd_siginfo drained;
    int ending = 0;
    while (init_reap(program, life)) {
        /* Children of the killed come to us as orphans: repeat until none is left. */
        if (ending)
            init_kill_children();
        poll(watch + ending, (nfds_t)(2 - ending), ending ? 20 : -1);
        ending |= (watch[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && init_listen(life);
        while (read(signals, &drained, sizeof drained) > 0)
            continue;
    }
    /* What is left unread would turn the program's status into ECONNRESET. */
    shutdown(life, SHUT_RD);
    init_listen(life);
    _exit(0);
}

/* init holds nothing of its maker: no pipe end, no terminal, no directory. */
static void init_close_others(int keep) {
    if (keep > 0)
        syscall(SYS_close_range, 0u, (unsigned)keep - 1, 0u);
    syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0u);
}

static _Noreturn void init_start(const struct dio_launch *how, const int pipes[PIPES]) {
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (how->new_session == SESSION_LED && setsid() >= 0 && how->terminal >= 0)
        ioctl(how->terminal, TIOCSCTTY, 0);
    pid_t program = fork();
    if (program == 0) {
        close(pipes[GO + 1]);
        close(pipes[LIFE]);
        close(pipes[LIFE + 1]);
        child_run(how, pipes, &mask);
    }
    int32_t answer = program < 0 ? -errno : program;
    ssize_t ignored = write(pipes[LIFE + 1], &answer, sizeof answer);
    (void)ignored;
    if (program < 0)
        _exit(127);
    /* The program inherits an ignored SIGCHLD, but here it would make the kernel reap in our place. */
    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_NAME, "diorama-init", 0, 0, 0);
    init_close_others(pipes[LIFE + 1]);
    if (chdir("/")) {
        /* The supervisor's directory stays busy; nothing else depends on it. */
    }
    init_run(program, pipes[LIFE + 1]);
}

/* ---- the supervisor's side ---------------------------------------------------------------- */

static void pipes_close(int pipes[PIPES]) {
    for (int i = 0; i < PIPES; i++)
        if (pipes[i] >= 0)
            close(pipes[i]);
}

int dio_launch(const struct dio_launch *how, struct dio_started *out) {
    int pipes[PIPES] = {-1, -1, -1, -1, -1, -1};
    int32_t answer = 0;
    if (pipe2(pipes + GO, O_CLOEXEC) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pipes + ERROR) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pipes + LIFE)) {
        int error = -errno;
        pipes_close(pipes);
        return error;
    }
    limit_launch(1);
    pid_t init = fork();
    if (init == 0)
        init_start(how, pipes);
    limit_launch(0);
    int error = init < 0 ? -errno : 0;
    close(pipes[GO]), close(pipes[ERROR + 1]), close(pipes[LIFE + 1]);
    pipes[GO] = pipes[ERROR + 1] = pipes[LIFE + 1] = -1;
    if (!error && read(pipes[LIFE], &answer, sizeof answer) != sizeof answer)
        error = -ECHILD;
    if (!error && answer < 0)
        error = answer;
    if (error) {
        pipes_close(pipes);
        if (init > 0)
            waitpid(init, NULL, __WALL);
        return error;
    }
    *out = (struct dio_started){init, answer, pipes[GO + 1], pipes[ERROR], pipes[LIFE]};
    return 0;
}
