"""Text: a trace as strace writes it, one line for each call, signal and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from diorama.abi.signal import signal_name
from diorama.catalogue import formatter
from diorama.observe.words import end_text, spelled

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee
    from diorama.observe.trace import Returned

# Where results begin, as strace has it by default.
_RESULT_COLUMN = 40


class Text:
    """A `Writer` of lines.

    `always_tid` puts the thread's number in front of each line, as is useful in a file; without it lines have
    `[pid N]` while there are several tasks.
    """

    def __init__(self, write: Callable[[str], None], *, always_tid: bool) -> None:
        self._write = write
        self._always_tid = always_tid

    def describe(self, call: Request, value: int | None) -> str:
        """`read(3, "...", 10)`."""
        return formatter.call_text(call, value)

    def returned(self, event: Returned) -> None:
        """`read(3, "...", 10) = 10`."""
        call, value = event.call, event.value
        text = event.described or f"{spelled(call)}(...)"
        result = "?" if value is None else formatter.result_text(call, value)
        self._line(call.tracee, f"{text:<{_RESULT_COLUMN - 1}} = {result}", event.tasks)

    def signalled(self, tracee: Tracee, sig: int, tasks: int) -> None:
        """`--- SIGINT ---`."""
        self._line(tracee, f"--- {signal_name(sig)} ---", tasks)

    def ended(self, tracee: Tracee, status: int, tasks: int) -> None:
        """`+++ exited with 0 +++`."""
        self._line(tracee, f"+++ {end_text(status)} +++", tasks)

    def _line(self, tracee: Tracee, text: str, tasks: int) -> None:
        if self._always_tid:
            text = f"{tracee.tid:<5} {text}"
        elif tasks > 1:
            text = f"[pid {tracee.tid:>5}] {text}"
        self._write(text)
