"""Errno: names of error numbers, also of those that never leave the kernel."""

from __future__ import annotations

import errno
import os

__all__ = ["RESTARTS", "error_name", "error_text"]

ERESTARTSYS = 512
ERESTARTNOINTR = 513
ERESTARTNOHAND = 514
ENOIOCTLCMD = 515
ERESTART_RESTARTBLOCK = 516

RESTARTS = {
    ERESTARTSYS: "ERESTARTSYS",
    ERESTARTNOINTR: "ERESTARTNOINTR",
    ERESTARTNOHAND: "ERESTARTNOHAND",
    ERESTART_RESTARTBLOCK: "ERESTART_RESTARTBLOCK",
}
"""Results that a tracer sees at an exit stop when the call will be made again or turned into EINTR."""

# Two names share a number; programs and man pages say these.
_PREFERRED = {errno.EAGAIN: "EAGAIN", errno.EDEADLK: "EDEADLK", errno.EOPNOTSUPP: "EOPNOTSUPP"}


def error_name(number: int) -> str:
    """The name of an error number, "ENOENT" for example, or the number itself when it has none."""
    return _PREFERRED.get(number) or errno.errorcode.get(number) or RESTARTS.get(number) or str(number)


def error_text(number: int) -> str:
    """What the error means, in words."""
    return "To be restarted" if number in RESTARTS else os.strerror(number)
