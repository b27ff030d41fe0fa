/* The three calls of the vsyscall page, which programs of long ago make without the kernel's knowing (vsyscall(7)). */
#include "check.h"
#include <setjmp.h>
#include <sys/time.h>

static sigjmp_buf fault;

static void faulted(int number)
{
	(void)number;
	siglongjmp(fault, 1);
}

int main(void)
{
	int (*day)(struct timeval *, void *) = (int (*)(struct timeval *, void *))0xffffffffff600000;
	time_t (*seconds)(time_t *) = (time_t (*)(time_t *))0xffffffffff600400;
	struct timeval now;
	time_t told;

	handle(SIGSEGV, faulted, 0);
	if (sigsetjmp(fault, 1)) {
		puts("no page");
		return 0;
	}
	CHECK(seconds(&told) == told);
	CHECK(day(&now, NULL) == 0);
	printf("%lld %lld\n", (long long)told, (long long)now.tv_sec);
	return 0;
}
