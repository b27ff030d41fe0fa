/* arena: opening files again and again, by many threads and processes at once, maps nothing new. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { THREADS = 80, PROCESSES = 80, ROUNDS = 4 };

static pthread_barrier_t together;

/* In units of 64 KiB.  Stacks are in it, which the library keeps from round to round. */
static int mapped_slots(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to, total = 0;
	char rights[8];

	CHECK(maps);
	while (fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 && !strcmp(rights, "rw-p") && !strchr(line, '[') &&
		    !strchr(line, '/'))
			total += to - from;
	CHECK(fclose(maps) == 0);
	return (int)(total / 65536);
}

static void *through_gate(void *unused)
{
	int fd;

	pthread_barrier_wait(&together);
	fd = open("gate", O_RDONLY); /* until somebody writes */
	CHECK(fd >= 0);
	CHECK(close(fd) == 0);
	return unused;
}

/* How many slots are mapped once all threads have been held at once. */
static int round_of_threads(void)
{
	pthread_t threads[THREADS];
	int i, fd;

	for (i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, through_gate, NULL) == 0);
	pthread_barrier_wait(&together);
	sleep_ms(200);
	fd = open("gate", O_RDWR);
	CHECK(fd >= 0);
	for (i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(close(fd) == 0);
	return mapped_slots();
}

static void open_one(void)
{
	int fd = open("first", O_RDONLY);

	CHECK(fd >= 0);
	CHECK(close(fd) == 0);
}

/* All are held at once in each round. */
static void child(pthread_barrier_t *shared)
{
	int round, before = 0;

	for (round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(shared);
		open_one();
		if (round == 0)
			before = mapped_slots();
	}
	_exit(mapped_slots() - before);
}

static void processes_in_turn(void)
{
	pthread_barrier_t *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t between_processes;
	int i, status, grown = 0;

	CHECK(shared != MAP_FAILED);
	CHECK(pthread_barrierattr_init(&between_processes) == 0);
	CHECK(pthread_barrierattr_setpshared(&between_processes, PTHREAD_PROCESS_SHARED) == 0);
	CHECK(pthread_barrier_init(shared, &between_processes, PROCESSES) == 0);
	for (i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			child(shared);
	}
	for (i = 0; i < PROCESSES; i++) {
		CHECK(wait(&status) > 0 && WIFEXITED(status));
		grown += WEXITSTATUS(status) != 0;
	}
	printf("processes that grew: %d\n", grown);
}

int main(void)
{
	int first, last = 0, i;

	CHECK(pthread_barrier_init(&together, NULL, THREADS + 1) == 0);
	CHECK(mkfifo("gate", 0600) == 0);
	CHECK(close(open("first", O_CREAT | O_WRONLY, 0600)) == 0);
	open_one();
	round_of_threads();
	first = round_of_threads();
	for (i = 0; i < ROUNDS; i++)
		last = round_of_threads();
	printf("slots mapped by %d rounds: %s\n", ROUNDS, last - first > 8 ? "many" : "none");
	if (last - first > 8)
		printf("WRONG: %d, then %d\n", first, last);
	processes_in_turn();
	return 0;
}
