/* getpid: called as often as the argument says; tells how many answers there were, and the last. */
#include "check.h"
#include <sys/syscall.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, answers = 0;
	long last = 0;

	for (int i = 0; i < count; i++) {
		long answer = syscall(SYS_getpid);

		answers += answer != last;
		last = answer;
	}
	printf("%d different, last %ld\n", answers, last);
	return 0;
}
