/* test_ending.c - calls that wait for what is gone: they end with the result that is given, others go on. */
#include "../internal.h"
#include "check.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int ends[2];

static void handled(int sig) { (void)sig; }

/* 0 if what waits in read(2) gets ENODEV with its registers as they were, and goes on. */
static int read_until_gone(void) {
    char byte;
    struct sigaction act = {.sa_handler = handled};
    sigaction(SIGUSR1, &act, NULL);
    errno = 0;
    if (read(ends[0], &byte, 1) != -1 || errno != ENODEV)
        return 1;
    return getppid() > 0 ? 0 : 2;
}

static pid_t reader_start(void) {
    pid_t pid = fork();
    CHECK_EQ(pid >= 0, 1);
    if (!pid)
        _exit(read_until_gone());
    return pid;
}

/* Until it waits in a read: what /proc/PID/syscall shows. */
static void reader_await(pid_t pid) {
    char name[40], text[64];
    long nr = -1;
    snprintf(name, sizeof name, "/proc/%d/syscall", pid);
    while (nr != SYS_read) {
        FILE *file = fopen(name, "re");
        CHECK_EQ(file != NULL, 1);
        if (!fgets(text, sizeof text, file) || sscanf(text, "%ld", &nr) != 1)
            nr = -1;
        fclose(file);
    }
}

static int status_of(pid_t pid) {
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_a_reader_is_told(void) {
    pid_t pid = reader_start();
    reader_await(pid);
    CHECK_EQ(dio_call_hold(pid, SYS_read, ends[0]), 0);
    CHECK_EQ(dio_call_end(pid, -ENODEV), 0);
    CHECK_EQ(status_of(pid), 0);
}

static void test_another_call_is_left_alone(void) {
    pid_t pid = reader_start();
    reader_await(pid);
    CHECK_EQ(dio_call_hold(pid, SYS_read, ends[1]), -EAGAIN);
    CHECK_EQ(dio_call_hold(pid, SYS_write, ends[0]), -EAGAIN);
    reader_await(pid);
    CHECK_EQ(dio_call_hold(pid, SYS_read, ends[0]), 0);
    CHECK_EQ(dio_call_end(pid, -ENODEV), 0);
    CHECK_EQ(status_of(pid), 0);
}

static void test_who_is_killed_is_dead(void) {
    pid_t pid = reader_start();
    reader_await(pid);
    CHECK_EQ(dio_call_hold(pid, SYS_read, ends[0]), 0);
    kill(pid, SIGKILL);
    CHECK_EQ(dio_call_end(pid, -ENODEV), -ESRCH);
    CHECK_EQ(dio_call_hold(pid, SYS_read, ends[0]), -ESRCH);
}

int main(void) {
    CHECK_EQ(pipe(ends), 0);
    test_a_reader_is_told();
    test_another_call_is_left_alone();
    test_who_is_killed_is_dead();
    return checks_report("ending");
}
