/* given: descriptors that open(2) returns, wherever they come from: the lowest free, with the flags asked for. */
#include "check.h"

#include <fcntl.h>
#include <sys/resource.h>

static void look(const char *name)
{
	const struct rlimit few = {3, 64}, enough = {64, 64};
	char byte;
	int low = open("/dev/null", O_RDONLY), high, fd;

	CHECK(low == 3);
	high = dup(low);
	CHECK(high == 4 && close(low) == 0);
	fd = open(name, O_RDONLY);
	CHECK(fd == 3);
	CHECK(fcntl(fd, F_GETFD) == 0);
	CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	CHECK(read(fd, &byte, 1) == 1);
	CHECK(close(fd) == 0);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	CHECK(fd == 3);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(close(fd) == 0 && close(high) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	fd = open(name, O_RDONLY);
	CHECK(fd == -1 && errno == EMFILE);
	CHECK(setrlimit(RLIMIT_NOFILE, &enough) == 0);
	fd = open(name, O_RDONLY);
	CHECK(fd == 3 && close(fd) == 0);
	for (fd = 3; fd < 64; fd++)
		CHECK(fcntl(fd, F_GETFD) == -1);
	printf("%s: the lowest, and nothing else\n", name);
}

int main(int argc, char **argv)
{
	int i;

	for (i = 3; i < 64; i++)
		close(i);
	for (i = 1; i < argc; i++)
		look(argv[i]);
	return 0;
}
