/* test_clock.c - the arithmetic of clocks at its ends, and verdicts on calls that read them and wait. */
#include "../include/diorama.h"
#include "check.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../arch/arch.h"

#define CHECK(condition) CHECK_EQ(!(condition), 0)
#define NSEC INT64_C(1000000000)

enum { GET, DAY, SECONDS, NARROW, SLEEP, POLL, FUTEX, NANOSLEEP, TIMER, QUEUE };

static struct dio_decider *decider;
static const struct dio_course natural = {.wall_rate = 1, .pace = 1, .unit = 1};

#define CALL(number, how, form, ...) {.abi = ARCH_NATIVE, .nr = (number), .settle = (how), .fixed_flags = (form), \
                                      .arg = DIO_NO_ARG, .arg2 = DIO_NO_ARG, .flags_arg = DIO_NO_ARG, \
                                      .buffer_arg = DIO_NO_ARG, .size_arg = DIO_NO_ARG, .mode_arg = DIO_NO_ARG, \
                                      .mask_arg = DIO_NO_ARG, __VA_ARGS__}
#pragma GCC diagnostic ignored "-Woverride-init"
static const struct dio_decision decisions[] = {
    CALL(GET, DIO_SETTLE_TIME, DIO_TIME_SPEC, .arg = 0, .buffer_arg = 1),
    CALL(DAY, DIO_SETTLE_TIME, DIO_TIME_VALUE, .buffer_arg = 0, .arg2 = 1),
    CALL(SECONDS, DIO_SETTLE_TIME, DIO_TIME_SECONDS, .buffer_arg = 0),
    CALL(NARROW, DIO_SETTLE_TIME, DIO_TIME_SPEC_32, .arg = 0, .buffer_arg = 1),
    CALL(SLEEP, DIO_SETTLE_WAIT, DIO_WAIT_DURATION, .arg = DIO_NO_ARG),
    CALL(POLL, DIO_SETTLE_WAIT, DIO_WAIT_MILLISECONDS, .arg = 2),
    CALL(FUTEX, DIO_SETTLE_WAIT, DIO_WAIT_FUTEX, .arg = 1),
    CALL(NANOSLEEP, DIO_SETTLE_WAIT, DIO_WAIT_CLOCK, .arg = 0, .flags_arg = 1),
    CALL(TIMER, DIO_SETTLE_WAIT, DIO_WAIT_TIMER, .flags_arg = 1),
    CALL(QUEUE, DIO_SETTLE_WAIT, DIO_WAIT_WALL, .arg = DIO_NO_ARG),
};

static struct dio_verdict ask(int nr, uint64_t first, uint64_t second, uint64_t third) {
    struct dio_asked asked = {.tid = getpid(), .abi = ARCH_NATIVE, .nr = nr, .args = {first, second, third}};
    struct dio_verdict verdict;
    CHECK(dio_decide(decider, &asked, &verdict) == 0);
    return verdict;
}

static int runs(int nr, uint64_t first, uint64_t second, uint64_t third) {
    return ask(nr, first, second, third).kind == DIO_VERDICT_RUN;
}

static void set(const struct dio_course *course) {
    dio_decider_clocks_hold(decider);
    CHECK(dio_decider_clock(decider, 0, course) == 0);
    dio_decider_clocks_release(decider);
}

static void arithmetic(void) {
    struct dio_course c = natural;
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 5) == 5);
    c.shown[DIO_CLOCK_WALL] = -10;
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 5) == 0);
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 15) == 5);
    /* Rounded down on both sides. */
    c = (struct dio_course){.wall_rate = 1, .pace = 1, .unit = 3, .shown = {100, 100}, .real = {10, 10}};
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 12) == 100);
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 13) == 101);
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 9) == 99);
    /* At the ends of 64 bits. */
    c = (struct dio_course){.wall_rate = INT64_C(1000000000000000), .pace = 1, .unit = 1, .real = {INT64_MIN}};
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, INT64_MAX) == INT64_MAX);
    c.wall_rate = -c.wall_rate;
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, INT64_MAX) == 0);
    c = (struct dio_course){.wall_rate = 1, .pace = 0, .unit = INT64_C(1000000000), .shown = {INT64_MAX, 7}};
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, INT64_MAX) == INT64_MAX);
    CHECK(dio_course_at(&c, DIO_CLOCK_MONOTONIC, INT64_MAX) == 7);
    /* Backwards. */
    c = (struct dio_course){.wall_rate = -2, .pace = 2, .unit = 1, .shown = {1000, 0}, .real = {0, 0}};
    CHECK(dio_course_at(&c, DIO_CLOCK_WALL, 100) == 800);
    CHECK(dio_course_at(&c, DIO_CLOCK_MONOTONIC, 100) == 200);
}

static void bad_courses(void) {
    struct dio_course c = natural;
    c.unit = 0;
    CHECK(dio_decider_clock(decider, 0, &c) == -EINVAL);
    c = natural;
    c.pace = -1;
    CHECK(dio_decider_clock(decider, 0, &c) == -EINVAL);
}

static void readings(void) {
    struct dio_course still = {.unit = 1, .shown = {1000 * NSEC + 999, 5 * NSEC, 6 * NSEC, 7 * NSEC}};
    struct timespec time;
    struct { int32_t seconds, rest; } narrow;
    struct { int64_t seconds, rest; } value;
    int64_t seconds = 0;
    CHECK(ask(GET, CLOCK_REALTIME, (uintptr_t)&time, 0).kind == DIO_VERDICT_ASK); /* there is no clock */
    set(&still);
    CHECK(ask(GET, CLOCK_REALTIME, (uintptr_t)&time, 0).kind == DIO_VERDICT_VALUE);
    CHECK(time.tv_sec == 1000 && time.tv_nsec == 999);
    CHECK(ask(GET, CLOCK_REALTIME_COARSE, (uintptr_t)&time, 0).value == 0 && time.tv_sec == 1000);
    CHECK(ask(GET, CLOCK_MONOTONIC, (uintptr_t)&time, 0).value == 0 && time.tv_sec == 5);
    CHECK(ask(GET, CLOCK_MONOTONIC_RAW, (uintptr_t)&time, 0).value == 0 && time.tv_sec == 6);
    CHECK(ask(GET, CLOCK_BOOTTIME, (uintptr_t)&time, 0).value == 0 && time.tv_sec == 7);
    CHECK(ask(GET, CLOCK_TAI, (uintptr_t)&time, 0).value == 0 && time.tv_sec >= 1000 && time.tv_sec < 1100);
    CHECK(runs(GET, CLOCK_PROCESS_CPUTIME_ID, (uintptr_t)&time, 0));
    CHECK(runs(GET, CLOCK_THREAD_CPUTIME_ID, (uintptr_t)&time, 0));
    CHECK(runs(GET, 12345, (uintptr_t)&time, 0) && runs(GET, (uint64_t)-6, (uintptr_t)&time, 0));
    CHECK(ask(GET, CLOCK_REALTIME, 1, 0).value == -EFAULT && ask(GET, CLOCK_REALTIME, 0, 0).value == -EFAULT);
    CHECK(ask(DAY, (uintptr_t)&value, 0, 0).value == 0 && value.seconds == 1000 && value.rest == 0);
    CHECK(ask(DAY, (uintptr_t)&value, 8, 0).kind == DIO_VERDICT_ASK && ask(DAY, 0, 0, 0).kind == DIO_VERDICT_ASK);
    CHECK(ask(SECONDS, 0, 0, 0).value == 1000);
    CHECK(ask(SECONDS, (uintptr_t)&seconds, 0, 0).value == 1000 && seconds == 1000);
    still.shown[0] = (INT64_C(1) << 31) * NSEC + 8;
    set(&still);
    CHECK(ask(NARROW, CLOCK_REALTIME, (uintptr_t)&narrow, 0).value == 0);
    CHECK(narrow.seconds == INT32_MIN && narrow.rest == 8); /* cut off, as the kernel does */
    CHECK(ask(SECONDS, 0, 0, 0).value == INT64_C(1) << 31);
}

static void steps(void) {
    struct dio_course still = {.unit = 1, .shown = {NSEC}, .step = 2 * NSEC};
    set(&still);
    for (int i = 0; i < 4; i++)
        CHECK(ask(SECONDS, 0, 0, 0).value == 1 + 2 * i);
    set(&still);
    CHECK(ask(SECONDS, 0, 0, 0).value == 1);
    still.step = INT64_MAX;
    set(&still);
    for (int i = 0; i < 4; i++)
        CHECK(ask(SECONDS, 0, 0, 0).value >= 1);
}

static void waits(void) {
    struct dio_course c = natural;
    set(&c);
    CHECK(runs(SLEEP, 0, 0, 0) && runs(TIMER, 0, 1, 0) && runs(NANOSLEEP, CLOCK_REALTIME, 0, 0));
    CHECK(!runs(QUEUE, 0, 0, 0) && !runs(NANOSLEEP, CLOCK_REALTIME, 1, 0)); /* the date may be set meanwhile */
    CHECK(!runs(FUTEX, 0, FUTEX_LOCK_PI, 0) && !runs(FUTEX, 0, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0));
    c.shown[DIO_CLOCK_WALL] = 1; /* another date, and the same pace */
    set(&c);
    CHECK(runs(SLEEP, 0, 0, 0) && runs(POLL, 0, 0, 9) && !runs(QUEUE, 0, 0, 0));
    CHECK(runs(TIMER, 0, 0, 0) && !runs(TIMER, 0, 1, 0));
    CHECK(runs(NANOSLEEP, CLOCK_MONOTONIC, 1, 0) && !runs(NANOSLEEP, CLOCK_REALTIME, 1, 0));
    CHECK(runs(NANOSLEEP, CLOCK_REALTIME, 0, 0));
    CHECK(runs(FUTEX, 0, FUTEX_WAIT, 0) && runs(FUTEX, 0, FUTEX_WAIT_BITSET, 0) && !runs(FUTEX, 0, FUTEX_LOCK_PI, 0));
    CHECK(!runs(FUTEX, 0, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME | FUTEX_PRIVATE_FLAG, 0));
    c.pace = c.wall_rate = 2;
    set(&c);
    CHECK(!runs(SLEEP, 0, 0, 0) && !runs(POLL, 0, 0, 9) && runs(POLL, 0, 0, 0) && runs(POLL, 0, 0, (uint64_t)-1));
    CHECK(!runs(FUTEX, 0, FUTEX_WAIT, 0) && !runs(FUTEX, 0, FUTEX_WAIT_BITSET, 0) && runs(FUTEX, 0, FUTEX_WAKE, 9));
    CHECK(!runs(NANOSLEEP, CLOCK_MONOTONIC, 1, 0) && runs(NANOSLEEP, CLOCK_THREAD_CPUTIME_ID, 0, 0));
}

static void clocks_of_processes(void) {
    struct dio_course one = {.unit = 1, .shown = {1 * NSEC}}, two = {.unit = 1, .shown = {2 * NSEC}};
    struct dio_process process = {.cwd_mount = -1, .clock = 7};
    set(&one);
    CHECK(dio_decider_clock(decider, 7, &two) == 0);
    CHECK(dio_decider_process(decider, getpid(), &process) == 0);
    CHECK(ask(SECONDS, 0, 0, 0).value == 2);
    process.clock = 0;
    CHECK(dio_decider_process(decider, getpid(), &process) == 0);
    CHECK(ask(SECONDS, 0, 0, 0).value == 1);
    CHECK(dio_decider_clock(decider, 7, NULL) == 0);
    int64_t shown;
    CHECK(dio_decider_time(decider, 7, CLOCK_REALTIME, &shown) == -ENOENT);
    CHECK(dio_decider_time(decider, 0, CLOCK_REALTIME, &shown) == 0 && shown == NSEC);
}

int main(void) {
    static const struct dio_mounted root = {.parent = -1, .host = "", .directory = 1};
    CHECK(dio_decider_new(&decider) == 0);
    CHECK(dio_decider_load(decider, decisions, sizeof decisions / sizeof *decisions, &root, 1, NULL, 0) == 0);
    arithmetic();
    bad_courses();
    readings();
    steps();
    waits();
    clocks_of_processes();
    dio_decider_free(decider);
    return checks_report("clock");
}
