/* Pipe: 32 MB from a child to its parent, in pieces of many sizes, with a checksum. */
#include "check.h"

enum { total = 32 << 20, largest = 70000 };

static unsigned char buffer[largest];

static void produce(int fd)
{
	size_t sent = 0, size = 1;

	while (sent < total) {
		size_t piece = size < total - sent ? size : total - sent;
		size_t done = 0;

		for (size_t i = 0; i < piece; i++)
			buffer[i] = (unsigned char)((uint32_t)(sent + i) * 2654435761u >> 24);
		while (done < piece) {
			ssize_t count = write(fd, buffer + done, piece - done);

			CHECK(count > 0);
			done += (size_t)count;
		}
		sent += piece;
		size = size * 7 % largest + 1000;
		if (size > largest)
			size = largest;
	}
	_exit(0);
}

int main(void)
{
	uint32_t sum = 0;
	size_t received = 0;
	int ends[2];
	ssize_t count;
	pid_t pid;

	CHECK(pipe(ends) == 0);
	if ((pid = fork()) == 0) {
		close(ends[0]);
		produce(ends[1]);
	}
	close(ends[1]);
	while ((count = read(ends[0], buffer, sizeof buffer)) > 0) {
		for (ssize_t i = 0; i < count; i++)
			sum = sum * 31 + buffer[i];
		received += (size_t)count;
	}
	CHECK(count == 0);
	printf("%zu bytes, checksum %08x\n", received, sum);
	wait_and_report("producer", pid);
	return 0;
}
