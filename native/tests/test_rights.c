/* test_rights.c - who a thread is to files, whose process it may not be the first of. */
#include "../decide.h"
#include "check.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OTHER = 4321 };

static void check(pid_t tid, uint32_t uid, uint32_t gid) {
    uint32_t caller[3] = {1, 1, 1};
    CHECK_EQ(thread_caller(tid, &caller[0], &caller[1], &caller[2]), 0);
    CHECK_EQ(caller[0], uid);
    CHECK_EQ(caller[1], gid);
    CHECK_EQ(caller[2], getpid());
}

/* Another than its process is, if that may be. */
static void *check_thread(void *unused) {
    int is_root = !geteuid();
    setfsuid(is_root ? OTHER : geteuid());
    setfsgid(is_root ? OTHER + 1 : getegid());
    check((pid_t)syscall(SYS_gettid), is_root ? OTHER : geteuid(), is_root ? OTHER + 1 : getegid());
    return unused;
}

/* As on a kernel that does not say that of a pidfd. */
static void check_older(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
    check(getpid(), geteuid(), getegid());
    check(getpid(), geteuid(), getegid());
    check_thread(NULL);
}

int main(void) {
    uint32_t nobody[3];
    pthread_t thread;
    check(getpid(), geteuid(), getegid());
    CHECK_EQ(pthread_create(&thread, NULL, check_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    check(getpid(), geteuid(), getegid());
    pid_t child = fork();
    if (!child)
        _exit(0);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(thread_caller(child, &nobody[0], &nobody[1], &nobody[2]) < 0, 1);
    check(getpid(), geteuid(), getegid());
    check_older();
    return checks_report("rights");
}
