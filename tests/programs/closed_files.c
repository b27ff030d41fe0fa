/* closed_files FILE: a program that closes its memory (PR_SET_DUMPABLE) goes on opening files, and so do its children. */
#include "check.h"
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>

static int told(void)
{
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
}

static void show(const char *name)
{
	char text[100] = "";
	int fd = open(name, O_RDONLY);

	if (fd < 0) {
		printf("%s: %s\n", name, strerror(errno));
		return;
	}
	CHECK(read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
	printf("read: %s\n", text);
}

int main(int argc, char **argv)
{
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc > 2) {
		printf("after exec: %d\n", told());
		return 0;
	}
	CHECK(told() == 1);
	CHECK(prctl(PR_SET_DUMPABLE, 2, 0, 0, 0) == -1 && errno == EINVAL);
	CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && told() == 1);
	CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && told() == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 2, 0, 0, 0) == -1 && errno == EINVAL && told() == 0);
	show(argv[1]);
	CHECK(open("/nowhere/at/all", O_RDONLY) == -1 && errno == ENOENT);
	if ((pid = fork()) == 0) {
		CHECK(told() == 0);
		show(argv[1]);
		CHECK(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && told() == 1);
		_exit(6);
	}
	wait_and_report("child", pid);
	CHECK(told() == 0);
	if ((pid = vfork()) == 0) {
		execl("/proc/self/exe", argv[0], argv[1], "again", (char *)NULL);
		_exit(127);
	}
	wait_and_report("executed", pid);
	CHECK(told() == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 && told() == 1);
	show(argv[1]);
	return 0;
}
