/* Timeouts: SIGSTOP and SIGCONT in the middle of a wait neither shorten nor fail it. */
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

enum { wait_ms = 300 };

static int wait_poll(void)
{
	return poll(NULL, 0, wait_ms);
}

static int wait_select(void)
{
	struct timeval timeout = {0, wait_ms * 1000};

	return select(0, NULL, NULL, NULL, &timeout);
}

static int wait_nanosleep(void)
{
	struct timespec timeout = {0, wait_ms * 1000000L};

	return nanosleep(&timeout, NULL);
}

static int wait_ppoll(void)
{
	struct timespec timeout = {0, wait_ms * 1000000L};

	return ppoll(NULL, 0, &timeout, NULL);
}

static int wait_futex(void)
{
	static int word;
	long timeout[2] = {0, wait_ms * 1000000L};

	if (syscall(SYS_futex, &word, FUTEX_WAIT, 0, timeout, NULL, 0) == -1 && errno == ETIMEDOUT)
		return 0;
	return -1;
}

static int wait_sigtimedwait(void)
{
	struct timespec timeout = {0, wait_ms * 1000000L};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	if (sigtimedwait(&set, NULL, &timeout) == -1 && (errno == EAGAIN || errno == EINTR))
		return 0; /* EINTR natively: the kernel does not restart this one */
	return -1;
}

static void stop_twice(pid_t target)
{
	for (int i = 0; i < 2; i++) {
		sleep_ms(40);
		CHECK(kill(target, SIGSTOP) == 0);
		sleep_ms(40);
		CHECK(kill(target, SIGCONT) == 0);
	}
	_exit(0);
}

static void check(const char *name, int (*wait)(void), int at_least)
{
	pid_t self = getpid(), pid = fork();
	int64_t start, taken;
	int result;

	if (pid == 0)
		stop_twice(self);
	start = now_ms();
	result = wait();
	taken = now_ms() - start;
	printf("%s: %d %s\n", name, result, taken >= at_least && taken < 5000 ? "in time" : "WRONG time");
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	check("poll", wait_poll, wait_ms);
	check("select", wait_select, wait_ms);
	check("nanosleep", wait_nanosleep, wait_ms);
	check("ppoll", wait_ppoll, wait_ms);
	check("futex", wait_futex, wait_ms);
	check("sigtimedwait", wait_sigtimedwait, 0);
	return 0;
}
