/* read: goes on after a handler with SA_RESTART, fails with EINTR after one without. */
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
	(void)number;
	handled++;
}

static pid_t disturb(int out, int signals, const char *text)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < signals; i++) {
		sleep_ms(50);
		CHECK(kill(parent, SIGUSR1) == 0);
	}
	sleep_ms(50);
	CHECK(write(out, text, strlen(text)) == (ssize_t)strlen(text));
	_exit(0);
}

int main(void)
{
	int ends[2];
	char text[16] = "";
	pid_t pid;

	CHECK(pipe(ends) == 0);
	handle(SIGUSR1, on_signal, SA_RESTART);
	pid = disturb(ends[1], 3, "late");
	CHECK(read(ends[0], text, sizeof text) == 4);
	printf("restarted: %s after %d handlers\n", text, (int)handled);
	CHECK(waitpid(pid, NULL, 0) == pid);
	handle(SIGUSR1, on_signal, 0);
	pid = disturb(ends[1], 1, "next");
	CHECK(read(ends[0], text, sizeof text) == -1 && errno == EINTR);
	CHECK(read(ends[0], text, sizeof text) == 4);
	printf("interrupted, then: %s after %d handlers\n", text, (int)handled);
	while (waitpid(pid, NULL, 0) < 0)
		CHECK(errno == EINTR);
	return 0;
}
