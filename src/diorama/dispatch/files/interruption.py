"""Interruption: handlers of signals, where calls wait for us and would be interrupted (`engine.stubs`).

What a program asks about its handlers it gets as it has set it.
"""

from __future__ import annotations

from typing import Final

from diorama.abi.arch import Abi
from diorama.abi.signal import SA_RESTART, SIG_DFL, SIG_IGN, SigAction
from diorama.catalogue.signals import RtSigAction
from diorama.dispatch.files.answers import Outcome, answers
from diorama.dispatch.files.state import Files
from diorama.engine.stubs import find_handler, has_stubs, make_stub

_NO_HANDLERS: Final = (SIG_DFL, SIG_IGN)


@answers(RtSigAction)
def act_on_signal(_files: Files, call: RtSigAction) -> Outcome:
    """Install a handler that interrupts calls behind a stub."""
    tracee = call.tracee
    if tracee.abi is not Abi.X86_64:
        return None
    had_stubs = bool(call.old) and has_stubs(tracee)
    changed = _behind_stub(call)
    if not had_stubs:
        return changed
    result = call.run() if changed is None else changed.run()
    found = call.old.read()
    handler = find_handler(tracee, found.sa_handler)
    if handler is not None:
        call.old.write(found.replace(sa_handler=handler, sa_flags=found.sa_flags & ~SA_RESTART))
    return result


def _behind_stub(call: RtSigAction) -> RtSigAction | None:
    new = _action(call)
    if new is None or new.sa_handler in _NO_HANDLERS or new.sa_flags & SA_RESTART:
        return None
    stub = make_stub(call.tracee, new.sa_handler)
    if stub is None:
        return None
    return call.replace(new=new.replace(sa_handler=stub, sa_flags=new.sa_flags | SA_RESTART))


def _action(call: RtSigAction) -> SigAction | None:
    if not call.new:
        return None
    try:
        return call.new.read()
    except OSError:
        return None  # the kernel will say it
