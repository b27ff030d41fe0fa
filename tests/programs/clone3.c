/* clone3: children made by the raw call, in each of its forms. */
#include "check.h"
#include <poll.h>
#include <linux/sched.h>
#include <sys/syscall.h>

static pid_t clone3(struct clone_args *args)
{
	return (pid_t)syscall(SYS_clone3, args, sizeof *args);
}

static void child(int status)
{
	static const char text[] = "in the child\n";

	CHECK(write(1, text, sizeof text - 1) == sizeof text - 1);
	_exit(status);
}

int main(void)
{
	struct clone_args plain = {.exit_signal = SIGCHLD};
	int pidfd = -1;
	struct clone_args with_pidfd = {
		.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	struct clone_args as_vfork = {.flags = CLONE_VFORK, .exit_signal = SIGCHLD};
	struct clone_args silent = {.exit_signal = 0};
	struct clone_args wrong = {.flags = CLONE_SIGHAND, .exit_signal = SIGCHLD};
	struct pollfd ended;
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	if ((pid = clone3(&plain)) == 0)
		child(7);
	wait_and_report("plain", pid);
	if ((pid = clone3(&with_pidfd)) == 0)
		child(8);
	ended = (struct pollfd){.fd = pidfd, .events = POLLIN};
	CHECK(poll(&ended, 1, 10000) == 1);
	wait_and_report("pidfd", pid);
	if ((pid = clone3(&as_vfork)) == 0)
		child(9);
	puts("after the vfork-like child");
	wait_and_report("vfork-like", pid);
	if ((pid = clone3(&silent)) == 0)
		child(10);
	wait_and_report("no exit signal", pid);
	CHECK(clone3(&wrong) == -1 && errno == EINVAL);
	puts("wrong flags: EINVAL");
	return 0;
}
