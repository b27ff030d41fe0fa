/* probe.c - what this kernel offers, shown by a throw-away child rather than by version numbers. */
#include "internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHOWN = 77 };

int dio_abi_version(void) { return DIO_ABI_VERSION; }

static _Noreturn void child_probe(int go) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    char byte;
    if (read(go, &byte, 1) != 1)
        _exit(1);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0u, &program))
        _exit(2);
    syscall(SYS_getppid);
    _exit(0);
}

static int set_works(pid_t pid, struct kernel_info *info) {
    return ptrace((enum __ptrace_request)PTRACE_SET_INFO, pid, sizeof *info, info) == 0;
}

static void probe_seccomp_stop(pid_t pid, struct dio_features *out) {
    struct kernel_info info, skip = {.op = DIO_OP_EXIT, .exit = {.rval = SHOWN}};
    memset(&info, 0, sizeof info);
    out->seccomp_filter = 1;
    out->get_syscall_info = ptrace((enum __ptrace_request)PTRACE_GET_INFO, pid, sizeof info, &info) > 0 &&
                            info.op == DIO_OP_SECCOMP;
    info.reserved = 0, info.flags = 0;
    out->set_syscall_info = out->get_syscall_info && set_works(pid, &info);
    out->skip_by_exit = out->set_syscall_info && set_works(pid, &skip);
}

static void probe_exit_stop(pid_t pid, struct dio_features *out) {
#ifdef PTRACE_SYSCALL_INFO_FLAG_SET_IP
    struct kernel_info info;
    memset(&info, 0, sizeof info);
    if (ptrace((enum __ptrace_request)PTRACE_GET_INFO, pid, sizeof info, &info) > 0 && info.op == DIO_OP_EXIT) {
        info.flags = PTRACE_SYSCALL_INFO_FLAG_SET_IP;
        out->set_ip = set_works(pid, &info);
    }
#else
    (void)pid, (void)out;
#endif
}

static void probe_run(pid_t pid, struct dio_features *out) {
    int status;
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        int sig = 0;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8))
            probe_seccomp_stop(pid, out);
        else if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            probe_exit_stop(pid, out);
        else if (status >> 16 == 0)
            sig = WSTOPSIG(status);
        ptrace(out->seccomp_filter ? PTRACE_SYSCALL : PTRACE_CONT, pid, NULL, sig);
    }
}

static uint8_t yama_scope(void) {
    char text[8] = "";
    int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? (uint8_t)atoi(text) : 0;
}

/* Flags that the kernel knows make it look at the (missing) program: EFAULT rather than EINVAL. */
static int filter_flags_known(unsigned flags) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) < 0 && errno == EFAULT;
}

static _Noreturn void child_probe_listener(void) {
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, code};
    struct seccomp_notif_addfd send = {.id = ~0ull, .srcfd = 0, .flags = SECCOMP_ADDFD_FLAG_SEND};
    int found = 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _exit(0);
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, NOTIFY_FILTER_FLAGS, &program);
    if (fd < 0)
        _exit(errno == EBUSY ? 8 : 0);
    found |= 1;
    found |= ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &send) < 0 && errno == ENOENT ? 2 : 0;
    found |= ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0 ? 4 : 0;
    _exit(found);
}

static void probe_listener(struct dio_features *out) {
    int status;
    out->notif_killable = (uint8_t)filter_flags_known(NOTIFY_FILTER_FLAGS);
    if (!out->notif_killable)
        return;
    /* Not fork: where SIGCHLD is ignored nobody can wait for a child whose end is told by it. */
    pid_t pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
    if (pid == 0)
        child_probe_listener();
    if (pid < 0 || waitpid(pid, &status, __WALL) != pid || !WIFEXITED(status))
        return;
    out->user_notif = WEXITSTATUS(status) & 8 ? 2 : WEXITSTATUS(status) & 1;
    out->notif_addfd = (WEXITSTATUS(status) & 2) != 0;
    out->notif_sync = (WEXITSTATUS(status) & 4) != 0;
}

int dio_probe(struct dio_features *out) {
    const unsigned long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
    int go[2];
    memset(out, 0, sizeof *out);
    out->yama = yama_scope();
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    out->pidfd = pidfd >= 0;
    if (pidfd >= 0)
        close(pidfd);
    probe_listener(out);
    if (pipe2(go, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        child_probe(go[0]);
    }
    int error = pid < 0 ? -errno : 0;
    close(go[0]);
    if (!error && ptrace(PTRACE_SEIZE, pid, NULL, options) == 0) {
        out->ptrace_allowed = 1;
        ssize_t ignored = write(go[1], "", 1);
        (void)ignored;
        close(go[1]);
        probe_run(pid, out);
    } else {
        close(go[1]);
        if (pid > 0)
            waitpid(pid, NULL, __WALL);
    }
    return error;
}

int dio_paths_resolve(const struct dio_features *f, struct dio_paths *p) {
    if (p->info == DIO_INFO_AUTO)
        p->info = f->get_syscall_info && f->set_syscall_info ? DIO_INFO_KERNEL : DIO_INFO_REGISTERS;
    if (p->skip == DIO_SKIP_AUTO)
        p->skip = f->skip_by_exit ? DIO_SKIP_KERNEL : ARCH_SKIP_IN_ONE_STOP ? DIO_SKIP_REGISTERS : DIO_SKIP_EXIT;
    if (p->rewind == DIO_REWIND_AUTO)
        p->rewind = f->set_ip ? DIO_REWIND_KERNEL : DIO_REWIND_REGISTERS;
    int missing = (p->info == DIO_INFO_KERNEL && !(f->get_syscall_info && f->set_syscall_info)) ||
                  (p->skip == DIO_SKIP_KERNEL && !f->skip_by_exit) ||
                  (p->rewind == DIO_REWIND_KERNEL && !f->set_ip);
    return missing ? -EOPNOTSUPP : 0;
}
