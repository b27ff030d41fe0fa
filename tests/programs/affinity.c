/* Affinity: masks of CPUs are what the program made them, however often it stops.
 *
 * affinity WORD...: each word is one check, done after a burst of calls that a view stops. Prints a line for each. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { bursts = 800, room = 1024 };

static cpu_set_t all;
static int lowest = -1, highest, count;
static char name[64];

static void burst(void)
{
	for (int i = 0; i < bursts; i++)
		syscall(SYS_getppid);
}

static cpu_set_t only(int cpu)
{
	cpu_set_t mask;

	CPU_ZERO(&mask);
	CPU_SET((size_t)cpu, &mask);
	return mask;
}

static cpu_set_t mask_of(pid_t tid)
{
	cpu_set_t mask;

	CPU_ZERO(&mask);
	CHECK(syscall(SYS_sched_getaffinity, tid, sizeof mask, &mask) > 0);
	return mask;
}

static int is(pid_t tid, cpu_set_t wanted)
{
	cpu_set_t have = mask_of(tid);

	return CPU_EQUAL(&have, &wanted);
}

static void set(pid_t tid, cpu_set_t mask)
{
	CHECK(syscall(SYS_sched_setaffinity, tid, sizeof mask, &mask) == 0);
}

static void check_self(void)
{
	for (int i = 0; i < 10; i++) {
		cpu_set_t one = only(i % 2 ? lowest : highest);

		burst();
		CHECK(is(0, all));
		CHECK(is(getpid(), all));
		set(i % 3 ? 0 : getpid(), one);
		CHECK(sched_getcpu() == (i % 2 ? lowest : highest));
		CHECK(is(0, one));
		burst();
		CHECK(is(0, one));
		CHECK(sched_getcpu() == (i % 2 ? lowest : highest));
		set(0, all);
	}
	burst();
	CHECK(is(0, all));
}

static pid_t fork_checked(cpu_set_t mine)
{
	pid_t child = fork();

	if (child == 0) {
		CHECK(is(0, mine));
		burst();
		CHECK(is(0, mine));
		_exit(0);
	}
	return child;
}

static pid_t vfork_checked(cpu_set_t mine)
{
	pid_t child = vfork();

	if (child == 0)
		_exit(is(0, mine) ? 0 : 1);
	return child;
}

static void check_inheritance(void)
{
	for (int i = 0; i < 20; i++) {
		cpu_set_t mine = i % 2 ? all : only(highest);
		pid_t child;
		int status;

		set(0, mine);
		burst();
		child = i % 4 < 2 ? fork_checked(mine) : vfork_checked(mine);
		CHECK(child > 0);
		CHECK(is(child, mine));
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	set(0, all);
}

static void check_exec(char **argv)
{
	char mode[] = "mask";
	char *again[] = {argv[0], mode, NULL};
	pid_t child;

	burst();
	child = fork();
	if (child == 0) {
		set(0, only(lowest));
		burst();
		execv("/proc/self/exe", again);
		_exit(98);
	}
	wait_and_report("exec", child);
}

static _Atomic int stop;
static _Atomic pid_t thread_tid;

static void *spin(void *argument)
{
	(void)argument;
	thread_tid = (pid_t)syscall(SYS_gettid);
	while (!stop)
		burst();
	return NULL;
}

static void check_other(void)
{
	pthread_t thread;

	stop = 0;
	thread_tid = 0;
	CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
	while (!thread_tid)
		sched_yield();
	for (int i = 0; i < 40; i++) {
		cpu_set_t one = only(i % 4 ? lowest : highest);

		CHECK(is(thread_tid, all));
		CHECK(is(thread_tid, all));
		set(thread_tid, one);
		CHECK(is(thread_tid, one));
		CHECK(is(0, all));
		sleep_ms(i % 5);
		CHECK(is(thread_tid, one));
		set(thread_tid, all);
		sleep_ms(i % 20);
	}
	stop = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

static void *exec_other(void *argument)
{
	char mode[] = "mask";
	char *again[] = {argument, mode, NULL};

	burst();
	set(0, only(lowest));
	burst();
	execv("/proc/self/exe", again);
	return NULL;
}

static void check_exec_from_thread(char **argv)
{
	pid_t child = fork();
	pthread_t thread;

	if (child == 0) {
		burst();
		CHECK(pthread_create(&thread, NULL, exec_other, argv[0]) == 0);
		for (;;)
			burst();
	}
	wait_and_report("exec from a thread", child);
}

static void fails(long (*call)(pid_t, size_t, void *), pid_t pid, size_t size, void *mask, int error)
{
	errno = 0;
	CHECK(call(pid, size, mask) == -1);
	CHECK(errno == error);
}

static long raw_get(pid_t pid, size_t size, void *mask)
{
	return syscall(SYS_sched_getaffinity, pid, size, mask);
}

static long raw_set(pid_t pid, size_t size, void *mask)
{
	return syscall(SYS_sched_setaffinity, pid, size, mask);
}

static void check_arguments(void)
{
	unsigned char mask[room];
	cpu_set_t none;
	long size;
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	CHECK(waitpid(gone, NULL, 0) == gone);
	burst();
	memset(mask, 0xff, sizeof mask);
	size = raw_get(0, sizeof mask, mask);
	CHECK(size > 0 && size % (long)sizeof(long) == 0);
	CHECK(mask[size] == 0xff); /* not written */
	printf("size %ld\n", size);
	fails(raw_get, 0, 0, mask, EINVAL);
	fails(raw_get, 0, sizeof(long) + 1, mask, EINVAL);
	fails(raw_get, 0, sizeof mask, NULL, EFAULT);
	fails(raw_get, -1, sizeof mask, mask, ESRCH);
	fails(raw_get, gone, sizeof mask, mask, ESRCH);
	fails(raw_set, gone, sizeof all, &all, ESRCH);
	fails(raw_set, 0, sizeof all, NULL, EFAULT);
	fails(raw_set, -1, sizeof all, &all, ESRCH);
	CPU_ZERO(&none);
	fails(raw_set, 0, sizeof none, &none, EINVAL);
	CPU_SET(CPU_SETSIZE - 1, &none); /* none of those that exist */
	fails(raw_set, 0, sizeof none, &none, EINVAL);
	if (geteuid() != 0)
		fails(raw_set, 1, sizeof all, &all, EPERM);
	memset(mask, 0xff, sizeof mask); /* only those that exist */
	CHECK(raw_set(0, sizeof mask, mask) == 0);
	CHECK(raw_set(0, 1, mask) == 0); /* shorter than a word: the rest is zero */
	set(0, all);
	burst();
	CHECK(is(0, all));
}

/* The calls of the other ABI, on memory that it reaches. */
static void check_i386(void)
{
#ifdef __x86_64__
	cpu_set_t *mask = mmap(NULL, sizeof *mask, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result;

	CHECK(mask != MAP_FAILED);
	for (int i = 0; i < 4; i++) {
		burst();
		memset(mask, 0, sizeof *mask);
		__asm__ volatile("int $0x80" : "=a"(result) : "a"(242), "b"(0), "c"(sizeof *mask), "d"(mask) : "memory", "r8", "r9", "r10", "r11");
		if (result == -ENOSYS)
			break;
		CHECK(result > 0);
		CHECK(CPU_EQUAL(mask, &all));
		*mask = only(highest);
		__asm__ volatile("int $0x80" : "=a"(result) : "a"(241), "b"(0), "c"(sizeof *mask), "d"(mask) : "memory", "r8", "r9", "r10", "r11");
		CHECK(result == 0);
		burst();
		CHECK(is(0, only(highest)));
		set(0, all);
	}
#endif
}

static void show_mask(void)
{
	cpu_set_t mine = mask_of(0);

	burst();
	CHECK(is(0, mine));
	printf("%d CPUs, the first of all: %d\n", CPU_COUNT(&mine), CPU_ISSET(0, &mine));
}

int main(int argc, char **argv)
{
	all = mask_of(0);
	count = CPU_COUNT(&all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, &all)) {
			lowest = lowest < 0 ? cpu : lowest;
			highest = cpu;
		}
	for (int i = 1; i < argc; i++) {
		snprintf(name, sizeof name, "%s", argv[i]);
		if (!strcmp(name, "mask"))
			show_mask();
		else if (!strcmp(name, "self"))
			check_self();
		else if (!strcmp(name, "inheritance"))
			check_inheritance();
		else if (!strcmp(name, "exec"))
			check_exec(argv);
		else if (!strcmp(name, "other"))
			check_other();
		else if (!strcmp(name, "exec-from-thread"))
			check_exec_from_thread(argv);
		else if (!strcmp(name, "arguments"))
			check_arguments();
		else if (!strcmp(name, "i386"))
			check_i386();
		else
			return 2;
		printf("%s: as it should be, %d CPUs\n", name, count);
		fflush(stdout);
	}
	return 0;
}
