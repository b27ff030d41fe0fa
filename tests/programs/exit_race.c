/* exit_group: ends a process whose threads are making children and threads at that moment. */
#include "check.h"
#include <pthread.h>

static void *forks(void *argument)
{
	(void)argument;
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return NULL;
}

static void *nothing(void *argument)
{
	return argument;
}

static void *spawns(void *argument)
{
	(void)argument;
	for (;;) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, nothing, NULL) == 0)
			pthread_join(thread, NULL);
	}
	return NULL;
}

int main(void)
{
	pthread_t thread;
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int round = 0; round < 10; round++) {
		if ((pid = fork()) == 0) {
			for (int i = 0; i < 3; i++) {
				CHECK(pthread_create(&thread, NULL, forks, NULL) == 0);
				CHECK(pthread_create(&thread, NULL, spawns, NULL) == 0);
			}
			sleep_ms(5 + 7 * round);
			_exit(20 + round);
		}
		wait_and_report("race", pid);
	}
	return 0;
}
