/* Threads: the first one leaves before the others; the process ends with the last one. */
#include "check.h"
#include <pthread.h>

static pthread_t threads[5];

/* Each waits for the one before, so that the order is the same on any machine. */
static void *worker(void *argument)
{
	intptr_t which = (intptr_t)argument;

	CHECK(pthread_join(threads[which], NULL) == 0);
	printf("thread %d leaves\n", (int)which);
	fflush(stdout);
	return NULL;
}

int main(void)
{
	threads[0] = pthread_self();
	for (intptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i + 1], NULL, worker, (void *)i) == 0);
	puts("the first thread leaves");
	fflush(stdout);
	pthread_exit(NULL);
}
