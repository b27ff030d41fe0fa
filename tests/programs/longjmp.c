/* siglongjmp: leaves an interrupted call for good, a hundred times. */
#include "check.h"
#include <setjmp.h>
#include <sys/time.h>

static sigjmp_buf away;

static void on_alarm(int number)
{
	(void)number;
	siglongjmp(away, 1);
}

int main(void)
{
	struct itimerval soon = {{0, 0}, {0, 3000}};
	volatile int jumps = 0;
	int ends[2];
	char byte;

	CHECK(pipe(ends) == 0);
	handle(SIGALRM, on_alarm, SA_RESTART);
	while (jumps < 100) {
		if (sigsetjmp(away, 1) != 0) {
			jumps++;
			CHECK(write(ends[1], "x", 1) == 1);
			CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
			continue;
		}
		CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
		CHECK(read(ends[0], &byte, 1) == -2); /* never returns */
	}
	printf("%d jumps\n", jumps);
	return 0;
}
