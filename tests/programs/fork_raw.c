/* fork: fork, vfork and clone as bare system calls. */
#include "check.h"
#include <sched.h>
#include <linux/sched.h>
#include <sys/syscall.h>

int main(void)
{
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	if ((pid = (pid_t)syscall(SYS_fork)) == 0)
		_exit(syscall(SYS_getppid) > 0 ? 3 : 4);
	CHECK(pid > 0);
	wait_and_report("fork", pid);
	if ((pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0)
		_exit(5);
	CHECK(pid > 0);
	wait_and_report("clone", pid);
	if ((pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0)) == 0)
		_exit(6);
	CHECK(waitpid(pid, NULL, 0) == -1 && errno == ECHILD);
	wait_and_report("clone without a signal", pid);
	CHECK(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0) == -1 && errno == EINVAL);
	return 0;
}
