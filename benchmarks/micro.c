/* Micro: what single operations cost. It is linked statically, so that it runs in any root.
 *
 * micro MS DIRECTORY [NAME]...    each operation for MS milliseconds on DIRECTORY/f; prints NAME NUMBER
 *
 * Numbers are nanoseconds, the median of ten parts; those of stat_N are calls per second of N processes. */
#include "timing.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;
static char file[4096];
static char page[4096];
static int opened;

static void getppid_once(void)
{
	syscall(SYS_getppid);
}

static void stat_once(void)
{
	struct stat found;

	if (stat(file, &found) != 0)
		give_up(file);
}

static void open_once(void)
{
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		give_up(file);
	close(fd);
}

static void read_once(void)
{
	if (read(opened, page, 1) != 1)
		give_up("read");
}

static void pread_once(void)
{
	if (pread(opened, page, sizeof page, 0) != (ssize_t)sizeof page)
		give_up("pread");
}

static void map_once(void)
{
	volatile char *map = mmap(NULL, sizeof page, PROT_READ, MAP_SHARED, opened, 0);

	if (map == MAP_FAILED)
		give_up("mmap");
	(void)map[0];
	munmap((void *)map, sizeof page);
}

static char *nothing[] = { "true", NULL };

static void spawn_once(void)
{
	pid_t pid;

	if (posix_spawn(&pid, "/bin/true", NULL, NULL, nothing, environ) != 0)
		give_up("posix_spawn");
	end_of(pid);
}

static void fork_exec_once(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		execv("/bin/true", nothing);
		_exit(127);
	}
	if (pid < 0)
		give_up("fork");
	end_of(pid);
}

static void *ends(void *argument)
{
	return argument;
}

static void thread_once(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, ends, NULL) != 0 || pthread_join(thread, NULL) != 0)
		give_up("pthread_create");
}

struct operation {
	const char *name;
	void (*once)(void);
	int batch; /* calls between two looks at the clock */
	const char *opens; /* what `opened` is, NULL for the file */
};

static const struct operation operations[] = {
	{ "getppid", getppid_once, 50, NULL },
	{ "stat", stat_once, 20, NULL },
	{ "open", open_once, 10, NULL },
	{ "read", read_once, 50, "/dev/zero" },
	{ "pread", pread_once, 20, NULL },
	{ "map", map_once, 10, NULL },
	{ "posix_spawn", spawn_once, 1, NULL },
	{ "fork_exec", fork_exec_once, 1, NULL },
	{ "thread", thread_once, 5, NULL },
};

static double part_of(const struct operation *operation, double length)
{
	double start = seconds(), taken;
	long made = 0;

	do {
		for (int i = 0; i < operation->batch; i++)
			operation->once();
		made += operation->batch;
		taken = seconds() - start;
	} while (taken < length);
	return taken / (double)made;
}

static void measure(const struct operation *operation, double length)
{
	double taken[parts];

	opened = open(operation->opens ? operation->opens : file, O_RDONLY);
	if (opened < 0)
		give_up(file);
	for (int part = 0; part < parts; part++)
		taken[part] = part_of(operation, length / parts);
	close(opened);
	printf("%s %.1f\n", operation->name, median(taken, parts) * 1e9);
}

/* Processes that start together and call stat for the same time; the sum of what they have done. */
static void measure_together(int processes, double length)
{
	long *made = mmap(NULL, (size_t)processes * 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double start = seconds() + 0.03, sum = 0;
	pid_t pids[16];

	if (made == MAP_FAILED)
		give_up("mmap");
	for (int i = 0; i < processes; i++) {
		if ((pids[i] = fork()) < 0)
			give_up("fork");
		if (pids[i] != 0)
			continue;
		while (seconds() < start)
			;
		for (; seconds() < start + length; made[i * 8] += 20)
			for (int j = 0; j < 20; j++)
				stat_once();
		_exit(0);
	}
	for (int i = 0; i < processes; i++)
		end_of(pids[i]);
	for (int i = 0; i < processes; i++)
		sum += (double)made[i * 8];
	munmap(made, (size_t)processes * 64);
	printf("stat_%d %.0f\n", processes, sum / length);
}

static bool wanted(const char *name, char **names)
{
	for (char **each = names; *each; each++)
		if (strcmp(*each, name) == 0)
			return true;
	return *names == NULL;
}

static void measure_all(double length, char **names)
{
	static const int together[] = { 1, 2, 4 };
	char name[16];

	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		if (wanted(operations[i].name, names))
			measure(&operations[i], length);
	for (size_t i = 0; i < sizeof together / sizeof *together; i++) {
		snprintf(name, sizeof name, "stat_%d", together[i]);
		if (wanted(name, names))
			measure_together(together[i], length);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3) {
		fputs("usage: micro MS DIRECTORY [NAME]...\n", stderr);
		return 2;
	}
	snprintf(file, sizeof file, "%s/f", argv[2]);
	measure_all(atof(argv[1]) / 1000, argv + 3);
	return 0;
}
