/* posix_spawn: with a redirected output, a new group and signals set back; and its failure. */
#include "check.h"
#include <fcntl.h>
#include <spawn.h>

extern char **environ;

int main(void)
{
	char *argv[] = {"sh", "-c", "cat; echo spawned; exit 6", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all;
	pid_t pid;
	int failed;

	setvbuf(stdout, NULL, _IONBF, 0);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigdefault(&attributes, &all);
	CHECK(posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environ) == 0);
	wait_and_report("sh", pid);
	for (int i = 0; i < 20; i++) {
		char *quiet[] = {"true", NULL};
		int status;

		CHECK(posix_spawnp(&pid, "true", NULL, NULL, quiet, environ) == 0);
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	failed = posix_spawn(&pid, "/nowhere/at/all", NULL, NULL, argv, environ);
	printf("not found: %s\n", strerror(failed));
	return 0;
}
