/* Waits of all sorts, each for so many seconds of this program's time: none may end before, and all are told. */
#include "check.h"
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static int seconds;
static volatile sig_atomic_t rung;

static void ring(int number)
{
	(void)number;
	rung = 1;
}

static struct timespec after(clockid_t clock)
{
	struct timespec now;

	CHECK(clock_gettime(clock, &now) == 0);
	now.tv_sec += seconds;
	return now;
}

static struct timespec duration(void)
{
	struct timespec out = {seconds, 0};

	return out;
}

static void by_nanosleep(void)
{
	struct timespec time = duration();

	CHECK(nanosleep(&time, NULL) == 0);
}

static void by_clock_nanosleep(void)
{
	struct timespec time = duration();

	CHECK(clock_nanosleep(CLOCK_BOOTTIME, 0, &time, NULL) == 0);
}

static void until_monotonic(void)
{
	struct timespec time = after(CLOCK_MONOTONIC);

	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == 0);
}

static void until_realtime(void)
{
	struct timespec time = after(CLOCK_REALTIME);

	CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &time, NULL) == 0);
}

static void until_tai(void)
{
	struct timespec time = after(CLOCK_TAI);

	CHECK(clock_nanosleep(CLOCK_TAI, TIMER_ABSTIME, &time, NULL) == 0);
}

static void by_poll(void)
{
	CHECK(poll(NULL, 0, seconds * 1000) == 0);
}

static void by_ppoll(void)
{
	struct timespec time = duration();

	CHECK(ppoll(NULL, 0, &time, NULL) == 0);
}

static void by_select(void)
{
	struct timeval time = {seconds, 0};
	int pipes[2];
	fd_set set;

	CHECK(pipe(pipes) == 0);
	FD_ZERO(&set);
	FD_SET(pipes[0], &set);
	CHECK(select(pipes[0] + 1, &set, NULL, NULL, &time) == 0 && !FD_ISSET(pipes[0], &set));
	CHECK(time.tv_sec == 0 && time.tv_usec == 0);
	close(pipes[0]);
	close(pipes[1]);
}

static void by_pselect(void)
{
	struct timespec time = duration();

	CHECK(pselect(0, NULL, NULL, NULL, &time, NULL) == 0);
}

static void by_epoll(void)
{
	int fd = epoll_create1(0);
	struct epoll_event event;

	CHECK(epoll_wait(fd, &event, 1, seconds * 1000) == 0);
	close(fd);
}

static void by_futex(void)
{
	struct timespec time = duration();
	int word = 0;

	CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0) == -1 && errno == ETIMEDOUT);
}

static void by_condition(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition;
	pthread_condattr_t attributes;
	struct timespec time;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&condition, &attributes);
	pthread_mutex_lock(&mutex);
	time = after(CLOCK_MONOTONIC);
	CHECK(pthread_cond_timedwait(&condition, &mutex, &time) == ETIMEDOUT);
	pthread_mutex_unlock(&mutex);
}

static void by_semaphore(void)
{
	struct timespec time = after(CLOCK_REALTIME);
	sem_t semaphore;

	sem_init(&semaphore, 0, 0);
	CHECK(sem_timedwait(&semaphore, &time) == -1 && errno == ETIMEDOUT);
}

static void by_old_semaphore(void)
{
	struct timespec time = duration();
	struct sembuf down = {0, -1, 0};
	int id = semget(IPC_PRIVATE, 1, 0600);

	CHECK(id >= 0);
	CHECK(semtimedop(id, &down, 1, &time) == -1 && errno == EAGAIN);
	CHECK(semctl(id, 0, IPC_RMID) == 0);
}

static void by_queue(void)
{
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
	struct timespec time = after(CLOCK_REALTIME);
	char name[32], text[8];
	mqd_t queue;

	snprintf(name, sizeof name, "/waits-%d", (int)getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
	CHECK(queue != (mqd_t)-1);
	CHECK(mq_unlink(name) == 0);
	CHECK(mq_timedreceive(queue, text, sizeof text, NULL, &time) == -1 && errno == ETIMEDOUT);
	mq_close(queue);
}

static void by_sigtimedwait(void)
{
	struct timespec time = duration();
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(sigtimedwait(&set, NULL, &time) == -1 && errno == EAGAIN);
}

static void await_ring(void)
{
	sigset_t alarm_only, before;

	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm_only, &before);
	sigdelset(&before, SIGALRM);
	while (!rung)
		sigsuspend(&before);
	sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
	rung = 0;
}

static void by_alarm(void)
{
	alarm((unsigned)seconds * 4);
	CHECK(alarm((unsigned)seconds) >= (unsigned)seconds);
	await_ring();
}

static void by_itimer(void)
{
	struct itimerval timer = {{0, 0}, {seconds, 0}}, left;

	CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
	CHECK(getitimer(ITIMER_REAL, &left) == 0 && left.it_value.tv_sec <= seconds);
	await_ring();
}

static void by_timer(void)
{
	struct itimerspec timer = {{0, 0}, {seconds, 0}}, left;
	timer_t id;

	CHECK(timer_create(CLOCK_MONOTONIC, NULL, &id) == 0);
	CHECK(timer_settime(id, 0, &timer, NULL) == 0);
	CHECK(timer_gettime(id, &left) == 0 && left.it_value.tv_sec <= seconds);
	await_ring();
	timer_delete(id);
}

static void by_timer_until(void)
{
	struct itimerspec timer = {.it_value = after(CLOCK_REALTIME)};
	timer_t id;

	CHECK(timer_create(CLOCK_REALTIME, NULL, &id) == 0);
	CHECK(timer_settime(id, TIMER_ABSTIME, &timer, NULL) == 0);
	await_ring();
	timer_delete(id);
}

static void read_timer(clockid_t clock, int flags, struct itimerspec timer)
{
	int fd = timerfd_create(clock, 0);
	struct itimerspec left;
	uint64_t count;

	CHECK(fd >= 0 && timerfd_settime(fd, flags, &timer, NULL) == 0);
	CHECK(timerfd_gettime(fd, &left) == 0 && left.it_value.tv_sec <= seconds);
	CHECK(read(fd, &count, sizeof count) == sizeof count && count >= 1);
	close(fd);
}

static void by_timerfd(void)
{
	read_timer(CLOCK_MONOTONIC, 0, (struct itimerspec){.it_value = duration()});
}

static void by_timerfd_until(void)
{
	read_timer(CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, (struct itimerspec){.it_value = after(CLOCK_BOOTTIME)});
}

static void by_socket(void)
{
	struct timeval time = {seconds, 0}, told;
	socklen_t size = sizeof told;
	int pair[2];
	char one;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
	CHECK(getsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &told, &size) == 0 && size == sizeof told);
	CHECK(told.tv_sec == seconds && told.tv_usec < 100000);
	CHECK(recv(pair[0], &one, 1, 0) == -1 && errno == EAGAIN);
	close(pair[0]);
	close(pair[1]);
}

static const struct {
	const char *name;
	void (*wait)(void);
} waits[] = {
	{"nanosleep", by_nanosleep},
	{"clock_nanosleep", by_clock_nanosleep},
	{"until a time, monotonic", until_monotonic},
	{"until a time, realtime", until_realtime},
	{"until a time, tai", until_tai},
	{"poll", by_poll},
	{"ppoll", by_ppoll},
	{"select", by_select},
	{"pselect", by_pselect},
	{"epoll_wait", by_epoll},
	{"futex", by_futex},
	{"condition variable", by_condition},
	{"semaphore", by_semaphore},
	{"semtimedop", by_old_semaphore},
	{"message queue", by_queue},
	{"sigtimedwait", by_sigtimedwait},
	{"alarm", by_alarm},
	{"setitimer", by_itimer},
	{"timer", by_timer},
	{"timer until a time", by_timer_until},
	{"timerfd", by_timerfd},
	{"timerfd until a time", by_timerfd_until},
	{"socket", by_socket},
};

int main(int argc, char **argv)
{
	int64_t most;

	seconds = argc > 1 ? atoi(argv[1]) : 1;
	most = seconds * (int64_t)1000 * (argc > 2 ? atoi(argv[2]) : 30);
	handle(SIGALRM, ring, 0);
	for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
		int64_t before = now_ms(), took;

		waits[i].wait();
		took = now_ms() - before;
		printf("%s: %s\n", waits[i].name, took < seconds * 1000 - 1 ? "too short" : took < most ? "waited" : "too long");
		fflush(stdout);
	}
	return 0;
}
