/* Handlers: what signals interrupt and what they do not, while calls that name files come one after another.
 *
 * A child ends, or a timer rings, at every moment of a call; the handler has no SA_RESTART.  What waits is
 * interrupted, all else is not, and sigaction(2) tells what was set. */
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <linux/futex.h>

static volatile sig_atomic_t handled, wrong_state;
static sigjmp_buf back;

static void on_signal(int number)
{
	(void)number;
	handled++;
}

static void on_signal_told(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_signo != number)
		wrong_state++;
	handled++;
}

static void on_signal_leave(int number)
{
	(void)number;
	handled++;
	siglongjmp(back, 1);
}

static void ring_every(int us)
{
	struct itimerval every = {{0, us}, {0, us}};

	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
}

/* What is set is told, and a handler that is put back works. */
static void tells(void)
{
	struct sigaction set = {.sa_handler = on_signal, .sa_flags = SA_NODEFER}, old, again;

	sigaddset(&set.sa_mask, SIGUSR2);
	CHECK(sigaction(SIGUSR1, &set, NULL) == 0);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
	CHECK(old.sa_handler == on_signal && (old.sa_flags & ~0x04000000) == SA_NODEFER);
	CHECK(sigismember(&old.sa_mask, SIGUSR2) == 1 && sigismember(&old.sa_mask, SIGUSR1) == 0);
	set.sa_handler = SIG_IGN;
	CHECK(sigaction(SIGUSR1, &set, &again) == 0);
	CHECK(again.sa_handler == on_signal && !(again.sa_flags & SA_RESTART));
	CHECK(sigaction(SIGUSR1, &again, &old) == 0 && old.sa_handler == SIG_IGN);
	handled = 0;
	CHECK(raise(SIGUSR1) == 0 && handled == 1);
	handle(SIGUSR1, on_signal, SA_RESTART);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
	CHECK(old.sa_handler == on_signal && old.sa_flags & SA_RESTART);
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, 8L, NULL, 8L) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigaction, 99, &set, NULL, 8L) == -1 && errno == EINVAL);
	puts("told");
}

/* What waits is interrupted, once. */
static void interrupted(void)
{
	int ends[2], word = 0;
	char byte;
	struct timespec second = {1, 0};
	pid_t pid;

	CHECK(pipe(ends) == 0);
	handle(SIGALRM, on_signal, 0);
	ring_every(20000);
	CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR);
	CHECK(nanosleep(&second, NULL) == -1 && errno == EINTR);
	CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1 && errno == EINTR);
	ring_every(0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		pause();
		_exit(0);
	}
	ring_every(20000);
	CHECK(wait(NULL) == -1 && errno == EINTR);
	ring_every(0);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
	puts("interrupted");
}

static void nothing_else(const char *name, int rounds)
{
	struct stat status;

	for (int i = 0; i < rounds; i++) {
		int fd;
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(0);
		CHECK(mkdir(name, 0755) == 0);
		CHECK(stat(name, &status) == 0);
		CHECK((fd = open(name, O_RDONLY | O_DIRECTORY)) >= 0);
		CHECK(fstat(fd, &status) == 0 && close(fd) == 0);
		CHECK(rmdir(name) == 0);
		CHECK(access(name, F_OK) == -1 && errno == ENOENT);
		while (waitpid(pid, NULL, 0) != pid)
			CHECK(errno == EINTR);
	}
}

static void leaves(void)
{
	char byte;
	int ends[2];

	CHECK(pipe(ends) == 0);
	handle(SIGALRM, on_signal_leave, SA_NODEFER);
	ring_every(20000);
	for (volatile int i = 0; i < 3; i++)
		if (sigsetjmp(back, 1) == 0) {
			CHECK(read(ends[0], &byte, 1) == -2);
		}
	ring_every(0);
	puts("left");
}

int main(int argc, char **argv)
{
	struct sigaction told = {.sa_sigaction = on_signal_told, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int rounds = argc > 1 ? atoi(argv[1]) : 40;
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};

	tells();
	CHECK(sigaltstack(&stack, NULL) == 0);
	CHECK(sigaction(SIGCHLD, &told, NULL) == 0);
	handled = 0;
	nothing_else("made", rounds);
	printf("children: %s\n", handled >= rounds / 2 ? "enough" : "TOO FEW");
	handle(SIGCHLD, SIG_DFL, 0);
	handle(SIGALRM, on_signal, 0);
	ring_every(700);
	nothing_else("made", rounds);
	ring_every(0);
	leaves();
	interrupted();
	printf("wrong: %d\n", (int)wrong_state);
	return 0;
}
