/* Executing: executes what is named on standard input, in every way there is, and says what came of it.
 *
 * Lines are `HOW NAME [ARGUMENT]...`; everything happens in the current directory. */
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/syscall.h>

#include "check.h"

enum { MOST = 30000 };
static char *words[MOST + 2], *environment[] = {"A=b", NULL};

static int exec_at(int fd, const char *name, int flags)
{
	return (int)syscall(SYS_execveat, fd, name, words, environment, flags);
}

static void *exec_in_thread(void *name)
{
	execve(name, words, environment);
	printf("%s\n", strerrorname_np(errno));
	fflush(stdout);
	_exit(0);
}

static int open_directory(void)
{
	int fd = open(".", O_PATH | O_DIRECTORY);

	CHECK(fd >= 0);
	return fd;
}

static int open_file(const char *name, int flags)
{
	int fd = open(name, flags);

	if (fd < 0) {
		printf("open: ");
		return -1;
	}
	return fd;
}

static void by_link(const char *name)
{
	char link[64];
	int fd = open_file(name, O_RDONLY);

	if (fd < 0)
		return;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	execve(link, words, environment);
}

static void by_dev(const char *name)
{
	char link[64];
	int fd = open_file(name, O_RDONLY);

	if (fd < 0)
		return;
	snprintf(link, sizeof link, "/dev/fd/%d", fd);
	execve(link, words, environment);
}

static void being_written(const char *name)
{
	int fd = open_file(name, O_WRONLY);

	if (fd >= 0)
		execve(name, words, environment);
}

static void from_a_thread(const char *name)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, exec_in_thread, (void *)(uintptr_t)name) == 0);
	pthread_join(thread, NULL);
}

static void many_arguments(const char *name)
{
	for (int i = 1; i < MOST; i++)
		words[i] = "word";
	words[MOST] = NULL;
	execve(name, words, environment);
}

static void long_argument(const char *name, size_t size)
{
	words[1] = malloc(size + 1);
	CHECK(words[1]);
	memset(words[1], 'x', size);
	words[1][size] = 0;
	words[2] = NULL;
	execve(name, words, environment);
}

static void in_the_child(const char *how, const char *name)
{
	char absolute[4096];

	if (!strcmp(how, "plain"))
		execve(name, words, environment);
	else if (!strcmp(how, "absolute")) {
		CHECK(getcwd(absolute, sizeof absolute - 256));
		strcat(strcat(absolute, "/"), name);
		execve(absolute, words, environment);
	} else if (!strcmp(how, "dirfd"))
		exec_at(open_directory(), name, 0);
	else if (!strcmp(how, "dirfd-closing"))
		exec_at(open(".", O_PATH | O_CLOEXEC), name, 0);
	else if (!strcmp(how, "nofollow"))
		exec_at(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW);
	else if (!strcmp(how, "badflag"))
		exec_at(AT_FDCWD, name, 0x40);
	else if (!strcmp(how, "fd"))
		exec_at(open_file(name, O_RDONLY), "", AT_EMPTY_PATH);
	else if (!strcmp(how, "fd-closing"))
		exec_at(open_file(name, O_RDONLY | O_CLOEXEC), "", AT_EMPTY_PATH);
	else if (!strcmp(how, "fd-path"))
		exec_at(open_file(name, O_PATH), "", AT_EMPTY_PATH);
	else if (!strcmp(how, "empty"))
		exec_at(open_file(name, O_RDONLY), "", 0);
	else if (!strcmp(how, "link"))
		by_link(name);
	else if (!strcmp(how, "dev"))
		by_dev(name);
	else if (!strcmp(how, "written"))
		being_written(name);
	else if (!strcmp(how, "thread"))
		from_a_thread(name);
	else if (!strcmp(how, "none"))
		execve(name, (char *[]){NULL}, environment);
	else if (!strcmp(how, "null"))
		syscall(SYS_execve, name, NULL, environment);
	else if (!strcmp(how, "many"))
		many_arguments(name);
	else if (!strcmp(how, "long"))
		long_argument(name, 131071);
	else if (!strcmp(how, "toolong"))
		long_argument(name, 131072);
	else
		CHECK(!"known");
	printf("%s\n", strerrorname_np(errno));
	fflush(stdout);
	_exit(0);
}

static void execute(const char *how, const char *name)
{
	pid_t child;

	printf("%s %s: ", how, name);
	fflush(stdout);
	if (!strcmp(how, "spawn")) {
		int error = posix_spawn(&child, name, NULL, NULL, words, environment);
		if (error) {
			printf("%s\n", strerrorname_np(error));
			return;
		}
	} else if (!strcmp(how, "vfork")) {
		child = vfork();
		if (!child) {
			execve(name, words, environment);
			_exit(200);
		}
	} else {
		child = fork();
		if (!child)
			in_the_child(how, name);
	}
	wait_and_report("end", child);
}

int main(void)
{
	char line[8192];

	while (fgets(line, sizeof line, stdin)) {
		char *how = strtok(line, " \n"), *name = strtok(NULL, " \n");
		int count = 1;

		if (!name)
			continue;
		words[0] = "zero";
		while ((words[count] = strtok(NULL, " \n")))
			count++;
		execute(how, name);
	}
	return 0;
}
