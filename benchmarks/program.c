/* Program: what is run and measured. It is linked statically, so that it runs in any root.
 *
 * program loop CALL TIMES               makes getppid, openat (and close) or fork; prints nanoseconds per call
 * program time TIMES COMMAND [ARG]...   runs a command; prints "time" and the nanoseconds that one run takes
 * program hold KIND FEW MANY FILE       makes FEW threads or children, then MANY more; says so, and waits, after each
 *
 * Times are medians of ten parts, or of the runs. */
#include "timing.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { most_runs = 1000, small_stack = 64 * 1024 };

extern char **environ;
static const char *file;

static void getppid_once(void)
{
	syscall(SYS_getppid);
}

static void openat_once(void)
{
	long fd = syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);

	if (fd > 2)
		close((int)fd);
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		give_up("fork");
	end_of(pid);
}

static int loop(const char *call, int times)
{
	void (*once)(void) = strcmp(call, "fork") == 0 ? fork_once : strcmp(call, "openat") == 0 ? openat_once : getppid_once;
	int each = (times + parts - 1) / parts;
	double taken[parts];

	for (int part = 0; part < parts; part++) {
		double start = seconds();

		for (int i = 0; i < each; i++)
			once();
		taken[part] = (seconds() - start) / each;
	}
	printf("%.1f\n", median(taken, parts) * 1e9);
	return 0;
}

static int time_command(int times, char **command)
{
	double taken[most_runs];
	int status;
	pid_t pid;

	times = times > most_runs ? most_runs : times;
	for (int i = 0; i < times; i++) {
		double start = seconds();

		if (posix_spawnp(&pid, command[0], NULL, NULL, command, environ) != 0)
			give_up(command[0]);
		if (waitpid(pid, &status, 0) != pid)
			give_up("waitpid");
		taken[i] = seconds() - start;
		if (status != 0)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	printf("time %.1f\n", median(taken, times) * 1e9);
	return 0;
}

static void stat_once(void)
{
	struct stat found;

	if (stat(file, &found) != 0)
		give_up(file);
}

/* A thread that has been seen by whoever watches, and stays. */
static void *stays(void *reached)
{
	stat_once();
	pthread_barrier_wait(reached);
	pause();
	return NULL;
}

static void make_threads(int count)
{
	pthread_barrier_t reached;
	pthread_attr_t small;
	pthread_t thread;

	pthread_barrier_init(&reached, NULL, 2);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, small_stack);
	for (int i = 0; i < count; i++) {
		if (pthread_create(&thread, &small, stays, &reached) != 0)
			give_up("pthread_create");
		pthread_barrier_wait(&reached);
	}
}

static void make_children(int count)
{
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			stat_once();
			_exit(0);
		}
		if (pid < 0)
			give_up("fork");
		end_of(pid);
	}
}

static int hold(const char *kind, int few, int many)
{
	void (*make)(int) = strcmp(kind, "threads") == 0 ? make_threads : make_children;
	char line[16];

	stat_once();
	for (int step = 0; step < 2; step++) {
		make(step == 0 ? few : many);
		puts("made");
		if (!fgets(line, sizeof line, stdin))
			break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "loop") == 0)
		return loop(argv[2], atoi(argv[3]));
	if (argc > 3 && strcmp(argv[1], "time") == 0)
		return time_command(atoi(argv[2]), argv + 3);
	if (argc == 6 && strcmp(argv[1], "hold") == 0) {
		file = argv[5];
		return hold(argv[2], atoi(argv[3]), atoi(argv[4]));
	}
	fputs("usage: program loop|time|hold ARG...\n", stderr);
	return 2;
}
