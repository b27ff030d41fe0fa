/* Orphans: a process that leaves its group and session twice over outlives its parents, and reports. */
#include "check.h"

int main(void)
{
	int ends[2];
	char text[32] = "";

	CHECK(pipe(ends) == 0);
	if (fork() == 0) {
		pid_t parent = getpid();

		CHECK(setsid() > 0);
		if (fork() == 0) {
			while (getppid() == parent)
				sleep_ms(5);
			CHECK(write(ends[1], "orphan speaking", 15) == 15);
			_exit(0);
		}
		sleep_ms(30);
		_exit(0);
	}
	close(ends[1]);
	CHECK(wait(NULL) > 0);
	CHECK(read(ends[0], text, sizeof text) == 15);
	CHECK(read(ends[0], text + 16, 1) == 0);
	puts(text);
	return 0;
}
