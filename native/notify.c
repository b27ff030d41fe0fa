/* notify.c - calls that come by seccomp user notification: receive, settle or tell, answer.
 *
 * A program's filter has one listener, and all that descends from the program queues at it.  What the
 * arrangement of workers follows from was measured (2 CPUs): with SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP and one
 * thread waiting, a call costs 4 us wherever the scheduler puts things; without the flag 40, unless there are
 * as many busy tracees as CPUs, and then the flag costs, because it gathers all on one CPU.  Each further
 * thread that waits without need makes every call dearer.  So:
 *
 *   receiver   waits in the kernel; there are `wanted` of them, one as long as the program is not parallel.
 *              It settles what C can settle and goes on receiving.
 *   away       has taken a call to Python.
 *   follower   waits for a receiver to be away for longer than a tick, then steps in.  Waking it at once
 *              would cost more than most answers take; sleeping for good would let one blocking handler stop
 *              the whole program.  Followers that nobody has needed for a while sleep deeply, and end.
 *
 * What C decides it may have to wait for too: for a file system that asks another machine, or a program.  Then the
 * receiver steps aside before (decide_wait.c), and takes its place again, or another's, when it has answered.
 *
 * A notification's cookie names it to the kernel: once the thread is gone every use of the cookie fails, so
 * what was decided from a recycled thread id's memory goes nowhere.
 *
 * While a thread is promoted (promote.c) its guardian has decided each of its calls at the entry stop, which
 * comes first; its notifications are let through. */
#include "listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_US = 500,
    WATCH_TICKS = 60,  /* quiet ticks after which a follower sleeps deeply */
    SLEEP_S = 5,       /* after which a follower that is one too many ends */
    WINDOW = 64,       /* notifications over which parallelism is judged */
    PARALLEL_AT = 16,  /* changes of thread in a window that tell of more than one busy tracee */
    PARALLEL_FOR = 2,  /* windows with such a sign, less those without, before it is believed */
    PARALLEL_MOST = 6,
    GIVING_SLOW_NS = 20000,
    GIVING_TRY = 64
};

/* ---- answers --------------------------------------------------------------------------------- */

static int gone(int error) { return error == ENOENT || error == EINPROGRESS ? -ESRCH : -error; }

int dio_listener_give(struct dio_listener *l, uint64_t cookie, int fd, uint32_t fd_flags) {
    struct seccomp_notif_addfd add = {.id = cookie, .srcfd = (uint32_t)fd, .newfd_flags = fd_flags};
    int number = ioctl(l->fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    return number < 0 ? gone(errno) : number;
}

int dio_listener_valid(const struct dio_listener *l, uint64_t cookie) {
    return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &cookie) ? gone(errno) : 0;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int give(struct dio_listener *l, const struct dio_reply *reply, uint32_t flags) {
    struct seccomp_notif_addfd add = {.id = reply->cookie, .srcfd = (uint32_t)reply->fd,
                                      .newfd_flags = reply->fd_flags, .flags = flags};
    int64_t start = now_ns();
    int number = ioctl(l->fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    int result = number < 0 ? gone(errno) : number;
    int took = (int)(now_ns() - start), before = atomic_load_explicit(&l->giving_ns, memory_order_relaxed);
    atomic_store_explicit(&l->giving_ns, before + (took - before) / 4, memory_order_relaxed);
    return result;
}

/* The rest of a call whose descriptor is there.  Ours is closed first. */
static int give_end(struct dio_listener *l, const struct dio_reply *reply, int number) {
    struct seccomp_notif_resp answer = {.id = reply->cookie, .val = number};
    close(reply->fd);
    if (number < 0)
        return number;
    return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SEND, &answer) ? gone(errno) : 0;
}

/* Both on this CPU until the descriptor is there; 1 if that cannot be done.  The tracee has its mask back before
 * its call returns. */
static int give_here(struct dio_listener *l, const struct dio_reply *reply, int *number) {
    cpu_set_t here, ours, theirs;
    unsigned cpu;
    if (getcpu(&cpu, NULL) || cpu >= CPU_SETSIZE || sched_getaffinity(reply->tid, sizeof theirs, &theirs) ||
        !CPU_ISSET(cpu, &theirs) || CPU_COUNT(&theirs) == 1 || sched_getaffinity(0, sizeof ours, &ours))
        return 1;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    sched_setaffinity(0, sizeof here, &here);
    sched_setaffinity(reply->tid, sizeof here, &here);
    *number = dio_listener_give(l, reply->cookie, reply->fd, reply->fd_flags);
    sched_setaffinity(reply->tid, sizeof theirs, &theirs);
    sched_setaffinity(0, sizeof ours, &ours);
    return 0;
}

static int is_file(int fd) {
    struct stat status;
    return !fstat(fd, &status) && S_ISREG(status.st_mode);
}

/* A descriptor is put into its table by the tracee itself, which wakes for it and wakes us: two wake-ups, for which
 * the kernel knows no SYNC_WAKE_UP.  While CPUs are idle they take 50 us, and staying together 12 (measured with 2
 * CPUs); on a busy machine they take 4.  So what they take is measured, now and then even while they are avoided.
 *
 * The kernel can do it and answer at a stroke.  But then the program may have closed a file while we still have it:
 * its locks and leases would last, its watchers hear of the closing later, and it could not be executed. */
static int reply_give(struct dio_listener *l, const struct dio_reply *reply) {
    int number, is_slow = atomic_load_explicit(&l->giving_ns, memory_order_relaxed) > GIVING_SLOW_NS;
    int is_due = atomic_fetch_add_explicit(&l->gifts, 1, memory_order_relaxed) % GIVING_TRY == 0;
    if (l->has_sync && l->cpus > 1 && l->wanted == 1 && is_slow && !is_due && !give_here(l, reply, &number))
        return give_end(l, reply, number);
    if (is_file(reply->fd))
        return give_end(l, reply, give(l, reply, 0));
    number = give(l, reply, SECCOMP_ADDFD_FLAG_SEND);
    close(reply->fd);
    return number < 0 ? number : 0;
}

int dio_listener_reply(struct dio_listener *l, const struct dio_reply *reply) {
    if (reply->kind == DIO_REPLY_GIVE)
        return reply_give(l, reply);
    struct seccomp_notif_resp answer = {.id = reply->cookie};
    if (reply->kind == DIO_REPLY_RUN)
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else if (reply->value < 0 && reply->value >= -4095)
        answer.error = (int32_t)reply->value;
    else
        answer.val = reply->value;
    return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SEND, &answer) ? gone(errno) : 0;
}

/* ---- promoted threads ------------------------------------------------------------------------ */

static struct promoted **promoted_find(struct dio_listener *l, pid_t tid) {
    struct promoted **at = &l->promoted[(unsigned)tid % PROMOTED_BUCKETS];
    while (*at && (*at)->tid != tid)
        at = &(*at)->next;
    return at;
}

int listener_promoted_add(struct dio_listener *l, pid_t tid, const void *by) {
    struct promoted *one = malloc(sizeof *one);
    if (!one)
        return -ENOMEM;
    pthread_mutex_lock(&l->lock);
    struct promoted **at = promoted_find(l, tid);
    if (*at) {
        (*at)->by = by;
        free(one);
    } else {
        *one = (struct promoted){.tid = tid, .by = by};
        *at = one;
        atomic_fetch_add(&l->promoted_count, 1);
    }
    pthread_mutex_unlock(&l->lock);
    return 0;
}

void listener_promoted_remove(struct dio_listener *l, pid_t tid, const void *by) {
    pthread_mutex_lock(&l->lock);
    struct promoted **at = promoted_find(l, tid), *one = *at;
    if (one && one->by == by) {
        *at = one->next;
        atomic_fetch_sub(&l->promoted_count, 1);
        free(one);
    }
    pthread_mutex_unlock(&l->lock);
}

static int is_promoted(struct dio_listener *l, pid_t tid) {
    if (!atomic_load(&l->promoted_count))
        return 0;
    pthread_mutex_lock(&l->lock);
    int found = *promoted_find(l, tid) != NULL;
    pthread_mutex_unlock(&l->lock);
    return found;
}

/* ---- how many wait --------------------------------------------------------------------------- */

static void wanted_set(struct dio_listener *l, int wanted) {
    pthread_mutex_lock(&l->lock);
    if (wanted != l->wanted) {
        l->wanted = wanted;
        if (l->has_sync)
            ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, wanted == 1 ? SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP : 0UL);
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

/* Whether a thread can run or runs: not one that waits, for us or for another. */
static int is_runnable(pid_t tid) {
    char name[40], text[512];
    snprintf(name, sizeof name, "/proc/%d/stat", tid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *state = strrchr(text, ')');
    return state && state[1] == ' ' && state[2] == 'R';
}

/* Two busy threads show as changes of thread from call to call while they have a CPU each.  While they share one
 * (SYNC_WAKE_UP gathers them), each makes all the calls of its time slice, and the other can run and does not.
 * A shell that waits for its child shows neither. */
static void parallelism_note(struct dio_listener *l, pid_t tid) {
    int last = atomic_exchange_explicit(&l->last_tid, tid, memory_order_relaxed);
    if (last != tid) {
        atomic_fetch_add_explicit(&l->switches, 1, memory_order_relaxed);
        atomic_store_explicit(&l->other_tid, last, memory_order_relaxed);
    }
    if ((atomic_fetch_add_explicit(&l->seen, 1, memory_order_relaxed) + 1) % WINDOW)
        return;
    unsigned windows = atomic_load(&l->parallel_windows);
    pid_t other = atomic_load_explicit(&l->other_tid, memory_order_relaxed);
    int parallel = atomic_exchange(&l->switches, 0) >= PARALLEL_AT || (other && is_runnable(other));
    windows = parallel ? windows + (windows < PARALLEL_MOST) : windows - (windows > 0);
    atomic_store(&l->parallel_windows, windows);
    if (l->cpus > 1)
        wanted_set(l, windows >= PARALLEL_FOR ? 2 : 1);
}

static void until(struct timespec *deadline, long microseconds) {
    clock_gettime(CLOCK_MONOTONIC, deadline);
    deadline->tv_nsec += microseconds % 1000000 * 1000;
    deadline->tv_sec += microseconds / 1000000 + deadline->tv_nsec / 1000000000;
    deadline->tv_nsec %= 1000000000;
}

/* Waits for this worker's turn to receive, with the lock held: 0, or -EAGAIN when it is one too many.  Who comes
 * back from Python takes a free place at once.  A follower takes one that was free for a whole tick, or at
 * once if several are to receive, or somebody asks (`urgent`). */
static int turn_wait(struct dio_listener *l) {
    int quiet = WATCH_TICKS;
    if (l->receivers < l->wanted)
        return 0;
    for (;;) {
        unsigned long departures = l->departures;
        int vacant = l->receivers < l->wanted;
        /* No more of them than can step in: a thousand that come back from promotions would do nothing else. */
        int watching = (quiet < WATCH_TICKS || vacant) && l->watchers < l->wanted;
        struct timespec deadline;
        until(&deadline, watching ? TICK_US : SLEEP_S * 1000000L);
        l->idle++;
        l->watchers += watching;
        int late = pthread_cond_timedwait(&l->changed, &l->lock, &deadline) == ETIMEDOUT;
        l->watchers -= watching;
        l->idle--;
        int same = departures == l->departures;
        if (l->receivers < l->wanted && (l->wanted > 1 || l->urgent || (late && vacant && same))) {
            l->urgent = 0;
            return 0;
        }
        if (l->ended || (late && !watching && l->idle > 1))
            return -EAGAIN;
        quiet = same ? quiet + 1 : 0;
    }
}

static int receiver_begin(struct dio_listener *l) {
    pthread_mutex_lock(&l->lock);
    int error = turn_wait(l);
    l->receivers += !error;
    pthread_mutex_unlock(&l->lock);
    return error;
}

static void receiver_leaves(struct dio_listener *l, int aside, struct dio_event *out) {
    pthread_mutex_lock(&l->lock);
    l->receivers -= !aside;
    l->departures++;
    out->lone = !l->idle && !l->receivers;
    if (!l->watchers && l->idle)
        pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

int listener_step_aside(struct dio_listener *l) {
    pthread_mutex_lock(&l->lock);
    int error = l->idle || l->receivers > 1 ? 0 : -EBUSY;
    if (!error) {
        l->receivers--;
        l->departures++;
        if (!l->watchers && l->idle)
            pthread_cond_signal(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return error;
}

static void step_in(struct dio_listener *l) {
    pthread_mutex_lock(&l->lock);
    if (!l->receivers && l->idle) {
        l->urgent = 1;
        pthread_cond_signal(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

/* While a server is asked for one program, calls of the server are no sign of a second one that is busy. */
void listener_asks(struct dio_listener *l, int begins) {
    if (!l)
        return;
    atomic_fetch_add(&l->asking, begins ? 1 : -1);
    if (begins)
        step_in(l);
}

/* What this thread has gone away from to ask, until its call is over. */
static _Thread_local struct dio_listener *asks_for;

static void asks_no_more(void) {
    listener_asks(asks_for, 0);
    asks_for = NULL;
}

static void listener_end(struct dio_listener *l) {
    pthread_mutex_lock(&l->lock);
    l->receivers--;
    l->ended = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

void dio_listener_step_in(struct dio_listener *l) {
    if (!asks_for)
        listener_asks(asks_for = l, 1);
    else
        step_in(l);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* 0 with a notification, -EAGAIN when there is none after all, -ENOENT when no task has the filter. */
static int receive(struct dio_listener *l, struct seccomp_notif *notice) {
    struct pollfd ready = {.fd = l->fd, .events = POLLIN};
    memset(notice, 0, sizeof *notice);
    /* Before Linux 6.6 the kernel does not wake a receiver when the last task is gone; poll tells. */
    if (!l->has_sync && poll(&ready, 1, -1) < 0)
        return -EAGAIN;
    if (ready.revents & POLLHUP)
        return -ENOENT;
    if (ioctl(l->fd, SECCOMP_IOCTL_NOTIF_RECV, notice) == 0)
        return 0;
    if (errno != ENOENT)
        return errno == EINTR ? -EAGAIN : -errno;
    /* The notifying thread was killed meanwhile, or it was the last. */
    return poll(&ready, 1, 0) >= 0 && ready.revents & POLLHUP ? -ENOENT : -EAGAIN;
}

/* What is settled by path, directory or descriptor: 1 and the reply, or 0 for Python. */
static int decided(struct dio_listener *l, const struct dio_event *call, struct dio_reply *reply, uint8_t *aside) {
    struct dio_asked asked = {.tid = call->tid, .abi = call->info.abi, .nr = call->info.nr, .may_give = 1,
                              .listener = l, .cookie = call->cookie, .aside = aside};
    struct dio_verdict verdict;
    if (!l->decider)
        return 0;
    memcpy(asked.args, call->info.args, sizeof asked.args);
    if (dio_decide(l->decider, &asked, &verdict) || verdict.kind == DIO_VERDICT_ASK)
        return 0;
    reply->kind = verdict.kind == DIO_VERDICT_VALUE  ? DIO_REPLY_VALUE
                  : verdict.kind == DIO_VERDICT_GIVE ? DIO_REPLY_GIVE
                                                     : DIO_REPLY_RUN;
    reply->value = verdict.value;
    reply->fd = verdict.fd;
    reply->fd_flags = verdict.fd_flags;
    reply->tid = call->tid;
    return 1;
}

/* Sends a reply that C has made; a descriptor that cannot be given is that error for the program. */
static void reply_settled(struct dio_listener *l, struct dio_reply *reply) {
    int error = dio_listener_reply(l, reply);
    if (reply->kind != DIO_REPLY_GIVE || !error || error == -ESRCH)
        return;
    reply->kind = DIO_REPLY_VALUE;
    reply->value = error;
    dio_listener_reply(l, reply);
}

/* 1 when the call is settled and answered. */
static int settled(struct dio_listener *l, const struct seccomp_notif *notice, struct dio_event *out, uint8_t *aside) {
    struct dio_reply reply = {.kind = DIO_REPLY_RUN, .cookie = notice->id};
    pid_t tid = (pid_t)notice->pid;
    memset(out, 0, sizeof *out);
    out->kind = DIO_EVENT_CALL;
    out->tid = tid;
    out->cookie = notice->id;
    out->depth = 1;
    out->info = (struct dio_info){.op = DIO_OP_SECCOMP, .abi = notice->data.arch,
                                  .ip = notice->data.instruction_pointer, .nr = notice->data.nr};
    for (int i = 0; i < 6; i++)
        out->info.args[i] = notice->data.args[i];
    int match = is_promoted(l, tid) ? DIO_MATCH_NONE
                                    : dio_rules_match(l->rules, tid, out->info.abi, out->info.nr, out->info.args,
                                                      &out->matched, &reply.value);
    if (match == DIO_MATCH_ASK || (match == DIO_MATCH_DECIDE && !decided(l, out, &reply, aside)))
        return 0;
    if (match == DIO_MATCH_FIXED)
        reply.kind = DIO_REPLY_VALUE;
    reply_settled(l, &reply);
    return 1;
}

/* This worker is one too many, or the last call has been made. */
static int not_received(struct dio_listener *l, struct dio_event *out) {
    memset(out, 0, sizeof *out);
    out->kind = l->ended ? DIO_EVENT_DONE : DIO_EVENT_IDLE;
    return 0;
}

int dio_listener_next(struct dio_listener *l, const struct dio_reply *reply, struct dio_event *out) {
    struct seccomp_notif notice;
    asks_no_more();
    if (reply) {
        int error = dio_listener_reply(l, reply);
        if (error && error != -ESRCH)
            return error;
    }
    if (receiver_begin(l))
        return not_received(l, out);
    for (;;) {
        uint8_t aside = 0;
        int error = receive(l, &notice);
        if (error == -EAGAIN)
            continue;
        if (error) {
            listener_end(l);
            memset(out, 0, sizeof *out); /* DIO_EVENT_DONE */
            return error == -ENOENT ? 0 : error;
        }
        if (!atomic_load(&l->asking))
            parallelism_note(l, (pid_t)notice.pid);
        if (!settled(l, &notice, out, &aside)) {
            receiver_leaves(l, aside, out);
            return 0;
        }
        if (aside && receiver_begin(l))
            return not_received(l, out);
    }
}

int dio_worker_begin(void) { return unshare(CLONE_FS) ? -errno : 0; }

/* ---- the handle ------------------------------------------------------------------------------ */

int dio_listener_open(int fd, const struct dio_features *features, const struct dio_rules *rules,
                      struct dio_decider *decider, struct dio_listener **out) {
    struct dio_listener *l = calloc(1, sizeof *l);
    pthread_condattr_t monotonic;
    cpu_set_t cpus;
    if (!l)
        return -ENOMEM;
    l->fd = fd;
    l->rules = rules;
    l->decider = decider;
    l->wanted = 1;
    l->spaces_swept_at = SPACES_SWEPT;
    if (getrandom(&l->secret, sizeof l->secret, 0) != sizeof l->secret) {
        free(l);
        return -EIO;
    }
    l->cpus = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
    l->has_sync = features->notif_sync &&
                  ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = l;
    return 0;
}

void dio_listener_close(struct dio_listener *l) {
    listener_spaces_drop(l);
    for (int i = 0; i < PROMOTED_BUCKETS; i++)
        while (l->promoted[i])
            listener_promoted_remove(l, l->promoted[i]->tid, l->promoted[i]->by);
    close(l->fd);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
