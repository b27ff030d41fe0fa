/* storm: a process of many threads is stopped, continued, signalled, and killed at any moment of its calls.
 *
 * Its calls are answered, let through, changed and made sequences; whichever it is, results are right, signals are
 * handled, and it can be killed.  Handlers return, restart calls, and leave by siglongjmp. */
#include "check.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { THREADS = 6, ROUNDS = 30 };

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t may_jump;
static volatile int *wrong;
static volatile int *calls;
static pid_t parent;

static void nothing(int number)
{
	(void)number;
	if (syscall(SYS_getppid) != parent)
		++*wrong;
}

static void jump(int number)
{
	(void)number;
	if (may_jump)
		siglongjmp(back, 1);
}

static void *call_on(void *argument)
{
	const struct timespec moment = {0, 100000};
	int pipes[2];
	char byte;

	(void)argument;
	CHECK(pipe(pipes) == 0);
	for (;;) {
		sigsetjmp(back, 1);
		may_jump = 1;
		nanosleep(&moment, NULL);
		may_jump = 0;
		if (syscall(SYS_getppid) != parent)
			++*wrong;
		if (write(pipes[1], "x", 1) != 1 || read(pipes[0], &byte, 1) != 1 || byte != 'x')
			++*wrong;
		++*calls;
	}
	return NULL;
}

static void child(void)
{
	pthread_t thread;
	int i;

	parent = getppid();
	handle(SIGUSR1, nothing, SA_RESTART);
	handle(SIGUSR2, nothing, SA_RESTART);
	handle(SIGALRM, jump, SA_RESTART); /* without, a notification that nobody has taken yet is EINTR */
	for (i = 1; i < THREADS; i++)
		CHECK(pthread_create(&thread, NULL, call_on, NULL) == 0);
	call_on(NULL);
}

int main(int argc, char **argv)
{
	static const int signals[] = {SIGUSR1, SIGSTOP, SIGCONT, SIGALRM, SIGUSR2, SIGSTOP, SIGCONT, SIGALRM, SIGCONT};
	unsigned seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	int round, i, status, silent = 0;

	calls = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(calls != MAP_FAILED);
	wrong = calls + 64;
	for (round = 0; round < ROUNDS; round++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			child();
		*calls = 0;
		for (i = 0; i < 40; i++) {
			CHECK(kill(pid, signals[rand_r(&seed) % 9]) == 0);
			usleep((useconds_t)(rand_r(&seed) % 1000));
			if (i == 0)
				sleep_ms(5); /* handlers are there by now, or it ends at once */
		}
		CHECK(kill(pid, SIGCONT) == 0);
		CHECK(kill(pid, SIGKILL) == 0);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		silent += *calls == 0 && WTERMSIG(status) == SIGKILL;
	}
	printf("rounds: %d, wrong: %d\n", ROUNDS, *wrong);
	if (*wrong)
		printf("WRONG\n");
	return silent == ROUNDS;
}
