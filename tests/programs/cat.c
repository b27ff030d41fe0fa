/* cat: copy files to the standard output, saying which can't be opened. */
#include "check.h"
#include <fcntl.h>

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		char buffer[4096];
		ssize_t count;
		int fd = open(argv[i], O_RDONLY);

		if (fd < 0) {
			fprintf(stderr, "cat: %s: %s\n", argv[i], strerror(errno));
			failed = 1;
			continue;
		}
		while ((count = read(fd, buffer, sizeof buffer)) > 0)
			CHECK(write(1, buffer, (size_t)count) == count);
		CHECK(count == 0);
		close(fd);
	}
	return failed;
}
