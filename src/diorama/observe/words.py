"""Words: names, errors and ends as all traces put them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from diorama.abi.signal import signal_name

if TYPE_CHECKING:
    from diorama.catalogue.model import Request


def spelled(call: Request) -> str:
    """The name of a call as the program spelled it; behind a multiplexer, that of the request."""
    spelling = call.spelling
    return call.NAME if spelling is None or spelling.selector is not None else spelling.name


def errno_name(value: int | None) -> str | None:
    """`ENOENT` for -2; None for what is no error."""
    if value is None or not -4096 < value < 0:
        return None
    return errno.errorcode.get(-value, str(-value))


def end_text(status: int) -> str:
    """`exited with 0`, `killed by SIGSEGV (core dumped)`; for -1, that nobody can know."""
    if status < 0:
        return "ended unseen"
    if os.WIFEXITED(status):
        return f"exited with {os.WEXITSTATUS(status)}"
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    return f"killed by {signal_name(os.WTERMSIG(status))}{core}"
