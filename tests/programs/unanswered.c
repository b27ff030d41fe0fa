/* unanswered: makes a call without end, and writes down if it ever fails. */
#include "check.h"

#include <fcntl.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
	int fd;

	CHECK(argc == 2);
	fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
	CHECK(fd >= 0);
	puts("ready");
	fflush(stdout);
	for (;;)
		if (syscall(SYS_getppid) < 0)
			dprintf(fd, "%s\n", strerror(errno));
}
