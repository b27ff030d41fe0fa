"""Time: clocks and the structures that hold times, in all their widths."""

from __future__ import annotations

from diorama.abi.record import Record, record

__all__ = ["ITimer", "Times", "Timespec", "Timezone"]

CLOCK_REALTIME = 0
CLOCK_MONOTONIC = 1
CLOCK_PROCESS_CPUTIME_ID = 2
CLOCK_THREAD_CPUTIME_ID = 3
CLOCK_MONOTONIC_RAW = 4
CLOCK_REALTIME_COARSE = 5
CLOCK_MONOTONIC_COARSE = 6
CLOCK_BOOTTIME = 7
CLOCK_REALTIME_ALARM = 8
CLOCK_BOOTTIME_ALARM = 9
CLOCK_TAI = 11

TIMER_ABSTIME = 1
TFD_TIMER_ABSTIME = 1
TFD_TIMER_CANCEL_ON_SET = 2
TFD_NONBLOCK = 0o4000
TFD_CLOEXEC = 0o2000000

ITIMER_REAL = 0
ITIMER_VIRTUAL = 1
ITIMER_PROF = 2

UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE


@record({
    "timespec": "long tv_sec, long tv_nsec",
    "timespec64": "s64 tv_sec, s32 tv_nsec, s32 _",
    "timeval": "long tv_sec, long tv_nsec/1000",
})
class Timespec(Record):
    """A time or a duration, timespec(3type); of a `struct timeval` the microseconds read as nanoseconds."""

    tv_sec: int = 0
    tv_nsec: int = 0


@record({
    "timespec": "long atime, long atime_nsec, long mtime, long mtime_nsec",
    "timespec64": "s64 atime, s32 atime_nsec, s32 _, s64 mtime, s32 mtime_nsec, s32 _",
    "timeval": "long atime, long atime_nsec/1000, long mtime, long mtime_nsec/1000",
    "utimbuf": "long atime, long mtime",
})
class Times(Record):
    """The access and modification times that utimensat(2) and its older forms set."""

    atime: int = 0
    atime_nsec: int = 0
    mtime: int = 0
    mtime_nsec: int = 0


@record({
    "itimerspec": "long interval, long interval_nsec, long value, long value_nsec",
    "itimerspec64": "s64 interval, s32 interval_nsec, s32 _, s64 value, s32 value_nsec, s32 _",
    "itimerval": "long interval, long interval_nsec/1000, long value, long value_nsec/1000",
})
class ITimer(Record):
    """A timer's period and its time to the next expiration: `struct itimerspec` and `struct itimerval`."""

    interval: int = 0
    interval_nsec: int = 0
    value: int = 0
    value_nsec: int = 0


@record({"timezone": "s32 tz_minuteswest, s32 tz_dsttime"})
class Timezone(Record):
    """The kernel's idea of the time zone, gettimeofday(2)."""

    tz_minuteswest: int = 0
    tz_dsttime: int = 0


@record({"tms": "long tms_utime, long tms_stime, long tms_cutime, long tms_cstime"})
class Tms(Record):
    """Processor times in clock ticks, times(2)."""

    tms_utime: int = 0
    tms_stime: int = 0
    tms_cutime: int = 0
    tms_cstime: int = 0
