"""Mediator: answers the socket calls of a view, after all handlers and before the file tree.

The answers are in the files of this folder; here is what must be seen for them, and how programs choose.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from diorama.abi.process import CLONE_NEWNET
from diorama.catalogue.identity import RequestKey, Seccomp
from diorama.catalogue.io import Ioctl
from diorama.catalogue.processes import Unshare
from diorama.catalogue.sockets import RecvFrom, RecvMsg, SendMsg, SendTo
from diorama.dispatch.network.answers import ANSWERS, Outcome
from diorama.dispatch.network.state import Networks, network_of
from diorama.dispatch.subscription import ArgumentTest
from diorama.engine._native import TEST_BITS, TEST_EQ, TEST_NE, TEST_WITHIN
from diorama.engine.taking import descriptors_of
from diorama.errors import UsageError
from diorama.view.asking import asked
from diorama.view.task import Context, Task

if TYPE_CHECKING:
    from diorama.catalogue.model import Request
    from diorama.dispatch.files.state import Files
    from diorama.dispatch.subscription import Tests
    from diorama.engine.confinement import Confinement
    from diorama.engine.launch import Command, Launched

__all__ = ["NetworkMediator"]

_SUBJECTS: Final = ("addresses", "files", "making", "messages", "namespaces", "options", "ways")


class NetworkMediator:
    """The networks of one view; `grows`: programs may mount some.

    Choices are made by the caller's threads, answers on guardians.
    """

    decides = frozenset[type["Request"]]({RecvMsg, SendMsg})
    """The native library knows which messages are none of ours (`diorama.dispatch.settling`)."""

    def __init__(self, files: Files, *, grows: bool) -> None:
        self.networks = Networks(files)
        self._grows = grows
        self._confinement: Confinement | None = None
        self._starting = threading.Lock()

    def launch(self, command: Command, program: bytes, tag: int | None) -> Launched:
        """As `diorama.engine.launch.launch`, confined if nothing may get round a network."""
        from diorama.engine.launch import launch

        guards = self.networks.files.tasks.stacks.guards
        if guards:
            _check_rings(command)
        if not (guards and self._confines):
            return launch(command, program, tag)
        from diorama.engine.confinement import Confinement

        with self._starting:
            if self._confinement is None:
                self._confinement = Confinement(with_tcp=self._connects_all)
                self.networks.files.is_confined = True
                self.networks.files.on_close.append(self._confinement.close)
        return self._confinement.run(lambda: launch(command, program, tag))

    @property
    def _confines(self) -> bool:
        """Whether no program of the view may reach a process outside by another way than its network.

        Only if there is no network that lets it, since this cannot be undone for one of them.
        """
        return not self._grows and all(network.hides_abstract for network in self._networks())

    @property
    def _connects_all(self) -> bool:
        """Whether we bind and connect every socket of programs in their stead."""
        stacks = self.networks.files.tasks.stacks
        return stacks.all is not None and all(network.guards for network in self._networks())

    def _networks(self) -> list[Any]:
        networks = (network_of(mount.filesystem) for mount in self.networks.files.tree.mounts)
        return [network for network in networks if network is not None]

    def requests(self) -> frozenset[type[Request]]:
        """What must be asked here: nothing without networks, or with none but the kernel's as it is."""
        networks = [*self._networks(), *self.networks.files.tasks.stacks.networks()]
        is_plain = not self._grows and all(network.is_plain for network in networks)
        if is_plain or not (self._grows or self.networks.is_used):
            return frozenset()
        for subject in _SUBJECTS:
            import_module(f"diorama.dispatch.network.{subject}")
        from diorama.dispatch.network.ways import OF_GUARDS

        guards = self._grows or any(network.guards for network in networks)
        return frozenset(ANSWERS) if guards else frozenset(ANSWERS) - OF_GUARDS

    @property
    def tests(self) -> Tests:
        """Arguments without which some calls never concern a network; asked after `requests`."""
        from diorama.dispatch.network.options import SIOC_END, SIOC_FIRST, TUNSETIFF
        from diorama.dispatch.network.ways import HAS_LISTENER

        addressed = (ArgumentTest("address", TEST_NE, 0),)
        return {
            Ioctl: (
                ArgumentTest("command", TEST_WITHIN, SIOC_FIRST | SIOC_END << 16),
                ArgumentTest("command", TEST_EQ, TUNSETIFF),
            ),
            RecvFrom: addressed,
            Seccomp: (ArgumentTest("flags", TEST_BITS, HAS_LISTENER),),
            RequestKey: (ArgumentTest("info", TEST_NE, 0),),
            SendTo: addressed,
            Unshare: (ArgumentTest("flags", TEST_BITS, CLONE_NEWNET),),
        }

    def answer(self, call: Any) -> Outcome:
        """Decide about a request."""
        networks = self.networks
        if not networks.is_used:
            return None
        networks.asks(call.tracee)
        try:
            outcome = ANSWERS[type(call)](networks, call)
            if outcome is None and not call.spelling.is_direct and networks.guards(call.tracee):
                return _direct(call)
            return outcome
        finally:
            asked()

    def choose(self, path: str, families: Iterable[int] = ()) -> Any:
        """Let programs have the network at an absolute path, which is returned; `UsageError` without one."""
        files = self.networks.files
        tree = files.tree
        us = Task(os.getpid(), os.getpid(), Context(tree.base.root, tree.base, tree))
        try:
            place = files.resolver.resolve(us, us.root, os.fsencode(path))
        except OSError as error:
            raise UsageError(f"cannot use {path}: {(error.strerror or '').lower()}") from None
        network = network_of(place.filesystem)
        if network is None:
            raise UsageError(f"cannot use {path}: no network is mounted there")
        files.tasks.stacks = files.tasks.stacks.choose(network, frozenset(families))
        return network


def _check_rings(command: Command) -> None:
    """A ring that is handed over acts for who has made it, also without a system call: `UsageError`."""
    given = {*command.pass_fds, *(fd if fd >= 0 else at for at, fd in enumerate(command.fds))}
    if not command.close_fds:
        given |= {fd for fd in descriptors_of(os.getpid()) if _is_inherited(fd)}
    for fd in given:
        if _name_of(fd) == "anon_inode:[io_uring]":
            raise UsageError(f"cannot hand over descriptor {fd}: an io_uring leads round the view's network")


def _is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _name_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _direct(call: Request) -> Request:
    """The same as a call of its own: arguments of socketcall(2) stand in memory, where they can change."""
    name = next(iter(call.FIELDS))
    changed: Request = call.replace(**{name: getattr(call, name)})
    return changed
