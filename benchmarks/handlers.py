"""Handlers: what the benchmark does with a call; the environment variable BENCHMARK_ACTION chooses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama import View

ANSWER = 7


def load(view: View) -> None:
    """Add the handler that the environment names."""
    ACTIONS[os.environ["BENCHMARK_ACTION"]](view)


def settled(view: View) -> None:
    """Stops, and the path is found to be none of ours without entering Python."""
    view.on("openat", path="/nowhere/*")(lambda call: None)


def let_pass(view: View) -> None:
    """Stops, and runs as it is."""
    view.on("getppid")(lambda call: None)


def result(view: View) -> None:
    """Runs, and its result is seen."""
    view.on("getppid")(lambda call: call.run())


def skip(view: View) -> None:
    """Is answered."""
    view.on("getppid")(lambda call: ANSWER)


def change(view: View) -> None:
    """Runs with another argument."""
    view.on("openat", path="/etc/passwd")(lambda call: call.replace(flags=os.O_CLOEXEC))


def redirect(view: View) -> None:
    """Runs with another path, which is put into the program's memory."""
    view.on("openat", path="/etc/passwd")(lambda call: call.replace(path=b"/etc/group"))


def sequence(view: View) -> None:
    """Becomes three calls."""

    @view.on("getppid")
    def three(call: Any) -> int:
        call.tracee.syscall.getpid()
        call.tracee.syscall.gettid()
        seen: int = call.run()
        return seen


ACTIONS = {
    "settled": settled,
    "pass": let_pass,
    "result": result,
    "skip": skip,
    "change": change,
    "redirect": redirect,
    "sequence": sequence,
}
