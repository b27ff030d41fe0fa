/* PR_SET_DUMPABLE 0: a process that nobody may look into forks, opens files and executes. */
#include "check.h"
#include <fcntl.h>
#include <sys/prctl.h>

int main(void)
{
	pid_t pid;
	int fd;

	setvbuf(stdout, NULL, _IONBF, 0);
	CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	CHECK((fd = open("/dev/null", O_RDWR)) >= 0 && close(fd) == 0);
	CHECK(open("/nowhere/at/all", O_RDONLY) == -1 && errno == ENOENT);
	if ((pid = fork()) == 0) {
		CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
		CHECK((fd = open("/dev/null", O_RDWR)) >= 0 && close(fd) == 0);
		_exit(6);
	}
	wait_and_report("child", pid);
	if ((pid = fork()) == 0) {
		execl("/bin/echo", "echo", "dumpable", "again", (char *)NULL);
		_exit(127);
	}
	wait_and_report("executed", pid);
	return 0;
}
