/* crowd: many threads wait in one call at once, and all get their own result. */
#include "check.h"

#include <pthread.h>

static int pipes[2];
static pthread_barrier_t together;

static void *reads(void *unused)
{
	char byte;

	pthread_barrier_wait(&together);
	CHECK(read(pipes[0], &byte, 1) == 1 && byte == 'x');
	return unused;
}

int main(int argc, char **argv)
{
	int i, count = argc > 1 ? atoi(argv[1]) : 100;
	pthread_t *threads = calloc((size_t)count, sizeof *threads);
	pthread_attr_t small;

	CHECK(threads);
	CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 65536) == 0);
	CHECK(pipe(pipes) == 0);
	CHECK(pthread_barrier_init(&together, NULL, (unsigned)count + 1) == 0);
	for (i = 0; i < count; i++)
		CHECK(pthread_create(&threads[i], &small, reads, NULL) == 0);
	pthread_barrier_wait(&together);
	sleep_ms(100);
	for (i = 0; i < count; i++)
		CHECK(write(pipes[1], "x", 1) == 1);
	for (i = 0; i < count; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	printf("%d threads\n", count);
	return 0;
}
