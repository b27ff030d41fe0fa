/* Battery: what the programs battery_*.c share, which make every call that takes a path or a descriptor.
 *
 * Each is given a directory and a second one elsewhere, and prints one line a call: the call as it is written here,
 * and its result.  A test runs it on a directory of the kernel and on one of a view, and compares.  So nothing may be
 * printed that differs between two such directories: numbers of inodes and descriptors, times that nobody has set.
 *
 * The calls are made by several *ways* of naming the same file: P("x") is its path, AT("x") a descriptor and a path,
 * absolute, from the current directory in and outside of it, from an open directory, through a link, by way of `..`. */
#ifndef BATTERY_H
#define BATTERY_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The same on every architecture; older headers lack them. */
enum {
	NR_open_tree = 428,
	NR_openat2 = 437,
	NR_faccessat2 = 439,
	NR_quotactl_fd = 443,
	NR_fchmodat2 = 452,
	NR_setxattrat = 463,
	NR_getxattrat = 464,
	NR_listxattrat = 465,
	NR_removexattrat = 466,
	NR_file_getattr = 468,
};

#define REPORT_(what, value) report(__LINE__, what, value)
#define TRY(call) REPORT_(#call, (long)(call))
/* A call that gives a descriptor: reported as open, and returned. */
#define OPEN(call) report_open(__LINE__, #call, (int)(call))
#define SHUT(call) close(OPEN(call))

enum way { ABSOLUTE, RELATIVE, INSIDE, BY_DESCRIPTOR, THROUGH_LINK, UP_AND_DOWN, WAYS };
static const char *const way_names[] = {"absolute", "relative", "inside", "descriptor", "link", "up"};

static struct {
	char top[PATH_MAX];   /* the directory that is tried */
	char other[PATH_MAX]; /* one elsewhere */
	char here[PATH_MAX];  /* a directory of this way below `top` */
	enum way way;
	int fd; /* of `here` */
} battery;

static inline long report(int line, const char *what, long value)
{
	int error = errno;

	if (value == -1)
		printf("%s %d %s = %s\n", way_names[battery.way], line, what, strerrorname_np(error));
	else
		printf("%s %d %s = %ld\n", way_names[battery.way], line, what, value);
	errno = error;
	return value;
}

static inline int report_open(int line, const char *what, int fd)
{
	report(line, what, fd < 0 ? -1 : 0);
	return fd;
}

static inline void say(const char *what, const char *text)
{
	printf("%s %s: %s\n", way_names[battery.way], what, text);
}

#define MUST(condition) must(condition, __FILE__, __LINE__, #condition)

static inline void must(int condition, const char *file, int line, const char *what)
{
	if (condition)
		return;
	printf("%s:%d: %s: %s\n", file, line, what, strerror(errno));
	fflush(stdout);
	_exit(99);
}

/* Texts put together, in one of a few buffers in turn, so that a call can name several. */
__attribute__((noinline, unused)) static char *join(const char *first, const char *second, const char *third)
{
	static char texts[8][3 * PATH_MAX];
	static unsigned next;
	char *text = texts[next++ % 8];

	MUST(strlen(first) + strlen(second) + strlen(third) < sizeof texts[0]);
	stpcpy(stpcpy(stpcpy(text, first), second), third);
	return text;
}

static inline char *P(const char *name)
{
	char number[16];

	switch (battery.way) {
	case RELATIVE: return join(strrchr(battery.here, '/') + 1, "/", name);
	case INSIDE: return join("", "", name);
	case BY_DESCRIPTOR:
		snprintf(number, sizeof number, "%d/", battery.fd);
		return join("/proc/self/fd/", number, name);
	case THROUGH_LINK: return join(battery.other, "/into/", name);
	case UP_AND_DOWN: return join(join(battery.here, "/..", strrchr(battery.here, '/')), "/", name);
	default: return join(battery.here, "/", name);
	}
}

static inline int AT_FD(void) { return battery.way == BY_DESCRIPTOR ? battery.fd : AT_FDCWD; }
static inline const char *AT_NAME(const char *name) { return battery.way == BY_DESCRIPTOR ? name : P(name); }
#define AT(name) AT_FD(), AT_NAME(name)

/* A path in the second directory. */
static inline char *OTHER(const char *name) { return join(battery.other, "/", name); }

/* Makes a file; a failure is reported as the call's. */
static inline void make_file(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0) {
		say("make_file", strerrorname_np(errno));
		return;
	}
	MUST(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
	close(fd);
}

/* Shows the first bytes of what can be read of a descriptor. */
static inline void show_content(const char *what, int fd)
{
	char text[201];
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);

	text[n < 0 ? 0 : n] = 0;
	printf("%s %s: %zd %s\n", way_names[battery.way], what, n, text);
}

static inline void show_file(const char *what, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	show_content(what, fd);
	if (fd >= 0)
		close(fd);
}

static inline void enter(enum way way)
{
	battery.way = way;
	snprintf(battery.here, sizeof battery.here, "%.4000s/%s", battery.top, way_names[way]);
	MUST(chdir("/") == 0);
	/* In a directory that nobody may change the caller has made them. */
	MUST(mkdir(battery.here, 0755) == 0 || errno == EEXIST || errno == EROFS);
	if (battery.fd >= 0)
		close(battery.fd);
	battery.fd = open(battery.here, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MUST(battery.fd >= 0);
	unlink(OTHER("into"));
	MUST(symlink(battery.here, OTHER("into")) == 0);
	MUST(chdir(way == RELATIVE ? battery.top : way == INSIDE ? battery.here : battery.other) == 0);
}

/* What every program finds. */
static inline void prepare(void)
{
	make_file(P("file"), "some content");
	make_file(P("script"), "#!/bin/sh\nexit 5\n");
	MUST(chmod(P("script"), 0755) == 0 && mkfifo(P("fifo"), 0644) == 0 && link(P("file"), P("hard")) == 0);
	MUST(symlink("file", P("link")) == 0 && symlink("nowhere", P("dangling")) == 0);
	MUST(mkdir(P("directory"), 0755) == 0 && symlink("directory", P("link_to_directory")) == 0);
	make_file(P("directory/inner"), "inner");
}

/* Runs the calls of one program by every way; with a third argument it prepares only. */
static inline int battery_run(int argc, char **argv, void (*calls)(void))
{
	MUST(argc >= 3 && strlen(argv[1]) < 3000 && strlen(argv[2]) < 3000);
	strcpy(battery.top, argv[1]);
	strcpy(battery.other, argv[2]);
	battery.fd = -1;
	umask(022);
	for (enum way way = ABSOLUTE; way < WAYS; way++) {
		enter(way);
		if (access(P("directory/inner"), F_OK))
			prepare();
		if (argc == 3)
			calls();
		fflush(stdout);
	}
	return 0;
}

#endif
