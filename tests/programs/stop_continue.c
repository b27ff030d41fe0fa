/* Stops: a parent sees its child stopped and continued, and the child really stands still. */
#include "check.h"
#include <stdatomic.h>
#include <sys/mman.h>

static void report(pid_t child, int options)
{
	int status;

	CHECK(waitpid(child, &status, options) == child);
	if (WIFSTOPPED(status))
		printf("stopped by %d\n", WSTOPSIG(status));
	else if (WIFCONTINUED(status))
		printf("continued\n");
	else if (WIFSIGNALED(status))
		printf("killed by %d\n", WTERMSIG(status));
	else
		printf("ended with %d\n", WEXITSTATUS(status));
}

static void expect_motion(atomic_long *counter, int moving)
{
	long before;

	sleep_ms(20); /* a call under way may still be counted */
	before = atomic_load(counter);
	for (int i = 0; i < (moving ? 100 : 2) && atomic_load(counter) == before; i++)
		sleep_ms(50);
	printf("moving: %s\n", (atomic_load(counter) != before) == moving ? "as expected" : "WRONG");
}

static void on_continue(int number)
{
	(void)number;
}

int main(void)
{
	static const int stops[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
	atomic_long *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	siginfo_t info;
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	CHECK(counter != MAP_FAILED);
	if ((pid = fork()) == 0) {
		setpgid(0, 0); /* a group with a parent outside: an orphaned one ignores SIGTSTP */
		handle(SIGCONT, on_continue, SA_RESTART);
		for (;;) {
			getppid();
			atomic_fetch_add(counter, 1);
		}
	}
	expect_motion(counter, 1);
	for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
		CHECK(kill(pid, stops[i]) == 0);
		report(pid, WUNTRACED);
		expect_motion(counter, 0);
		CHECK(kill(pid, SIGCONT) == 0);
		report(pid, WCONTINUED);
		expect_motion(counter, 1);
	}
	CHECK(kill(pid, SIGSTOP) == 0);
	CHECK(waitid(P_PID, (id_t)pid, &info, WSTOPPED) == 0 && info.si_code == CLD_STOPPED);
	printf("waitid: %d\n", info.si_status);
	CHECK(kill(pid, SIGTERM) == 0);
	CHECK(kill(pid, SIGCONT) == 0);
	report(pid, 0);
	if ((pid = fork()) == 0) {
		raise(SIGSTOP);
		_exit(4);
	}
	report(pid, WUNTRACED);
	CHECK(kill(pid, SIGKILL) == 0);
	report(pid, 0);
	return 0;
}
