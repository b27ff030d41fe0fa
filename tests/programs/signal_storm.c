/* Signals: a storm of SIGUSR1 over a group that forks; queued signals that must all arrive. */
#include "check.h"
#include <fcntl.h>

enum { children = 60, rounds = 30, queued = 20 };

static volatile sig_atomic_t usr1, realtime;

static void on_usr1(int number)
{
	(void)number;
	usr1++;
}

static void on_realtime(int number)
{
	(void)number;
	realtime++;
}

static void make_calls(void)
{
	char byte;

	for (int i = 0; i < rounds; i++) {
		struct timespec brief = {0, 10000};
		int fd = open("/dev/null", O_RDWR);

		CHECK(fd >= 0);
		CHECK(read(fd, &byte, 1) == 0);
		CHECK(write(fd, "x", 1) == 1);
		CHECK(nanosleep(&brief, NULL) == 0 || errno == EINTR);
		CHECK(getppid() > 1);
		CHECK(close(fd) == 0);
	}
}

static void child(void)
{
	sigset_t none;

	make_calls();
	sigemptyset(&none);
	sigaddset(&none, SIGUSR1);
	while (realtime < queued)
		sigsuspend(&none);
	_exit(realtime == queued ? 0 : 1);
}

static pid_t start_storm(void)
{
	pid_t group = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	setpgid(0, 0);
	for (;;) {
		kill(-group, SIGUSR1);
		sleep_ms(1);
	}
}

int main(void)
{
	sigset_t block, before;
	pid_t storm;

	setpgid(0, 0);
	handle(SIGUSR1, on_usr1, SA_RESTART);
	handle(SIGRTMIN + 1, on_realtime, SA_RESTART);
	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN + 1);
	CHECK(sigprocmask(SIG_BLOCK, &block, &before) == 0);
	storm = start_storm();
	for (int i = 0; i < children; i++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0)
			child();
		for (int j = 0; j < queued; j++)
			CHECK(sigqueue(pid, SIGRTMIN + 1, (union sigval){.sival_int = j}) == 0);
		CHECK(waitpid(pid, &status, 0) == pid);
		if (status != 0)
			printf("child %d: status %x\n", i, (unsigned)status);
	}
	CHECK(kill(storm, SIGKILL) == 0);
	while (waitpid(storm, NULL, 0) < 0)
		CHECK(errno == EINTR);
	CHECK(usr1 > 0);
	printf("%d children, each with %d queued signals\n", children, queued);
	return 0;
}
