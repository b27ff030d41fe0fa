"""Choice: which engine runs a view's programs, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from diorama.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.engine.probe import Features

__all__ = [
    "ENGINES",
    "GUARDIANS",
    "HANDLERS_RUN",
    "NOTIFY",
    "Choice",
    "choose",
    "make_tag",
    "missing_for_notify",
    "require",
    "require_no_listener_above",
]

GUARDIANS: Final = "guardians"
NOTIFY: Final = "notify"
ENGINES: Final = ("auto", GUARDIANS, NOTIFY)
_ANOTHER: Final = 2
"""What is found where somebody above has a listener."""
# Why a view with handlers leans to guardians.
HANDLERS_RUN: Final = "handlers may run calls, which costs a promotion each with notifications"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and the reason in a few words."""

    engine: str
    reason: str


def missing_for_notify(features: Features) -> str | None:
    """What the kernel or the surroundings lack for notifications; None if nothing."""
    if not features.notif_killable:
        return "the kernel lacks SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19)"
    if features.user_notif == _ANOTHER:
        return "a process above this one has a seccomp listener, and there can be one only"
    if not features.user_notif:
        return "seccomp listeners are refused"
    if not features.notif_addfd:
        return "the kernel lacks SECCOMP_ADDFD_FLAG_SEND (Linux 5.14)"
    return None


def choose(asked: str, features: Features, needs: Sequence[str], leanings: Sequence[str]) -> Choice:
    """The engine for what a view does.

    `needs` are things that only guardians can do, `leanings` those that they do better. `UsageError` if
    notifications are asked for and cannot be had.
    """
    if asked == GUARDIANS:
        return Choice(GUARDIANS, "asked for")
    missing = missing_for_notify(features)
    obstacle = next(iter(needs), None) or missing
    if asked == NOTIFY:
        if obstacle is not None:
            raise UsageError(f"cannot use the engine 'notify': {obstacle}")
        return Choice(NOTIFY, "asked for")
    if obstacle is not None:
        return Choice(GUARDIANS, obstacle)
    if leanings:
        return Choice(GUARDIANS, leanings[0])
    return Choice(NOTIFY, "calls are only answered or let through, but for a few")


def require(features: Features) -> None:
    """`UsageError` unless views can be had at all."""
    if not features.ptrace_allowed:
        why = "a container profile, Yama, or somebody who traces us, as a view does"
        raise UsageError(f"ptrace is not permitted here ({why}); see `diorama doctor`")
    if not (features.get_syscall_info and features.seccomp_filter):
        raise UsageError("this kernel lacks what views need (Linux 5.3, seccomp); see `diorama doctor`")


def require_no_listener_above(features: Features) -> None:
    """`UsageError` for tracing in a view that is notified.

    Of a call that both handle the kernel would tell the outer one alone: it prefers SECCOMP_RET_USER_NOTIF
    to SECCOMP_RET_TRACE.  Others who listen, such as a manager of containers, want few calls.
    """
    from diorama.engine.above import is_in_a_view

    if features.user_notif == _ANOTHER and is_in_a_view():
        raise UsageError("cannot handle or trace calls inside of a view that handles some already")


def make_tag() -> int:
    """A sixth argument that passes a filter: random, and a multiple of the page size, as mmap(2) wants it."""
    return int.from_bytes(os.urandom(8), "little") >> 2 & ~0xFFF | 1 << 12
