/* write: two lines to the standard output by the bare call; results to the standard error. */
#include "check.h"

int main(void)
{
	static const char *const lines[] = {"first line\n", "second\n"};

	for (int i = 0; i < 2; i++) {
		ssize_t count = write(1, lines[i], strlen(lines[i]));

		fprintf(stderr, "%d %s\n", (int)count, count < 0 ? strerror(errno) : "written");
	}
	return 0;
}
