/* inherit: children, however they are made, stand where their parent stood at that moment. */
#include "check.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>

static const char *places[3];
static char expected[4096];

/* 0 if the current directory is what is expected, by its name and by what is in it. */
static int check_here(void)
{
	char now[4096], name[8192];

	if (!getcwd(now, sizeof now) || strcmp(now, expected))
		return 1;
	snprintf(name, sizeof name, "%s/marker", expected);
	return access("marker", F_OK) != access(name, F_OK) ? 2 : 0;
}

static void go(const char *place)
{
	CHECK(chdir(place) == 0);
	snprintf(expected, sizeof expected, "%s", place);
}

static void ends_well(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, __WALL) == pid);
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status))
		printf("WRONG: %d in %s\n", WEXITSTATUS(status), expected);
}

static void by_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(check_here());
	ends_well(pid);
}

static void by_vfork(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(check_here());
	ends_well(pid);
}

static void by_clone3(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);

	if (pid == 0)
		_exit(check_here());
	ends_well(pid);
}

static void by_spawn(void)
{
	char script[8192], *argv[] = {"sh", "-c", script, NULL}, *env[] = {NULL};
	pid_t pid;

	snprintf(script, sizeof script, "test \"$(/bin/pwd)\" = '%s' || exit 3", expected);
	CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, env) == 0);
	ends_well(pid);
}

static void by_two_forks(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			_exit(check_here());
		ends_well(pid);
		_exit(0);
	}
	ends_well(pid);
}

static void *thread_forks(void *unused)
{
	CHECK(check_here() == 0);
	by_fork();
	return unused;
}

static void by_thread(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, thread_forks, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

/* The thread is where the process goes, whoever goes there. */
static void *thread_goes(void *place)
{
	go(place);
	return NULL;
}

static int shares(void *place)
{
	go(place);
	return 0;
}

static void by_shared_directory(const char *place)
{
	static char stack[65536] __attribute__((aligned(16)));

	ends_well(clone(shares, stack + sizeof stack, CLONE_VM | CLONE_FS | SIGCHLD, (void *)(uintptr_t)place));
	CHECK(check_here() == 0);
}

/* Makes no call before the parent has gone elsewhere. */
static void sleeper(const char *next)
{
	int ready[2];
	char byte;
	pid_t pid;

	CHECK(pipe(ready) == 0);
	pid = fork();
	if (pid == 0) {
		if (read(ready[0], &byte, 1) != 1)
			_exit(9);
		_exit(check_here());
	}
	CHECK(chdir(next) == 0);
	CHECK(write(ready[1], "x", 1) == 1);
	ends_well(pid);
	go(next);
	CHECK(close(ready[0]) == 0 && close(ready[1]) == 0);
}

int main(int argc, char **argv)
{
	static void (*const ways[])(void) = {by_fork, by_vfork, by_clone3, by_two_forks, by_thread, by_fork, by_vfork};
	const int rounds = argc > 4 ? atoi(argv[4]) : 80;
	pthread_t thread;
	int i;

	CHECK(argc > 3);
	for (i = 0; i < 3; i++)
		places[i] = argv[i + 1];
	setvbuf(stdout, NULL, _IONBF, 0);
	for (i = 0; i < rounds; i++) {
		go(places[i % 3]);
		ways[i % 7]();
		if (i % 20 == 0)
			by_spawn();
		sleeper(places[(i + 1) % 3]);
		CHECK(pthread_create(&thread, NULL, thread_goes, (void *)(uintptr_t)places[(i + 2) % 3]) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(check_here() == 0);
		by_fork();
		by_shared_directory(places[i % 3]);
		by_fork();
	}
	printf("%d rounds\n", rounds);
	return 0;
}
