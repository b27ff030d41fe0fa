/* nanosleep: a handler interrupts it, and it tells the time that is left. */
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t handled;

static void on_alarm(int number)
{
	(void)number;
	handled++;
}

static void interrupt_in(int ms)
{
	struct itimerval once = {{0, 0}, {0, ms * 1000L}};

	CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

int main(void)
{
	struct timespec wish = {5, 0}, left = {0, 0}, until;

	handle(SIGALRM, on_alarm, SA_RESTART);
	interrupt_in(60);
	CHECK(nanosleep(&wish, &left) == -1 && errno == EINTR);
	printf("nanosleep: interrupted, %s left\n", left.tv_sec == 4 && left.tv_nsec > 0 ? "four seconds" : "WRONG");
	interrupt_in(60);
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wish, &left) == EINTR);
	printf("clock_nanosleep: interrupted, %s left\n", left.tv_sec == 4 ? "four seconds" : "WRONG");
	CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
	until.tv_sec += 5;
	interrupt_in(60);
	CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == EINTR);
	CHECK(handled == 3);
	puts("absolute: interrupted");
	interrupt_in(60);
	CHECK(sleep(5) >= 4);
	puts("sleep: interrupted");
	return 0;
}
