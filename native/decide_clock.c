/* decide_clock.c - clocks that show something else than those of the host.
 *
 * What a program reads is computed here, in the place of the kernel.  A call that waits is let run where the wait is
 * the same for the host: by a clock that the course has left as it is.  Everything else is for Python.
 *
 * All arithmetic is in 128 bits: a difference of two times has 64, a rate 50. */
#include "decide.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NSEC INT64_C(1000000000)

enum { HOST_REALTIME_ALARM = 8, HOST_BOOTTIME_ALARM = 9, HOST_TAI = 11 };

struct clock_entry {
    uint32_t number;
    uint64_t readings; /* of a wall clock with a step */
    struct dio_course course;
};

static int clock_order(const void *left, const void *right) {
    const struct clock_entry *a = left, *b = right;
    return a->number < b->number ? -1 : a->number > b->number;
}

int clocks_init(struct dio_decider *d) {
    sorted_init(&d->clocks, sizeof(struct clock_entry), clock_order);
    return -pthread_rwlock_init(&d->clock_lock, NULL);
}

void clocks_free(struct dio_decider *d) {
    free(d->clocks.items);
    pthread_rwlock_destroy(&d->clock_lock);
}

/* A new course must begin where nobody has seen the old one go further. */
void dio_decider_clocks_hold(struct dio_decider *d) { pthread_rwlock_wrlock(&d->clock_lock); }
void dio_decider_clocks_release(struct dio_decider *d) { pthread_rwlock_unlock(&d->clock_lock); }

int dio_decider_clock(struct dio_decider *d, uint32_t number, const struct dio_course *course) {
    struct clock_entry entry = {.number = number};
    if (course && (course->unit <= 0 || course->pace < 0))
        return -EINVAL;
    if (course)
        entry.course = *course;
    if (course)
        return sorted_put(&d->clocks, &entry);
    sorted_drop(&d->clocks, &entry);
    return 0;
}

/* ---- arithmetic ---- */

static __int128 floor_divide(__int128 a, __int128 b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

static int64_t in_range(__int128 value) { return value < 0 ? 0 : value > INT64_MAX ? INT64_MAX : (int64_t)value; }

int64_t dio_course_at(const struct dio_course *course, int32_t kind, int64_t real) {
    int64_t rate = kind == DIO_CLOCK_WALL ? course->wall_rate : course->pace;
    __int128 passed = (__int128)real - course->real[kind];
    return in_range(course->shown[kind] + floor_divide(passed * rate, course->unit));
}

/* Whether a clock shows what the host's does. */
static int is_natural(const struct dio_course *course, enum dio_clock_kind kind) {
    int64_t rate = kind == DIO_CLOCK_WALL ? course->wall_rate : course->pace;
    return rate == course->unit && course->shown[kind] == course->real[kind];
}

static int has_natural_pace(const struct dio_course *course) { return course->pace == course->unit; }

/* ---- clock ids ---- */

static int kind_of(int32_t clock) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case HOST_REALTIME_ALARM:
    case HOST_TAI: return DIO_CLOCK_WALL;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE: return DIO_CLOCK_MONOTONIC;
    case CLOCK_MONOTONIC_RAW: return DIO_CLOCK_RAW;
    case CLOCK_BOOTTIME:
    case HOST_BOOTTIME_ALARM: return DIO_CLOCK_BOOTTIME;
    default: return -1;
    }
}

static int64_t host_time(clockid_t clock) {
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NSEC + now.tv_nsec;
}

/* By how much TAI is ahead, which is whole seconds. */
static int64_t tai_ahead(void) {
    int64_t ahead = host_time(HOST_TAI) - host_time(CLOCK_REALTIME);
    return (int64_t)floor_divide(ahead + NSEC / 2, NSEC) * NSEC;
}

static int clock_find(struct dio_decider *d, uint32_t number, struct dio_course *out) {
    struct clock_entry key = {.number = number};
    pthread_rwlock_rdlock(&d->clock_lock);
    const struct clock_entry *found = sorted_find(&d->clocks, &key);
    if (found)
        *out = found->course;
    pthread_rwlock_unlock(&d->clock_lock);
    return found != NULL;
}

/* By how much a clock that goes on with each reading of it has done so; counts one more. */
static __int128 clock_steps(struct clock_entry *entry) {
    return (__int128)entry->course.step * (int64_t)__atomic_fetch_add(&entry->readings, 1, __ATOMIC_RELAXED);
}

int dio_decider_time(struct dio_decider *d, uint32_t number, int32_t clock, int64_t *out) {
    static const clockid_t hosts[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME};
    struct clock_entry key = {.number = number};
    struct timespec now;
    int kind = kind_of(clock);
    if (kind < 0)
        return -ENOENT;
    if ((clock == HOST_REALTIME_ALARM || clock == HOST_BOOTTIME_ALARM) && clock_gettime(clock, &now))
        return -ENOENT; /* there is none: the kernel says so */
    pthread_rwlock_rdlock(&d->clock_lock);
    struct clock_entry *found = sorted_find(&d->clocks, &key);
    __int128 shown = found ? dio_course_at(&found->course, kind, host_time(hosts[kind])) : 0;
    if (found && kind == DIO_CLOCK_WALL && found->course.step)
        shown += clock_steps(found);
    pthread_rwlock_unlock(&d->clock_lock);
    if (!found)
        return -ENOENT;
    if (clock == HOST_TAI)
        shown += tai_ahead();
    *out = in_range(shown);
    return 0;
}

/* ---- readings ---- */

static uint64_t arg_of(const struct dio_asked *asked, uint8_t arg) { return arg < 6 ? asked->args[arg] : 0; }

/* What is too large for 32 bits is cut off, as the kernel does. */
struct shown {
    uint64_t words[2];
    size_t size;
};

static struct shown shown_as(enum dio_time_form form, int64_t time) {
    struct shown out = {.words = {(uint64_t)(time / NSEC), (uint64_t)(time % NSEC)}, .size = 16};
    uint32_t narrow[2] = {(uint32_t)out.words[0], (uint32_t)out.words[1]};
    if (form == DIO_TIME_VALUE || form == DIO_TIME_VALUE_32)
        out.words[1] /= 1000, narrow[1] /= 1000;
    if (form == DIO_TIME_SPEC || form == DIO_TIME_VALUE)
        return out;
    if (form == DIO_TIME_SECONDS) {
        out.size = 8;
        return out;
    }
    memcpy(out.words, narrow, sizeof narrow);
    out.size = form == DIO_TIME_SECONDS_32 ? 4 : 8;
    return out;
}

void decide_reading(struct dio_decider *d, const struct dio_decision *decision, const struct dio_asked *asked,
                    uint32_t number, struct dio_verdict *out) {
    int is_time = decision->fixed_flags == DIO_TIME_SECONDS || decision->fixed_flags == DIO_TIME_SECONDS_32;
    int32_t clock = (int32_t)arg_of(asked, decision->arg); /* 0, which is CLOCK_REALTIME, if there is none */
    uint64_t address = arg_of(asked, decision->buffer_arg);
    int64_t time, result = 0;
    if (kind_of(clock) < 0) {
        out->kind = DIO_VERDICT_RUN;
        return;
    }
    /* The zone of gettimeofday(2) is the kernel's, and NULL is nothing but an error or a zone. */
    if (decision->arg2 != DIO_NO_ARG && (arg_of(asked, decision->arg2) || !address))
        return;
    if (dio_decider_time(d, number, clock, &time))
        return;
    struct shown shown = shown_as((enum dio_time_form)decision->fixed_flags, time);
    if (is_time) /* the result, and a copy of it in memory if that is wanted */
        result = decision->fixed_flags == DIO_TIME_SECONDS ? time / NSEC : (int32_t)(time / NSEC);
    if (address || !is_time) {
        if (asked->listener && dio_listener_valid(asked->listener, asked->cookie))
            return;
        ssize_t n = dio_memory_write(asked->tid, address, shown.words, shown.size);
        if (n == -ESRCH)
            return;
        if (n != (ssize_t)shown.size)
            result = -EFAULT;
    }
    out->kind = DIO_VERDICT_VALUE;
    out->value = result;
}

/* ---- waits ---- */

/* By which clock a futex waits until when; -1: for a duration, or not at all. */
static int futex_clock(uint32_t operation) {
    switch (operation & (uint32_t)FUTEX_CMD_MASK) {
    case FUTEX_LOCK_PI: return DIO_CLOCK_WALL;
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAIT_REQUEUE_PI:
    case 13 /* FUTEX_LOCK_PI2, as of Linux 5.14 */:
        return operation & FUTEX_CLOCK_REALTIME ? DIO_CLOCK_WALL : DIO_CLOCK_MONOTONIC;
    default: return -1;
    }
}

static int futex_waits(uint32_t operation) {
    return (operation & (uint32_t)FUTEX_CMD_MASK) == FUTEX_WAIT || futex_clock(operation) >= 0;
}

static int all_natural(const struct dio_course *course) {
    return is_natural(course, DIO_CLOCK_WALL) && is_natural(course, DIO_CLOCK_MONOTONIC) &&
           is_natural(course, DIO_CLOCK_RAW) && is_natural(course, DIO_CLOCK_BOOTTIME);
}

/* Whether somebody waits for a time that may be set meanwhile: he must look at the clock now and then. */
static int is_for_wall_time(enum dio_wait form, uint32_t first, int is_absolute) {
    switch (form) {
    case DIO_WAIT_CLOCK: return is_absolute && kind_of((int32_t)first) == DIO_CLOCK_WALL;
    case DIO_WAIT_FUTEX: return futex_clock(first) == DIO_CLOCK_WALL;
    case DIO_WAIT_WALL: return 1;
    default: return 0;
    }
}

int decide_wait(struct dio_decider *d, const struct dio_decision *decision, const struct dio_asked *asked,
                uint32_t number) {
    struct dio_course course;
    int kind;
    if (!clock_find(d, number, &course))
        return 0;
    uint32_t first = (uint32_t)arg_of(asked, decision->arg);
    int is_absolute = arg_of(asked, decision->flags_arg) & 1; /* TIMER_ABSTIME */
    if (is_for_wall_time((enum dio_wait)decision->fixed_flags, first, is_absolute))
        return 0;
    if (all_natural(&course))
        return 1;
    switch ((enum dio_wait)decision->fixed_flags) {
    case DIO_WAIT_DURATION: return has_natural_pace(&course);
    case DIO_WAIT_MILLISECONDS: return (int32_t)first <= 0 || has_natural_pace(&course);
    case DIO_WAIT_FUTEX:
        kind = futex_clock(first);
        if (!futex_waits(first))
            return 1;
        return kind < 0 ? has_natural_pace(&course) : is_natural(&course, (enum dio_clock_kind)kind);
    case DIO_WAIT_CLOCK:
        kind = kind_of((int32_t)first);
        if (kind < 0)
            return 1;
        return is_absolute ? is_natural(&course, (enum dio_clock_kind)kind) : has_natural_pace(&course);
    case DIO_WAIT_TIMER: return !is_absolute && has_natural_pace(&course);
    case DIO_WAIT_WALL: return is_natural(&course, DIO_CLOCK_WALL);
    default: return 0;
    }
}
