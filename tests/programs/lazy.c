/* Reads, in unusual ways, the file named: each 8 bytes of it say, big-endian, how many stand before them. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { WORD = 8, PAGE = 4096, PIECE = 32768 };

static const char *path;
static off_t size;

static int open_file(void)
{
	int fd = open(path, O_RDONLY);

	CHECK(fd >= 0);
	return fd;
}

static uint64_t word_at(const void *bytes)
{
	const unsigned char *b = bytes;
	uint64_t value = 0;

	for (int i = 0; i < WORD; i++)
		value = value << 8 | b[i];
	return value;
}

static void check_content(const char *bytes, size_t count, off_t offset)
{
	for (size_t i = 0; i + WORD <= count; i += WORD)
		CHECK(word_at(bytes + i) == (uint64_t)(offset + (off_t)i) / WORD);
}

static void seeks(void)
{
	int fd = open_file();

	CHECK(lseek(fd, 0, SEEK_END) == size);
	CHECK(lseek(fd, 1000, SEEK_DATA) == 1000);
	CHECK(lseek(fd, 0, SEEK_CUR) == 1000);
	CHECK(lseek(fd, 1000, SEEK_HOLE) == size);
	CHECK(lseek(fd, size, SEEK_DATA) == -1 && errno == ENXIO);
	CHECK(lseek(fd, -1, SEEK_HOLE) == -1 && errno == ENXIO);
	close(fd);
	puts("seeks");
}

static void vectors(void)
{
	static char one[100], two[PIECE];
	static struct iovec many[2000];
	struct iovec pieces[] = {{one, 96}, {NULL, 0}, {two, sizeof two}};
	int fd = open_file();
	off_t middle = size / 2 / WORD * WORD;

	CHECK(preadv(fd, pieces, 3, middle) == 96 + (ssize_t)sizeof two);
	check_content(one, 96, middle);
	check_content(two, sizeof two, middle + 96);
	CHECK(lseek(fd, 0, SEEK_CUR) == 0);
	CHECK(readv(fd, pieces, 3) == 96 + (ssize_t)sizeof two);
	check_content(two, sizeof two, 96);
	CHECK(lseek(fd, 0, SEEK_CUR) == 96 + (off_t)sizeof two);
	CHECK(preadv2(fd, pieces, 3, -1, 0) == 96 + (ssize_t)sizeof two);
	check_content(one, 96, 96 + sizeof two);
	CHECK(preadv(fd, pieces, 3, size - 50) == 50);
	CHECK(preadv(fd, pieces, 3, size + 50) == 0);
	CHECK(preadv(fd, pieces, 3, -1) == -1 && errno == EINVAL);
	CHECK(preadv(fd, many, 2000, 0) == -1 && errno == EINVAL);
	close(fd);
	puts("vectors");
}

static void mistakes(void)
{
	char byte[WORD];
	int fd = open_file(), only_path = open(path, O_PATH);
	char *room = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(room != MAP_FAILED && only_path >= 0);
	CHECK(munmap(room + PAGE, PAGE) == 0);
	CHECK(read(fd, room, 2 * PAGE) == PAGE);
	check_content(room, PAGE, 0);
	CHECK(lseek(fd, 0, SEEK_CUR) == PAGE);
	CHECK(read(fd, room + PAGE, PAGE) == -1 && errno == EFAULT);
	CHECK(read(fd, room + PAGE, 0) == 0);
	CHECK(lseek(fd, 0, SEEK_CUR) == PAGE);
	CHECK(pread(fd, byte, WORD, -1) == -1 && errno == EINVAL);
	CHECK(read(only_path, byte, WORD) == -1 && errno == EBADF);
	CHECK(lseek(only_path, 0, SEEK_DATA) == -1 && errno == EBADF);
	CHECK(read(1000, byte, WORD) == -1 && errno == EBADF);
	CHECK(write(fd, byte, WORD) == -1 && errno == EBADF);
	close(only_path);
	close(fd);
	puts("mistakes");
}

static int shared;
static char seen[1 << 20];

static void *read_shared(void *unused)
{
	static __thread char bytes[PIECE];
	ssize_t count;

	(void)unused;
	while ((count = read(shared, bytes, sizeof bytes)) > 0) {
		uint64_t first = word_at(bytes) / (PIECE / WORD);

		CHECK(first < sizeof seen);
		check_content(bytes, (size_t)count, (off_t)first * PIECE);
		CHECK(__sync_fetch_and_add(&seen[first], 1) == 0);
	}
	CHECK(count == 0);
	return NULL;
}

/* Threads that share an offset get each piece once, and never one that is not there. */
static void together(void)
{
	pthread_t threads[4];

	shared = open_file();
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, read_shared, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (off_t piece = 0; piece < (size + PIECE - 1) / PIECE; piece++)
		CHECK(seen[piece] == 1);
	close(shared);
	puts("together");
}

static void mappings(void)
{
	int fd = open_file();
	off_t middle = size / 2 / PAGE * PAGE;
	char *bytes = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, middle);

	CHECK(bytes != MAP_FAILED);
	check_content(bytes, PAGE, middle);
	size_t more = (size_t)(size - middle) / PAGE * PAGE;
	bytes = mremap(bytes, PAGE, more, MREMAP_MAYMOVE);
	CHECK(bytes != MAP_FAILED);
	check_content(bytes, more, middle);
	CHECK(munmap(bytes, more) == 0);
	bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(bytes != MAP_FAILED);
	bytes[0] = 'x';
	char again[WORD];
	CHECK(pread(fd, again, WORD, 0) == WORD && again[0] == 0);
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
	close(fd);
	puts("mappings");
}

static void drain(int fd, size_t count, off_t offset)
{
	char *bytes = malloc(count);

	CHECK(bytes);
	for (size_t done = 0; done < count;) {
		ssize_t some = read(fd, bytes + done, count - done);

		CHECK(some > 0);
		done += (size_t)some;
	}
	check_content(bytes, count, offset);
	free(bytes);
}

static void transfers(void)
{
	int fd = open_file(), ends[2];
	off_t offset = size / 2 / WORD * WORD;

	CHECK(pipe(ends) == 0);
	CHECK(sendfile(ends[1], fd, &offset, PAGE) == PAGE);
	CHECK(offset == size / 2 / WORD * WORD + PAGE);
	CHECK(lseek(fd, 0, SEEK_CUR) == 0);
	drain(ends[0], PAGE, offset - PAGE);
	CHECK(sendfile(ends[1], fd, NULL, PAGE) == PAGE);
	CHECK(lseek(fd, 0, SEEK_CUR) == PAGE);
	drain(ends[0], PAGE, 0);
	loff_t from = size / 4 / PAGE * PAGE;
	CHECK(splice(fd, &from, ends[1], NULL, PAGE, 0) == PAGE);
	drain(ends[0], PAGE, from - PAGE);
	CHECK(splice(fd, NULL, ends[1], NULL, PAGE, 0) == PAGE);
	CHECK(lseek(fd, 0, SEEK_CUR) == 2 * PAGE);
	drain(ends[0], PAGE, PAGE);
	from = size;
	CHECK(splice(fd, &from, ends[1], NULL, PAGE, 0) == 0);
	offset = size - WORD;
	CHECK(sendfile(ends[1], fd, &offset, PAGE) == WORD);
	drain(ends[0], WORD, size - WORD);
	close(fd);
	puts("transfers");
}

int main(int argc, char **argv)
{
	struct stat status;

	CHECK(argc == 2);
	path = argv[1];
	CHECK(stat(path, &status) == 0);
	size = status.st_size;
	seeks();
	vectors();
	mistakes();
	transfers();
	together();
	mappings();
	return 0;
}
