"""Words: calls, results and ends as traces put them, also where the tracee is gone meanwhile."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from diorama.abi.signal import signal_name
from diorama.catalogue import formatter
from diorama.errors import TraceeDied

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Spelling


def name_of(spelling: Spelling) -> str:
    """The name of a spelling; of one behind a multiplexer, that of its request."""
    return spelling.name if spelling.selector is None else spelling.request.NAME


def spelled(call: Request) -> str:
    """The name of a call as the program spelled it."""
    return call.NAME if call.spelling is None else name_of(call.spelling)


def errno_name(value: int | None) -> str | None:
    """`ENOENT` for -2; None for what is no error."""
    if value is None or not -4096 < value < 0:
        return None
    return errno.errorcode.get(-value, str(-value))


def call_text(call: Request, value: int | None) -> str:
    """`openat(AT_FDCWD, "/etc/passwd", O_RDONLY)`."""
    try:
        return formatter.call_text(call, value)
    except TraceeDied:
        # What its arguments point at went with it.
        return f"{spelled(call)}(...)"


def result_text(call: Request, value: int | None) -> str:
    """`3`, `-1 ENOENT (No such file or directory)`, or `?`."""
    return "?" if value is None else formatter.result_text(call, value)


def call_fields(call: Request, value: int | None) -> dict[str, Any]:
    """The arguments by name, as plain data."""
    try:
        return formatter.fields(call, value)
    except TraceeDied:
        return {}


def end_text(status: int) -> str:
    """`exited with 0`, `killed by SIGSEGV (core dumped)`; for -1, that nobody can know."""
    if status < 0:
        return "ended unseen"
    if os.WIFEXITED(status):
        return f"exited with {os.WEXITSTATUS(status)}"
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    return f"killed by {signal_name(os.WTERMSIG(status))}{core}"
