/* vfork: the parent waits until its child has executed another program, or failed to. */
#include "check.h"

int main(void)
{
	volatile int shared = 0;
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	if ((pid = vfork()) == 0) {
		shared = 1;
		execl("/bin/echo", "echo", "from", "the", "child", (char *)NULL);
		_exit(127);
	}
	CHECK(pid > 0 && shared == 1);
	wait_and_report("executed", pid);
	if ((pid = vfork()) == 0) {
		execl("/nowhere/at/all", "all", (char *)NULL);
		shared = errno;
		_exit(127);
	}
	CHECK(shared == ENOENT);
	wait_and_report("not found", pid);
	return 0;
}
