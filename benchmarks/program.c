/* Program: makes one call in a loop and prints nanoseconds per call, the median of ten parts.
 *
 * program CALL TIMES, where CALL is getppid, openat (and close) or fork. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { parts = 10 };

static void call_getppid(void)
{
	syscall(SYS_getppid);
}

static void call_openat(void)
{
	long fd = syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);

	if (fd > 2)
		close((int)fd);
}

static void call_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		abort();
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	double taken[parts];
	void (*call)(void);
	int each;

	if (argc != 3)
		return 2;
	call = strcmp(argv[1], "fork") == 0 ? call_fork : strcmp(argv[1], "openat") == 0 ? call_openat : call_getppid;
	each = (atoi(argv[2]) + parts - 1) / parts;
	for (int part = 0; part < parts; part++) {
		double start = seconds();

		for (int i = 0; i < each; i++)
			call();
		taken[part] = (seconds() - start) / each;
	}
	qsort(taken, parts, sizeof *taken, compare);
	printf("%.1f\n", taken[parts / 2] * 1e9);
	return 0;
}
