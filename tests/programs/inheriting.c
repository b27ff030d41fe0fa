/* Inheriting: threads that each change their identity and make children, `inheriting THREADS CHILDREN`.
 *
 * A child must be who its maker was when it was made, whatever the maker and others of its threads have become since.
 * Identities belong to threads, so this uses the system calls: the C library would change all threads at once. */
#include "check.h"

#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define STACK (64 << 10)

static int children_each;
static const char *self;

static void become(unsigned user)
{
	/* Only root may be anybody. */
	CHECK(syscall(SYS_setresuid, -1, 0, -1) == 0);
	CHECK(syscall(SYS_setresgid, -1, user + 7, -1) == 0);
	CHECK(syscall(SYS_setresuid, -1, user, -1) == 0);
}

static int is(unsigned user)
{
	unsigned real, effective, saved;

	if (syscall(SYS_geteuid) != user || syscall(SYS_getegid) != user + 7)
		return 0;
	return !syscall(SYS_getresuid, &real, &effective, &saved) && !real && effective == user && !saved;
}

static void *in_thread(void *user)
{
	return is((unsigned)(uintptr_t)user) ? user : NULL;
}

static int in_clone(void *user)
{
	return !is((unsigned)(uintptr_t)user);
}

static pid_t make(int how, unsigned user, char *stack)
{
	char number[16];

	if (how == 0) {
		pid_t child = vfork();
		if (!child)
			_exit(!is(user));
		return child;
	}
	if (how == 1)
		return clone(in_clone, stack + STACK, CLONE_FS | CLONE_FILES | SIGCHLD, (void *)(uintptr_t)user);
	pid_t child = fork();
	if (child)
		return child;
	if (how != 2)
		_exit(!is(user));
	snprintf(number, sizeof number, "%u", user);
	execl(self, self, "is", number, NULL);
	_exit(127);
}

static void *walk(void *argument)
{
	unsigned user = 1000 * (unsigned)(1 + (uintptr_t)argument);
	char *stack = malloc(STACK);
	pthread_t thread;
	void *found;
	int status;

	for (int i = 0; i < children_each; i++) {
		become(++user);
		if (i % 5 == 4) {
			CHECK(pthread_create(&thread, NULL, in_thread, (void *)(uintptr_t)user) == 0);
			become(user + 1);
			CHECK(pthread_join(thread, &found) == 0);
			CHECK(found);
		} else {
			pid_t child = make(i % 5, user, stack);
			CHECK(child > 0);
			become(user + 1);
			CHECK(waitpid(child, &status, __WALL) == child);
			CHECK(status == 0);
		}
		become(0);
	}
	free(stack);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	int count;

	if (argc == 3 && !strcmp(argv[1], "is"))
		return !(geteuid() == (unsigned)atoi(argv[2]) && getegid() == geteuid() + 7 && getuid() == 0);
	CHECK(argc == 3);
	count = atoi(argv[1]);
	children_each = atoi(argv[2]);
	self = argv[0];
	CHECK(count <= 64);
	for (int i = 0; i < count; i++)
		CHECK(pthread_create(&threads[i], NULL, walk, (void *)(uintptr_t)i) == 0);
	for (int i = 0; i < count; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	printf("%d children are who their makers were\n", count * children_each);
	return 0;
}
