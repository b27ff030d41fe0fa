/* Threads: as many as the argument says, all alive at once, each making a call. */
#include "check.h"
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static pthread_barrier_t everybody;
static atomic_long sum;

static void *worker(void *argument)
{
	pthread_barrier_wait(&everybody);
	CHECK(syscall(SYS_gettid) > 0);
	CHECK(getppid() > 0);
	atomic_fetch_add(&sum, (intptr_t)argument);
	return NULL;
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 100;
	pthread_t *threads = calloc((size_t)count, sizeof *threads);
	pthread_attr_t attributes;

	CHECK(threads != NULL);
	CHECK(pthread_barrier_init(&everybody, NULL, (unsigned)count) == 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * 1024);
	for (intptr_t i = 0; i < count; i++) {
		int failed = pthread_create(&threads[i], &attributes, worker, (void *)i);

		if (failed != 0) {
			printf("thread %d: %s\n", (int)i, strerror(failed));
			return 1;
		}
	}
	for (int i = 0; i < count; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	printf("%d threads, sum %ld\n", count, atomic_load(&sum));
	return 0;
}
