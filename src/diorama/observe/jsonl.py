"""Jsonl: a trace for programs, one JSON object a line.

Every object has `pid`, `tid` and `time` (seconds since the epoch).  A call has `call` (as the program spelled
it), `args` by name, `result` (null if it failed or never returned), `errno` (a name, or null) and `duration`
(seconds); a signal has `signal`; the end of a task has `exited` or `killed`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from diorama.abi.signal import signal_name
from diorama.catalogue import formatter
from diorama.observe.words import errno_name, spelled

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee
    from diorama.observe.trace import Returned


class Jsonl:
    """A `Writer` of JSON objects."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def describe(self, call: Request, value: int | None) -> dict[str, Any]:
        """The arguments by name."""
        return formatter.fields(call, value)

    def returned(self, event: Returned) -> None:
        """A call and its result."""
        error = errno_name(event.value)
        self._object(
            event.call.tracee,
            event.time,
            call=spelled(event.call),
            args=event.described or {},
            result=event.value if error is None else None,
            errno=error,
            duration=round(event.duration, 9),
        )

    def signalled(self, tracee: Tracee, sig: int, tasks: int) -> None:
        """A signal that is being delivered."""
        self._object(tracee, time.time(), signal=signal_name(sig))

    def ended(self, tracee: Tracee, status: int, tasks: int) -> None:
        """The end of a task; both `exited` and `killed` are null if nobody can know how."""
        known = status >= 0
        self._object(
            tracee,
            time.time(),
            exited=os.WEXITSTATUS(status) if known and os.WIFEXITED(status) else None,
            killed=signal_name(os.WTERMSIG(status)) if known and os.WIFSIGNALED(status) else None,
        )

    def _object(self, tracee: Tracee, moment: float, **values: Any) -> None:
        record = {"pid": tracee.pid, "tid": tracee.tid, "time": round(moment, 6), **values}
        self._write(json.dumps(record, separators=(",", ":"), default=_plain))


def _plain(value: object) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
