/* Forks: many processes at once that each fork many times: `fork_many PROCESSES FORKS`. */
#include "check.h"

static void fork_often(int forks, int which)
{
	for (int i = 0; i < forks; i++) {
		int status, expected = (which + i) & 127;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			_exit(expected);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == expected);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int processes, forks, status, ended = 0;

	CHECK(argc == 3);
	processes = atoi(argv[1]);
	forks = atoi(argv[2]);
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			fork_often(forks, i);
	}
	while (wait(&status) > 0) {
		CHECK(status == 0);
		ended++;
	}
	CHECK(errno == ECHILD);
	printf("%d processes, each with %d children\n", ended, forks);
	return 0;
}
