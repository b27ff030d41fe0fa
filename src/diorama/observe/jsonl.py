"""Jsonl: a trace for programs, one JSON object a line.

Every object has `pid`, `tid` and `time` (seconds since the epoch).  A call has `call` (as the program spelled
it), `args` by name, `result` (null if it failed or never returned), `errno` (a name, or null) and `duration`
(seconds); a signal has `signal`; the end of a task has `exited` or `killed`.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from diorama.abi.signal import signal_name
from diorama.observe.words import call_fields, errno_name, spelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.catalogue.model import Request, Tracee
    from diorama.observe.trace import Moment


class Jsonl:
    """A `Writer` of JSON objects."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def returned(self, call: Request, value: int | None, moment: Moment, tasks: int) -> None:
        """A call and its result."""
        error = errno_name(value)
        self._object(
            call.tracee,
            moment.time,
            call=spelled(call),
            args=call_fields(call, value),
            result=value if error is None else None,
            errno=error,
            duration=round(moment.duration, 9),
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
