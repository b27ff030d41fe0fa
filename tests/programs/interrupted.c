/* Interruptions: a blocking read while a timer's handler, which makes calls of its own, keeps running.
 *
 * `interrupted restart` sets SA_RESTART, so that read must give the data; `interrupted fail` does not. */
#include "check.h"
#include <fcntl.h>
#include <sys/time.h>

static volatile sig_atomic_t handled, wrong;

static void on_alarm(int number)
{
	int saved = errno, fd = open("/dev/null", O_RDWR);
	char byte;

	(void)number;
	if (fd < 0 || write(fd, "x", 1) != 1 || read(fd, &byte, 1) != 0 || close(fd) != 0)
		wrong++;
	handled++;
	errno = saved;
}

int main(int argc, char **argv)
{
	struct itimerval every = {{0, 15000}, {0, 15000}}, off = {{0, 0}, {0, 0}};
	int restart = argc > 1 && strcmp(argv[1], "restart") == 0;
	int ends[2];
	char text[8];
	ssize_t count;
	pid_t pid;

	CHECK(pipe(ends) == 0);
	if ((pid = fork()) == 0) {
		sleep_ms(400);
		CHECK(write(ends[1], "data", 4) == 4);
		_exit(0);
	}
	handle(SIGALRM, on_alarm, restart ? SA_RESTART : 0);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	count = read(ends[0], text, sizeof text);
	CHECK(count == (restart ? 4 : -1) && (restart || errno == EINTR));
	CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
	printf("read: %d, handlers: %s, wrong: %d\n", (int)count,
	       handled >= (restart ? 5 : 1) ? "enough" : "TOO FEW", (int)wrong);
	CHECK(waitpid(pid, NULL, 0) == pid);
	return 0;
}
