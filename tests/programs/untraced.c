/* CLONE_UNTRACED: children that ask not to be traced still have working calls. */
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <linux/sched.h>
#include <sys/syscall.h>

static void work(int status)
{
	for (int i = 0; i < 20; i++) {
		int fd = open("/dev/null", O_RDWR);

		CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
	}
	_exit(status);
}

int main(void)
{
	struct clone_args args = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};
	pid_t pid;

	if ((pid = (pid_t)syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0)) == 0)
		work(3);
	wait_and_report("clone", pid);
	if ((pid = (pid_t)syscall(SYS_clone3, &args, sizeof args)) == 0)
		work(4);
	wait_and_report("clone3", pid);
	printf("the program's structure: %s\n", args.flags == CLONE_UNTRACED ? "as it was" : "CHANGED");
	return 0;
}
