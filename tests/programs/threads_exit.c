/* Threads: the first one leaves before the others; the process ends with the last one. */
#include "check.h"
#include <pthread.h>

static void *worker(void *argument)
{
	intptr_t which = (intptr_t)argument;

	sleep_ms(40 + 60 * (int)which);
	printf("thread %d leaves\n", (int)which);
	fflush(stdout);
	return NULL;
}

int main(void)
{
	pthread_t thread;

	for (intptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&thread, NULL, worker, (void *)i) == 0);
	puts("the first thread leaves");
	fflush(stdout);
	pthread_exit(NULL);
}
