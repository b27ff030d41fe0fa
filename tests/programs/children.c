/* Children: one after another, as many as the first argument says. With a second argument N, it
 * says so after every N children and waits for a line, for somebody who counts what is left behind. */
#include "check.h"

int main(int argc, char **argv)
{
	int count, pause_every;
	char line[8];

	CHECK(argc >= 2);
	count = atoi(argv[1]);
	pause_every = argc > 2 ? atoi(argv[2]) : 0;
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 1; i <= count; i++) {
		int status;
		pid_t pid = i % 2 ? fork() : vfork();

		CHECK(pid >= 0);
		if (pid == 0)
			_exit(i & 127);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (i & 127));
		if (pause_every && i % pause_every == 0) {
			printf("%d\n", i);
			CHECK(fgets(line, sizeof line, stdin) != NULL);
		}
	}
	printf("%d children\n", count);
	return 0;
}
