/* diorama_clock.h - clocks that show something else than those of the host: a part of diorama.h.
 *
 * A course of time leads from what the clocks of the host show to what programs see.  A view has one for all, number 0,
 * and others for some processes; what a program reads is answered by the decider (decide_clock.c). */
#ifndef DIORAMA_CLOCK_H
#define DIORAMA_CLOCK_H

/* In what form a clock is told: a struct timespec, timeval, or time_t; and those of 32-bit programs. */
enum dio_time_form {
    DIO_TIME_SPEC,
    DIO_TIME_SPEC_32,
    DIO_TIME_VALUE,
    DIO_TIME_VALUE_32,
    DIO_TIME_SECONDS,
    DIO_TIME_SECONDS_32
};
/* What a call waits for. */
enum dio_wait {
    DIO_WAIT_DURATION,
    DIO_WAIT_MILLISECONDS, /* as many as `arg` says, if positive */
    DIO_WAIT_FUTEX, /* by the operation `arg` */
    DIO_WAIT_CLOCK, /* by the clock `arg`, until a time if TIMER_ABSTIME is in `flags_arg` */
    DIO_WAIT_TIMER, /* a timer of an unknown clock, with `flags_arg` as before */
    DIO_WAIT_WALL   /* until a time of CLOCK_REALTIME */
};

/* Clocks (decide_clock.c): from `real`, where they showed `shown`, on, in nanoseconds. */
enum dio_clock_kind { DIO_CLOCK_WALL, DIO_CLOCK_MONOTONIC, DIO_CLOCK_RAW, DIO_CLOCK_BOOTTIME, DIO_CLOCK_KINDS };
struct dio_course {
    int64_t real[DIO_CLOCK_KINDS], shown[DIO_CLOCK_KINDS];
    int64_t wall_rate, pace, unit; /* how far the wall clock and the others go while the host's go by `unit` */
    int64_t step;                  /* what each reading adds to the wall clock */
};

/* Between these no clock is read; a course is given in between.  NULL: there is no such clock. -EINVAL, -ENOMEM. */
DIO_API void dio_decider_clocks_hold(struct dio_decider *decider);
DIO_API void dio_decider_clocks_release(struct dio_decider *decider);
DIO_API int dio_decider_clock(struct dio_decider *decider, uint32_t number, const struct dio_course *course);
/* What a clock id shows now by a clock, in nanoseconds; -ENOENT: that is the kernel's to say. */
DIO_API int dio_decider_time(struct dio_decider *decider, uint32_t number, int32_t clock, int64_t *out);
/* What a clock of a kind shows when that of the host shows `real`; never less than 0. */
DIO_API int64_t dio_course_at(const struct dio_course *course, int32_t kind, int64_t real);

#endif
