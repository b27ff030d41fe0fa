/* execve from a second thread: all others end, and the thread takes the process's number. */
#include "check.h"
#include <pthread.h>
#include <sys/syscall.h>

static char *self;

static void *execute(void *argument)
{
	char number[16];

	(void)argument;
	snprintf(number, sizeof number, "%d", (int)getpid());
	CHECK(syscall(SYS_gettid) != getpid());
	execl("/proc/self/exe", self, number, (char *)NULL);
	CHECK(!"execl returned");
	return NULL;
}

static void *spin(void *argument)
{
	(void)argument;
	for (;;)
		getppid();
	return NULL;
}

static void *sleep_on(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	self = argv[0];
	if (argc == 2) {
		CHECK(atoi(argv[1]) == getpid());
		CHECK(syscall(SYS_gettid) == getpid());
		puts("executed under the same number, by its leader");
		return 11;
	}
	for (int i = 0; i < 3; i++) {
		CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
		CHECK(pthread_create(&thread, NULL, sleep_on, NULL) == 0);
	}
	CHECK(pthread_create(&thread, NULL, execute, NULL) == 0);
	pthread_join(thread, NULL);
	return 98;
}
