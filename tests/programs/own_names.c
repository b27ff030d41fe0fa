/* own_names: children have the names that their parent had when it made them, while others change theirs. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

enum { RACERS = 4, ROUNDS = 60 };

static void name(const char *text)
{
	CHECK(sethostname(text, strlen(text)) == 0);
}

static int is(const char *text)
{
	struct utsname names;

	CHECK(uname(&names) == 0);
	return !strcmp(names.nodename, text);
}

/* Of the children of a racer each second one gets a namespace of its own, and changes that. */
static void race(int number)
{
	char text[64], other[64];

	CHECK(unshare(CLONE_NEWUTS) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		snprintf(text, sizeof text, "racer-%d-%d", number, round);
		name(text);
		long flags = SIGCHLD | (round % 2 ? CLONE_NEWUTS : 0);
		pid_t child = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
		CHECK(child >= 0);
		if (!child) {
			CHECK(is(text));
			snprintf(other, sizeof other, "child-%d-%d", number, round);
			if (round % 2)
				name(other);
			CHECK(is(round % 2 ? other : text));
			_exit(0);
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		CHECK(is(text));
	}
}

static void *thread(void *unused)
{
	(void)unused;
	race(RACERS);
	return NULL;
}

int main(void)
{
	pthread_t racer;
	pid_t racers[RACERS];

	name("before");
	for (int number = 0; number < RACERS; number++)
		if (!(racers[number] = fork())) {
			race(number);
			_exit(0);
		}
	CHECK(pthread_create(&racer, NULL, thread, NULL) == 0);
	for (int number = 0, status; number < RACERS; number++)
		CHECK(waitpid(racers[number], &status, 0) == racers[number] && status == 0);
	CHECK(pthread_join(racer, NULL) == 0);
	CHECK(is("before"));
	printf("as it should be\n");
	return 0;
}
