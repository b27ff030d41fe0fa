/* Signal stack: handlers on a stack of their own make calls while the interrupted call waits. */
#include "check.h"
#include <fcntl.h>
#include <sys/time.h>

enum { depth = 5 };

static volatile sig_atomic_t level, deepest, calls;
static int finished[2]; /* a byte for each signal from outside whose last handler is leaving */

static void on_signal(int number)
{
	int fd = open("/dev/null", O_RDWR);

	level++;
	if (level > deepest)
		deepest = level;
	CHECK(fd >= 0);
	CHECK(write(fd, "x", 1) == 1);
	if (level < depth)
		CHECK(kill(getpid(), number) == 0); /* SA_NODEFER: handled before kill returns */
	CHECK(getppid() > 0);
	CHECK(close(fd) == 0);
	calls++;
	if (--level == 0)
		CHECK(write(finished[1], "x", 1) == 1);
}

int main(void)
{
	static char memory[256 * 1024];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
	int ends[2];
	char text[8] = "";
	pid_t self = getpid(), pid;

	CHECK(sigaltstack(&stack, NULL) == 0);
	CHECK(pipe(ends) == 0 && pipe(finished) == 0);
	handle(SIGUSR1, on_signal, SA_ONSTACK | SA_NODEFER | SA_RESTART);
	if ((pid = fork()) == 0) {
		for (int i = 0; i < 10; i++) {
			sleep_ms(20);
			CHECK(kill(self, SIGUSR1) == 0);
			CHECK(read(finished[0], text, 1) == 1);
		}
		sleep_ms(50);
		CHECK(write(ends[1], "enough", 6) == 6);
		_exit(0);
	}
	CHECK(read(ends[0], text, sizeof text) == 6);
	CHECK(waitpid(pid, NULL, 0) == pid);
	printf("%s: %d handlers, %d deep\n", text, (int)calls, (int)deepest);
	return 0;
}
