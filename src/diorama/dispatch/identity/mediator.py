"""Mediator: answers calls about identity, after all handlers, and before networks and the file tree."""

from __future__ import annotations

import socket
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.fcntl import F_SETFL
from diorama.abi.socket import SO_PASSCRED, SO_PEERCRED
from diorama.catalogue.io import Fcntl
from diorama.catalogue.processes import Prctl, PrLimit64
from diorama.catalogue.sockets import GetSockOpt, SetSockOpt, Socket, SocketPair
from diorama.dispatch.identity.answers import ANSWERS, Outcome
from diorama.dispatch.identity.state import Identities
from diorama.dispatch.subscription import ArgumentTest
from diorama.engine._native import TEST_EQ, TEST_NE

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.files.state import Files
    from diorama.dispatch.subscription import Tests
    from diorama.view.identity import Identity

__all__ = ["IdentityMediator"]

_SUBJECTS: Final = (
    "becoming",
    "capabilities",
    "execution",
    "flags",
    "inheritance",
    "meeting",
    "privileges",
    "scheduling",
    "signals",
    "sockets",
    "status",
    "tracing",
    "users",
)


class IdentityMediator:
    """Who is who in one view, in which programs begin with the identity `first`."""

    decides = False

    def __init__(self, files: Files, first: Identity) -> None:
        for subject in _SUBJECTS:
            import_module(f"diorama.dispatch.identity.{subject}")
        from diorama.dispatch.identity.execution import about_to_execute, tell

        self.identities = Identities(files, first)
        files.tasks.identity = first
        mapping = self.identities.mapping
        files.mapping = mapping if mapping.changes else None
        files.runs_as = self.identities.runs_as
        files.on_execute = partial(about_to_execute, self.identities)
        files.auxiliary.changers.append(tell)

    def requests(self) -> frozenset[type[Request]]:
        """What must be asked here."""
        return frozenset(ANSWERS)

    @property
    def tests(self) -> Tests:
        """Only some options are about identity."""
        from diorama.dispatch.identity.capabilities import OF_MEMORY, OPTIONS
        from diorama.dispatch.identity.privileges import socket_tests
        from diorama.dispatch.identity.sockets import SO_PEERGROUPS

        numbers = sorted({*OPTIONS, *OF_MEMORY})
        options = (ArgumentTest("option", TEST_EQ, SO_PEERCRED, (SO_PEERGROUPS,)),)
        return {
            Fcntl: (ArgumentTest("command", TEST_EQ, F_SETFL),),
            GetSockOpt: options,
            PrLimit64: (ArgumentTest("pid", TEST_NE, 0), ArgumentTest("new", TEST_NE, 0)),
            Prctl: (ArgumentTest("option", TEST_EQ, numbers[0], tuple(numbers[1:])),),
            SetSockOpt: (ArgumentTest("option", TEST_EQ, SO_PASSCRED),),
            Socket: socket_tests(),
            SocketPair: (ArgumentTest("family", TEST_EQ, socket.AF_UNIX),),
        }

    def answer(self, call: Any) -> Outcome:
        """Decide about a request."""
        return ANSWERS[type(call)](self.identities, call)
