"""Capabilities: capget(2), capset(2) and what prctl(2) is asked about identity."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from diorama.abi import capability as abi
from diorama.abi.io import Number
from diorama.catalogue.identity import CapGet, CapSet
from diorama.catalogue.processes import Prctl
from diorama.dispatch.identity.answers import Outcome, answers, fail
from diorama.view import capabilities as rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.dispatch.identity.state import Identities
    from diorama.view.identity import Identity

__all__ = ["OF_MEMORY", "OPTIONS"]

OF_MEMORY: Final = (abi.PR_GET_DUMPABLE, abi.PR_SET_DUMPABLE)

_WORDS: Final = {abi.CAPABILITY_VERSION_1: 1, abi.CAPABILITY_VERSION_2: 2, abi.CAPABILITY_VERSION_3: 2}


@answers(CapGet)
def capget(identities: Identities, call: CapGet) -> Outcome:
    """The sets of a thread; without room for them, which version there is."""
    try:
        words = _words(call)
    except OSError as error:
        if error.errno == errno.EINVAL and not call.data:
            return 0
        raise
    if not call.data:
        return 0
    pid = _pid(call)
    if pid < 0:
        raise fail(errno.EINVAL)
    who = identities.find(pid) if pid else identities.of(call.tracee)
    if who is None:
        raise fail(errno.ESRCH)
    sets = (who.effective, who.permitted, who.inheritable)
    data = b"".join(
        struct.pack("<3I", *(one >> 32 * word & 0xFFFFFFFF for one in sets)) for word in range(words)
    )
    call.tracee.memory.write(call.data, data)
    return 0


@answers(CapSet)
def capset(identities: Identities, call: CapSet) -> Outcome:
    """Other sets, of the thread itself only."""
    words = _words(call)
    if _pid(call) not in (0, call.tracee.tid):
        raise fail(errno.EPERM)
    data = call.tracee.memory.read(call.data, words * 12)
    if len(data) < words * 12:
        raise fail(errno.EFAULT)
    rows = list(struct.iter_unpack("<3I", data))
    sets = [sum(row[at] << 32 * word for word, row in enumerate(rows)) for at in range(3)]
    effective, permitted, inheritable = (one & abi.ALL_CAPABILITIES for one in sets)
    who = rules.capset(identities.of(call.tracee), effective, permitted, inheritable)
    identities.change(call.tracee, who)
    return 0


def _words(call: CapGet | CapSet) -> int:
    """How many words a set has in the version that is asked for; EINVAL, and the version told, if unknown."""
    words = _WORDS.get(call.header.read().value & 0xFFFFFFFF)
    if words is None:
        call.header.write(Number(abi.CAPABILITY_VERSION_3))
        raise fail(errno.EINVAL)
    return words


def _pid(call: CapGet | CapSet) -> int:
    data = call.tracee.memory.read(call.header.address + 4, 4)
    if len(data) < 4:
        raise fail(errno.EFAULT)
    return int.from_bytes(data, "little", signed=True)


# -- prctl ----------------------------------------------------------------------------------------


def _read_bounding(who: Identity, call: Prctl) -> int:
    return int(rules.in_bounding(who, call.second))


def _drop_bounding(who: Identity, call: Prctl) -> Identity:
    return rules.drop_bounding(who, call.second)


def _get_securebits(who: Identity, call: Prctl) -> int:
    return who.securebits


def _set_securebits(who: Identity, call: Prctl) -> Identity:
    return rules.set_securebits(who, call.second)


def _get_keepcaps(who: Identity, call: Prctl) -> int:
    return int(bool(who.securebits & abi.SECBIT_KEEP_CAPS))


def _set_keepcaps(who: Identity, call: Prctl) -> Identity:
    return rules.keep_capabilities(who, call.second)


def _ambient(who: Identity, call: Prctl) -> Identity | int:
    if call.second == abi.PR_CAP_AMBIENT_CLEAR_ALL:
        if call.third | call.fourth | call.fifth:
            raise fail(errno.EINVAL)
        return rules.clear_ambient(who)
    if call.fourth | call.fifth:
        raise fail(errno.EINVAL)
    is_set = rules.has_ambient(who, call.third)  # which checks the number, before what is asked is looked at
    if call.second == abi.PR_CAP_AMBIENT_IS_SET:
        return int(is_set)
    if call.second == abi.PR_CAP_AMBIENT_RAISE:
        return rules.raise_ambient(who, call.third)
    if call.second == abi.PR_CAP_AMBIENT_LOWER:
        return rules.lower_ambient(who, call.third)
    raise fail(errno.EINVAL)


def _get_no_new_privs(who: Identity, call: Prctl) -> int:
    if call.second | call.third | call.fourth | call.fifth:
        raise fail(errno.EINVAL)
    return int(who.no_new_privs)


def _set_no_new_privs(who: Identity, call: Prctl) -> Identity:
    if call.second != 1 or call.third | call.fourth | call.fifth:
        raise fail(errno.EINVAL)
    return replace(who, no_new_privs=True)


OPTIONS: Final[dict[int, Callable[[Identity, Prctl], Identity | int]]] = {
    abi.PR_CAPBSET_READ: _read_bounding,
    abi.PR_CAPBSET_DROP: _drop_bounding,
    abi.PR_GET_SECUREBITS: _get_securebits,
    abi.PR_SET_SECUREBITS: _set_securebits,
    abi.PR_GET_KEEPCAPS: _get_keepcaps,
    abi.PR_SET_KEEPCAPS: _set_keepcaps,
    abi.PR_CAP_AMBIENT: _ambient,
    abi.PR_GET_NO_NEW_PRIVS: _get_no_new_privs,
    abi.PR_SET_NO_NEW_PRIVS: _set_no_new_privs,
}


def _about_memory(identities: Identities, call: Prctl, option: int) -> Outcome:
    """Who has closed its memory by changing who it is has done so for the view alone."""
    task = identities.task(call.tracee)
    if option == abi.PR_GET_DUMPABLE:
        return _closed_value() if task.is_closed else None
    if call.second <= 1:
        identities.close(task, closed=False)
    return None


def _closed_value() -> int:
    """What the kernel makes of such a process: not to be looked into, or by root only (proc(5))."""
    try:
        with open("/proc/sys/fs/suid_dumpable", "rb") as file:
            return int(file.read())
    except OSError:
        return 0


@answers(Prctl)
def prctl(identities: Identities, call: Prctl) -> Outcome:
    """What is about identity; the rest is the kernel's."""
    number = call.option & 0xFFFFFFFF
    if number in OF_MEMORY:
        return _about_memory(identities, call, number)
    option = OPTIONS.get(number)
    if option is None:
        return None
    outcome = option(identities.of(call.tracee), call)
    if isinstance(outcome, int):
        return outcome
    identities.change(call.tracee, outcome)
    return 0
