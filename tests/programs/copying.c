/* Copies: read, pread, mmap, sendfile, splice and copy_file_range give the same bytes of the file named. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char *source;
static size_t size;

static uint32_t checksum(const unsigned char *bytes, size_t count)
{
	uint32_t sum = 5381;

	for (size_t i = 0; i < count; i++)
		sum = sum * 33 + bytes[i];
	return sum;
}

static int open_source(void)
{
	int fd = open(source, O_RDONLY);

	CHECK(fd >= 0);
	return fd;
}

static void by_read(unsigned char *bytes)
{
	int fd = open_source();

	for (size_t done = 0; done < size;) {
		ssize_t count = read(fd, bytes + done, 5000);

		CHECK(count > 0);
		done += (size_t)count;
	}
	CHECK(read(fd, bytes, 1) == 0);
	close(fd);
}

static void by_pread(unsigned char *bytes)
{
	int fd = open_source();

	for (size_t end = size; end > 0;) {
		size_t piece = end < 3000 ? end : 3000;

		CHECK(pread(fd, bytes + end - piece, piece, (off_t)(end - piece)) == (ssize_t)piece);
		end -= piece;
	}
	close(fd);
}

static void by_mmap(unsigned char *bytes)
{
	int fd = open_source();
	void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

	CHECK(map != MAP_FAILED);
	close(fd);
	memcpy(bytes, map, size);
	CHECK(munmap(map, size) == 0);
}

static void collect(int target, unsigned char *bytes)
{
	CHECK(pread(target, bytes, size, 0) == (ssize_t)size);
	close(target);
}

static void by_sendfile(unsigned char *bytes)
{
	int fd = open_source(), target = (int)syscall(SYS_memfd_create, "copy", 0);

	for (size_t done = 0; done < size;) {
		ssize_t count = sendfile(target, fd, NULL, 9000);

		CHECK(count > 0);
		done += (size_t)count;
	}
	close(fd);
	collect(target, bytes);
}

static void by_copy_range(unsigned char *bytes)
{
	int fd = open_source(), target = (int)syscall(SYS_memfd_create, "copy", 0);

	for (size_t done = 0; done < size;) {
		ssize_t count = copy_file_range(fd, NULL, target, NULL, size - done, 0);

		if (count < 0 && errno == EXDEV)
			count = sendfile(target, fd, NULL, size - done);
		CHECK(count > 0);
		done += (size_t)count;
	}
	close(fd);
	collect(target, bytes);
}

static void by_splice(unsigned char *bytes)
{
	int fd = open_source(), ends[2];

	CHECK(pipe(ends) == 0);
	for (size_t done = 0; done < size;) {
		ssize_t count = splice(fd, NULL, ends[1], NULL, 4096, 0);

		CHECK(count > 0);
		CHECK(read(ends[0], bytes + done, (size_t)count) == count);
		done += (size_t)count;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*copy)(unsigned char *);
	} ways[] = {{"read", by_read}, {"pread", by_pread}, {"mmap", by_mmap},
		    {"sendfile", by_sendfile}, {"copy_file_range", by_copy_range}, {"splice", by_splice}};
	struct stat info;

	CHECK(argc == 2);
	source = argv[1];
	CHECK(stat(source, &info) == 0);
	size = (size_t)info.st_size;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		unsigned char *bytes = calloc(1, size + 1);

		CHECK(bytes != NULL);
		ways[i].copy(bytes);
		printf("%s: %zu bytes, checksum %08x\n", ways[i].name, size, checksum(bytes, size));
		free(bytes);
	}
	return 0;
}
