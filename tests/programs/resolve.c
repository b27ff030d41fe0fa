/* Resolve: makes the calls that stand in a file, one a line, and prints what each leads to.
 *
 *   open SLOT FLAGS RESOLVE PATH     openat2 at an open directory (-1: the current one)
 *   keep TO SLOT FLAGS PATH          openat, kept as a descriptor that later lines and paths may name
 *   stat SLOT FLAGS PATH             fstatat
 *   access SLOT MODE FLAGS PATH      faccessat2
 *   link SLOT PATH                   readlinkat
 *   make SLOT PATH                   a new file, which is removed again by the same name
 *   chdir PATH, fchdir SLOT
 *   rename OLD NEW, mkdir PATH, rmdir PATH, unlink PATH
 *
 * What is found is told by device and inode, directories also by their name, as /proc has it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NR_openat2 = 437, NR_faccessat2 = 439, SLOTS = 4, FIRST = 100 };

static int directory(long slot) { return slot < 0 ? AT_FDCWD : FIRST + (int)slot; }

static void tell_name(const char *link)
{
	char text[PATH_MAX];
	ssize_t n = readlink(link, text, sizeof text - 1);

	text[n < 0 ? 0 : n] = 0;
	printf(" %s", n < 0 ? strerrorname_np(errno) : text);
}

static void tell(const struct stat *s)
{
	printf(" %lx:%lu %o", (unsigned long)s->st_dev, (unsigned long)s->st_ino, (unsigned)(s->st_mode & S_IFMT));
}

static void result(long value)
{
	if (value < 0)
		printf(" %s", strerrorname_np(errno));
}

static void opened(int fd)
{
	char link[64];
	struct stat s;

	result(fd);
	if (fd < 0)
		return;
	if (fstat(fd, &s))
		return;
	tell(&s);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (S_ISDIR(s.st_mode))
		tell_name(link);
}

static void stand(long value)
{
	char text[PATH_MAX];
	struct stat s;

	result(value);
	if (value < 0)
		return;
	if (!stat(".", &s))
		tell(&s);
	printf(" %s", syscall(SYS_getcwd, text, sizeof text) < 0 ? strerrorname_np(errno) : text);
	tell_name("/proc/self/cwd");
}

static void call(const char *what, long *number, char *path)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {(uint64_t)number[1], number[1] & O_CREAT ? 0600 : 0, (uint64_t)number[2]};
	char text[PATH_MAX];
	struct stat s;
	int fd;

	if (!strcmp(what, "open")) {
		opened(fd = (int)syscall(NR_openat2, directory(number[0]), path, &how, sizeof how));
		if (fd >= 0)
			close(fd);
	} else if (!strcmp(what, "keep")) {
		fd = (int)syscall(SYS_openat, directory(number[1]), path, (int)number[2], 0600);
		opened(fd);
		if (fd >= 0)
			dup2(fd, FIRST + (int)number[0]), close(fd);
	} else if (!strcmp(what, "stat")) {
		long done = syscall(SYS_newfstatat, directory(number[0]), path, &s, (int)number[1]);
		result(done);
		if (!done)
			tell(&s);
	} else if (!strcmp(what, "access")) {
		result(syscall(NR_faccessat2, directory(number[0]), path, (int)number[1], (int)number[2]));
	} else if (!strcmp(what, "link")) {
		ssize_t n = readlinkat(directory(number[0]), path, text, sizeof text - 1);
		result(n);
		text[n < 0 ? 0 : n] = 0;
		printf(" %s", text);
	} else if (!strcmp(what, "make")) {
		fd = (int)syscall(SYS_openat, directory(number[0]), path, O_CREAT | O_EXCL | O_WRONLY, 0600);
		result(fd);
		if (fd >= 0)
			close(fd), result(unlinkat(directory(number[0]), path, 0));
	} else if (!strcmp(what, "chdir")) {
		stand(chdir(path));
	} else if (!strcmp(what, "fchdir")) {
		stand(fchdir(directory(number[0])));
	} else if (!strcmp(what, "rename")) {
		char *second = strchr(path, ' ');
		*second++ = 0;
		result(rename(path, second));
	} else if (!strcmp(what, "mkdir")) {
		result(mkdir(path, 0755));
	} else if (!strcmp(what, "rmdir")) {
		result(rmdir(path));
	} else if (!strcmp(what, "unlink")) {
		result(unlink(path));
	}
}

static int numbers_of(const char *what)
{
	static const char *const one[] = {"link", "fchdir", "make"}, *const two[] = {"stat"}, *const three[] = {"open", "keep", "access"};

	for (size_t i = 0; i < 3; i++) {
		if (!strcmp(what, three[i]))
			return 3;
		if (!strcmp(what, one[i]))
			return 1;
		if (i < 1 && !strcmp(what, two[i]))
			return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	FILE *file = argc > 1 ? fopen(argv[1], "re") : NULL;
	char line[2 * PATH_MAX + 100];

	if (!file || (argc > 2 && chdir(argv[2])))
		return 99;
	for (int at = 0; fgets(line, sizeof line, file); at++) {
		long number[3] = {0};
		char *rest = line, *what = strsep(&rest, " \n");

		for (int i = 0; i < numbers_of(what); i++)
			number[i] = strtol(strsep(&rest, " \n"), NULL, 0);
		if (rest && *rest && rest[strlen(rest) - 1] == '\n')
			rest[strlen(rest) - 1] = 0;
		printf("%d", at);
		call(what, number, rest ? rest : line + strlen(line));
		putchar('\n');
	}
	return 0;
}
