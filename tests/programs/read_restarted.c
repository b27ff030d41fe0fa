/* read: goes on after a handler with SA_RESTART, fails with EINTR after one without. */
#include "check.h"
#include <stdatomic.h>
#include <sys/mman.h>

static atomic_int *handled; /* shared with the child that disturbs */

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(handled, 1);
}

/* Returns when the process sleeps in its read, and not in a tracer's hands. */
static void wait_until_it_sleeps(pid_t pid)
{
	char name[40], text[512];
	int asleep = 0;

	snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
	while (asleep < 3) {
		FILE *file = fopen(name, "r");

		CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
		fclose(file);
		asleep = strrchr(text, ')')[2] == 'S' ? asleep + 1 : 0;
		sleep_ms(5);
	}
}

static pid_t disturb(int out, int signals, const char *text)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < signals; i++) {
		int before = atomic_load(handled);

		wait_until_it_sleeps(parent);
		CHECK(kill(parent, SIGUSR1) == 0);
		while (atomic_load(handled) == before)
			sleep_ms(1);
	}
	wait_until_it_sleeps(parent);
	CHECK(write(out, text, strlen(text)) == (ssize_t)strlen(text));
	_exit(0);
}

int main(void)
{
	int ends[2];
	char text[16] = "";
	pid_t pid;

	handled = mmap(NULL, sizeof *handled, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(handled != MAP_FAILED);
	CHECK(pipe(ends) == 0);
	handle(SIGUSR1, on_signal, SA_RESTART);
	pid = disturb(ends[1], 3, "late");
	CHECK(read(ends[0], text, sizeof text) == 4);
	printf("restarted: %s after %d handlers\n", text, atomic_load(handled));
	CHECK(waitpid(pid, NULL, 0) == pid);
	handle(SIGUSR1, on_signal, 0);
	pid = disturb(ends[1], 1, "next");
	CHECK(read(ends[0], text, sizeof text) == -1 && errno == EINTR);
	CHECK(read(ends[0], text, sizeof text) == 4);
	printf("interrupted, then: %s after %d handlers\n", text, atomic_load(handled));
	while (waitpid(pid, NULL, 0) < 0)
		CHECK(errno == EINTR);
	return 0;
}
