/* The auxiliary vector of programs that are executed in all ways there are, with arguments and environments of sizes
 * that move it about. */
#include "check.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

extern char **environ;

static char self[4096];

static void tell(const char *how)
{
	printf("%s: uid %lu, vdso %s, page size %lu\n", how, getauxval(AT_UID),
	       getauxval(AT_SYSINFO_EHDR) ? "there" : "hidden", getauxval(AT_PAGESZ));
	fflush(stdout);
}

static void *execute(void *argument)
{
	(void)argument;
	CHECK(syscall(SYS_gettid) != getpid());
	execl(self, self, "thread", (char *)NULL);
	CHECK(!"execl returned");
	return NULL;
}

static void await(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void with_arguments(int count)
{
	char **many = calloc((size_t)count + 3, sizeof *many);
	char name[32];
	pid_t pid;

	snprintf(name, sizeof name, "%d arguments", count);
	many[0] = self;
	many[1] = name;
	for (int i = 0; i < count; i++)
		many[2 + i] = "x";
	if ((pid = fork()) == 0) {
		execve(self, many, count % 2 ? environ : many + count + 2);
		_exit(127);
	}
	await(pid);
	free(many);
}

int main(int argc, char **argv)
{
	char *spawned[] = {self, "spawned", NULL};
	pthread_t thread;
	pid_t pid;

	if (argc > 1) {
		tell(argv[1]);
		return 0;
	}
	CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
	tell("first");
	if ((pid = vfork()) == 0) {
		execl(self, self, "vfork", (char *)NULL);
		_exit(127);
	}
	await(pid);
	CHECK(posix_spawn(&pid, self, NULL, NULL, spawned, environ) == 0);
	await(pid);
	for (int i = 0; i < 4; i++)
		with_arguments(i);
	with_arguments(700);
	if ((pid = fork()) == 0) {
		CHECK(pthread_create(&thread, NULL, execute, NULL) == 0);
		for (;;)
			pause();
	}
	await(pid);
	return 0;
}
