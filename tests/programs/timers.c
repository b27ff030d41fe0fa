/* Timers: alarm, setitimer, timer_create and timerfd arrive as often as they were set to. */
#include "check.h"
#include <sys/time.h>
#include <sys/timerfd.h>

static volatile sig_atomic_t alarms, ticks;
static volatile int ticked_for;

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

static void on_tick(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	ticks += 1 + info->si_overrun;
	ticked_for = info->si_value.sival_int;
}

static void wait_for(volatile sig_atomic_t *count, int number)
{
	while (*count < number)
		getppid();
}

static void interval_timer(void)
{
	struct itimerval every = {{0, 10000}, {0, 10000}}, off = {{0, 0}, {0, 0}};

	alarms = 0;
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	wait_for(&alarms, 10);
	CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
	puts("setitimer: 10 alarms");
}

static void posix_timer(void)
{
	struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
	struct itimerspec every = {{0, 5000000}, {0, 5000000}};
	timer_t timer;

	CHECK(sigaction(SIGRTMIN, &action, NULL) == 0);
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	CHECK(timer_settime(timer, 0, &every, NULL) == 0);
	wait_for(&ticks, 20);
	CHECK(timer_delete(timer) == 0);
	printf("timer_create: value %d\n", ticked_for);
}

static void timer_descriptor(void)
{
	struct itimerspec once = {{0, 0}, {0, 30000000}};
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t expired;

	CHECK(fd >= 0 && timerfd_settime(fd, 0, &once, NULL) == 0);
	CHECK(read(fd, &expired, sizeof expired) == sizeof expired);
	printf("timerfd: %d\n", (int)expired);
}

int main(void)
{
	int64_t start = now_ms();

	handle(SIGALRM, on_alarm, SA_RESTART);
	alarm(1);
	pause();
	CHECK(alarms == 1 && now_ms() - start >= 990);
	puts("alarm: once");
	interval_timer();
	posix_timer();
	timer_descriptor();
	return 0;
}
