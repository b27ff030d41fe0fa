/* test_notify.c - a real listener: values, errors, descriptors, cookies that have ended, and promotions. */
#include "../internal.h"
#include "check.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROMOTIONS = 50, KILLS = 60 };
static const uint64_t TAG = 0x1234567812345000;
static const uint8_t nothing[512];
static struct dio_features features;
static struct dio_rules *rules;

/* ---- the program: says by its status which step went wrong ---- */

#define EXPECT(number, condition)                                                                          \
    do {                                                                                                   \
        if (!(condition))                                                                                  \
            _exit(number);                                                                                 \
    } while (0)

static void filter_install(int report) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 56),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)TAG, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    EXPECT(100, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, NOTIFY_FILTER_FLAGS, &program);
    EXPECT(101, fd >= 0);
    EXPECT(102, write(report, &fd, sizeof fd) == sizeof fd);
}

static _Noreturn void program_run(int report) {
    filter_install(report);
    EXPECT(1, syscall(SYS_getppid) == 4242);
    EXPECT(2, syscall(SYS_getpgid, 0) == -1 && errno == EXDEV);
    int lowest = dup(report);
    close(lowest);
    int given = (int)syscall(SYS_getsid, 0);
    EXPECT(3, given == lowest && fcntl(given, F_GETFD) == FD_CLOEXEC);
    EXPECT(4, syscall(SYS_getsid, 1) == lowest + 1 && fcntl(lowest + 1, F_GETFD) == 0);
    for (int i = 0; i < PROMOTIONS; i++)
        EXPECT(5, syscall(SYS_getppid) == (i % 2 ? 4243 : getpid()));
    EXPECT(6, syscall(SYS_getpgid, 0) == getpgrp());
    _exit(0);
}

static _Noreturn void loop_run(int report) {
    filter_install(report);
    for (;;)
        syscall(SYS_getppid);
}

/* ---- the supervisor ---- */

static pid_t program_start(void (*run)(int), struct dio_listener **l) {
    int pipes[2], number = -1;
    CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        run(pipes[1]);
    close(pipes[1]);
    CHECK_EQ(read(pipes[0], &number, sizeof number), sizeof number);
    close(pipes[0]);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    close(pidfd);
    CHECK_EQ(fd >= 0, 1);
    CHECK_EQ(dio_listener_open(fd, &features, rules, NULL, l), 0);
    return pid;
}

/* getppid becomes getpid; or with `see`, getpid, what is placed is read back, and the result is ours. */
static int promote(struct dio_listener *l, const struct dio_event *notice, int see) {
    struct dio_options options = {.promoted = 1, .no_filter = 1, .tag = TAG, .untaggable = {nothing, nothing}};
    struct dio_answer answer = {.action = see ? DIO_CHANGE_SEE : DIO_CHANGE, .tid = notice->tid, .nr = SYS_getpid};
    struct dio_answer *next = &answer;
    struct dio_guardian *g = NULL;
    struct dio_event e;
    CHECK_EQ(dio_paths_resolve(&features, &options.paths), 0);
    CHECK_EQ(dio_guardian_open(&options, rules, &g), 0);
    int error = dio_guardian_promote(g, l, notice);
    uint64_t placed = 0;
    char back[8] = "";
    if (!error && see) {
        error = dio_guardian_place(g, notice->tid, "placed", 7, &placed);
        if (!error && dio_memory_read(notice->tid, placed, back, 7) == 7)
            CHECK_EQ(strcmp(back, "placed"), 0);
    }
    int done = 0;
    while (!done && (!error || error == -ESRCH)) {
        int failed = dio_guardian_next(g, error ? NULL : next, &e);
        CHECK_EQ(failed, 0);
        done = failed || e.kind == DIO_EVENT_DONE;
        next = NULL;
        if (e.kind == DIO_EVENT_RETURNED) {
            CHECK_EQ(e.info.rval, e.tid);
            answer.action = DIO_RESULT;
            answer.rval = 4243;
            next = &answer;
        }
    }
    dio_guardian_close(g);
    return error;
}

static void reply(struct dio_listener *l, const struct dio_event *e, uint32_t kind, int64_t value, int fd, uint32_t flags) {
    struct dio_reply one = {.kind = kind, .fd = dup(fd), .fd_flags = flags, .cookie = e->cookie, .value = value};
    CHECK_EQ(dio_listener_valid(l, e->cookie), 0);
    CHECK_EQ(dio_listener_reply(l, &one), 0);
    CHECK_EQ(dio_listener_valid(l, e->cookie), -ESRCH);
    one.fd = dup(fd);
    CHECK_EQ(dio_listener_reply(l, &one), -ESRCH);
    CHECK_EQ(dio_listener_give(l, e->cookie, 0, 0), -ESRCH);
}

static void call_serve(struct dio_listener *l, const struct dio_event *e, int step) {
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (step == 0)
        reply(l, e, DIO_REPLY_VALUE, 4242, -1, 0);
    else if (step == 1)
        reply(l, e, DIO_REPLY_VALUE, -EXDEV, -1, 0);
    else if (step == 2)
        reply(l, e, DIO_REPLY_GIVE, 0, null, O_CLOEXEC);
    else if (step == 3)
        reply(l, e, DIO_REPLY_VALUE, dio_listener_give(l, e->cookie, null, 0), -1, 0);
    else if (step < 4 + PROMOTIONS)
        CHECK_EQ(promote(l, e, step % 2), 0);
    else
        reply(l, e, DIO_REPLY_RUN, 0, -1, 0);
    close(null);
}

static void answers_test(void) {
    struct dio_listener *l = NULL;
    struct dio_event e;
    int status = -1, step = 0, error;
    pid_t pid = program_start(program_run, &l);
    while ((error = dio_listener_next(l, NULL, &e)) == 0 && e.kind == DIO_EVENT_CALL) {
        CHECK_EQ(e.tid, pid);
        CHECK_EQ(e.lone, 1);
        call_serve(l, &e, step++);
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(e.kind, DIO_EVENT_DONE);
    CHECK_EQ(step, 5 + PROMOTIONS);
    dio_listener_close(l);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void *kills(void *argument) {
    const pid_t *who = argument;
    usleep((useconds_t)(who[1] * 10));
    kill(who[0], SIGKILL);
    return NULL;
}

/* At whatever moment of a promotion it dies, it is heard of, and leaves no zombie to us as its tracer. */
static void deaths_test(void) {
    for (int i = 0; i < KILLS; i++) {
        struct dio_listener *l = NULL;
        struct dio_event e;
        pthread_t thread;
        int status = -1;
        pid_t who[2] = {program_start(loop_run, &l), i * 7 % 64};
        CHECK_EQ(dio_listener_next(l, NULL, &e), 0);
        CHECK_EQ(pthread_create(&thread, NULL, kills, who), 0);
        while (e.kind == DIO_EVENT_CALL) {
            int error = promote(l, &e, i % 2);
            CHECK_EQ(error == 0 || error == -ESRCH || error == -EFAULT, 1);
            CHECK_EQ(dio_listener_next(l, NULL, &e), 0);
        }
        CHECK_EQ(e.kind, DIO_EVENT_DONE);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        dio_listener_close(l);
        CHECK_EQ(waitpid(who[0], &status, __WALL) == who[0] ? WTERMSIG(status) : SIGKILL, SIGKILL);
    }
}

/* One that is gone, and one that has another tracer. */
static void refusals_test(void) {
    struct dio_listener *l = NULL;
    struct dio_event e;
    int status = -1;
    pid_t pid = program_start(loop_run, &l);
    CHECK_EQ(dio_listener_next(l, NULL, &e), 0);
    pid_t other = fork();
    if (other == 0) {
        int held = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
        raise(SIGSTOP);
        _exit(held ? 0 : 1);
    }
    CHECK_EQ(waitpid(other, &status, WUNTRACED), other);
    CHECK_EQ(promote(l, &e, 0), -EPERM);
    CHECK_EQ(dio_listener_valid(l, e.cookie), 0);
    kill(other, SIGCONT);
    CHECK_EQ(waitpid(other, &status, 0), other);
    CHECK_EQ(status, 0);
    kill(pid, SIGKILL);
    while (dio_listener_valid(l, e.cookie) == 0)
        usleep(1000);
    CHECK_EQ(promote(l, &e, 0), -ESRCH);
    CHECK_EQ(waitpid(pid, &status, __WALL), pid);
    CHECK_EQ(promote(l, &e, 0), -ESRCH);
    dio_listener_close(l);
}

int main(void) {
    const struct dio_rule wanted[] = {{.abi = AUDIT_ARCH_X86_64, .nr = SYS_getppid},
                                      {.abi = AUDIT_ARCH_X86_64, .nr = SYS_getsid},
                                      {.abi = AUDIT_ARCH_X86_64, .nr = SYS_getpgid}};
    CHECK_EQ(dio_probe(&features), 0);
    if (features.user_notif != 1 || !features.notif_killable || !features.notif_addfd) {
        puts("notify: skipped: no listener can be had (Linux 5.19, and none above this process)");
        return 0;
    }
    CHECK_EQ(dio_rules_new(wanted, 3, &rules), 0);
    answers_test();
    refusals_test();
    deaths_test();
    dio_rules_free(rules);
    return checks_report("notify");
}
