/* test_guardian.c - guardians, hand-over and sequences under the sanitizers: a shell with children, every
 * wanted call turned into three, and threads that each guard one task. */
#include "../internal.h"
#include "check.h"

#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct dio_rules *rules;
static struct dio_options options;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static int guardians, newborns, calls, exits;

struct beginning {
    pid_t pid;
    struct dio_transit *transit;
    int *seized;
};

static void count(int *what, int by) {
    pthread_mutex_lock(&lock);
    *what += by;
    pthread_cond_broadcast(&done);
    pthread_mutex_unlock(&lock);
}

static void *guard(void *argument);

static void guard_start(pid_t pid, struct dio_transit *transit, int *seized) {
    struct beginning *begin = calloc(1, sizeof *begin);
    pthread_attr_t attributes;
    pthread_t thread;
    *begin = (struct beginning){pid, transit, seized};
    count(&guardians, 1);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    CHECK_EQ(pthread_create(&thread, &attributes, guard, begin), 0);
    pthread_attr_destroy(&attributes);
}

/* getpid, the call itself, getpid; the program gets the middle result. */
static void call_answer_next(const struct dio_event *e, struct dio_answer *a, int64_t *result, int *step) {
    a->tid = e->tid;
    a->action = DIO_CHANGE_SEE;
    a->nr = SYS_getpid;
    if (e->kind == DIO_EVENT_CALL) {
        *step = 1;
    } else if (*step == 1) {
        a->action = DIO_RUN_SEE;
        *step = 2;
    } else if (*step == 2) {
        *result = e->info.rval;
        *step = 3;
    } else {
        a->action = DIO_RESULT;
        a->rval = *result;
    }
}

static void *guard(void *argument) {
    struct beginning *begin = argument;
    struct dio_guardian *g = NULL;
    struct dio_event e;
    struct dio_answer answer, *next = NULL;
    int64_t result = 0;
    int step = 0, error;
    CHECK_EQ(dio_guardian_open(&options, rules, &g), 0);
    if (begin->transit)
        dio_guardian_take(g, begin->transit);
    else {
        CHECK_EQ(dio_guardian_seize(g, begin->pid), 0);
        count(begin->seized, 1);
    }
    free(begin);
    while ((error = dio_guardian_next(g, next, &e)) == 0 && e.kind != DIO_EVENT_DONE) {
        next = NULL;
        if (e.kind == DIO_EVENT_NEWBORN) {
            count(&newborns, 1);
            guard_start(0, e.transit, NULL);
        } else if (e.kind == DIO_EVENT_EXITED) {
            count(&exits, 1);
        } else if (e.kind == DIO_EVENT_CALL || e.kind == DIO_EVENT_RETURNED) {
            uint64_t placed = 0;
            if (e.kind == DIO_EVENT_CALL)
                CHECK_EQ(dio_guardian_place(g, e.tid, "placed", 7, &placed), 0);
            memset(&answer, 0, sizeof answer);
            call_answer_next(&e, &answer, &result, &step);
            next = &answer;
            count(&calls, 1);
        }
    }
    CHECK_EQ(error, 0);
    dio_guardian_close(g);
    count(&guardians, -1);
    return NULL;
}

static int run(const char *script) {
    static const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const char *const executables[] = {"/bin/sh", NULL};
    char *const argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    struct dio_launch how = {.executables = executables, .argv = argv, .fds = {-1, -1, -1}, .umask = -1,
                             .process_group = -1, .uid = -1, .gid = -1, .group_count = -1,
                             .filter = code, .filter_count = sizeof code / sizeof *code, .close_fds = 1};
    struct dio_started started;
    struct dio_failure failure;
    int status = -1, seized = 0;
    CHECK_EQ(dio_launch(&how, &started), 0);
    guard_start(started.pid, NULL, &seized);
    pthread_mutex_lock(&lock);
    while (!seized)
        pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
    CHECK_EQ(write(started.go_fd, "g", 1), 1);
    CHECK_EQ(read(started.error_fd, &failure, sizeof failure), 0);
    CHECK_EQ(read(started.life_fd, &status, sizeof status), sizeof status);
    CHECK_EQ(read(started.life_fd, &failure, sizeof failure), 0);
    close(started.go_fd), close(started.error_fd), close(started.life_fd);
    CHECK_EQ(waitpid(started.init_pid, NULL, 0), started.init_pid);
    pthread_mutex_lock(&lock);
    while (guardians)
        pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
    return status;
}

int main(void) {
    struct dio_features features;
    const struct dio_rule wanted[] = {{.abi = AUDIT_ARCH_X86_64, .nr = SYS_openat},
                                      {.abi = AUDIT_ARCH_X86_64, .nr = SYS_write}};
    CHECK_EQ(dio_probe(&features), 0);
    CHECK_EQ(dio_rules_new(wanted, 2, &rules), 0);
    options.our_filters = 1;
    for (uint8_t shared = 0; shared < 2; shared++)
        for (uint8_t rewind = DIO_REWIND_RESTART; rewind <= DIO_REWIND_REGISTERS; rewind++) {
            options.shared = shared;
            options.paths = (struct dio_paths){.rewind = rewind};
            CHECK_EQ(dio_paths_resolve(&features, &options.paths), 0);
            newborns = exits = calls = 0;
            if (shared) /* one step counter serves one tracee at a time */
                CHECK_EQ(WEXITSTATUS(run("read x </etc/hostname; echo \"$x\" >/dev/null; exit 7")), 7);
            else
                CHECK_EQ(WEXITSTATUS(run("for i in 1 2 3 4 5 6 7 8; do (echo $i) & done >/dev/null; wait; "
                                         "ls / | cat >/dev/null; (exit 3); [ $? = 3 ] && exit 7")), 7);
            CHECK_EQ(newborns, shared ? 0 : 11);
            CHECK_EQ(exits, newborns + 1);
            CHECK_EQ(calls > 10, 1);
        }
    options.shared = 0;
    CHECK_EQ(WTERMSIG(run("(sleep 0.2 & sleep 0.2 & kill -9 $!); kill -KILL $$")), SIGKILL);
    dio_rules_free(rules);
    return checks_report("guardian");
}
