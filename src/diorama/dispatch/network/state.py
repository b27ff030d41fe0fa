"""State: the endpoints of a view, and whose sockets they are.

A socket is known by its inode number, which is a counter of the kernel's, and for certain by its cookie
(SO_COOKIE), which no other socket has ever had. What was closed is not told; so when there are many, those
that nobody has open any more are swept out.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import stat
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from diorama.abi.socket import AF_UNIX, SO_COOKIE, SO_NETNS_COOKIE, SOCK_STREAM
from diorama.dispatch.files.borrowing import borrow
from diorama.dispatch.files.holders import lives
from diorama.dispatch.network.answers import fail
from diorama.engine.descent import members
from diorama.engine.taking import descriptors_of
from diorama.errors import Unsupported
from diorama.view.asking import asks

if TYPE_CHECKING:
    from diorama.catalogue.model import Request, Tracee
    from diorama.dispatch.files.state import Files
    from diorama.interfaces.network import Endpoint
    from diorama.view.mounts import Mount
    from diorama.view.stacks import Stacks
    from diorama.view.task import Task

__all__ = ["Known", "Lent", "Networks"]

_SWEEP_AT: Final = 2048
_YOUNG: Final = 10.0
_CLOSED: Final = "the program has closed its memory (PR_SET_DUMPABLE), so its sockets cannot be reached"


class Known(NamedTuple):
    """A socket of a stack; `network` is None for one in a namespace of the kernel's."""

    endpoint: Endpoint
    network: Any
    cookie: bytes
    since: float


class Lent(NamedTuple):
    """A socket of a stack, and our copy of the program's descriptor."""

    endpoint: Endpoint
    at: socket.socket
    network: Any

    @property
    def is_stream(self) -> bool:
        """Whether messages have no addresses."""
        return self.endpoint.type == SOCK_STREAM

    @property
    def is_held(self) -> bool:
        """Whether it is a pair, whose messages come from nowhere as the kernel sees it."""
        return self.at.family == AF_UNIX != self.endpoint.family


class Networks:
    """The networks of one view.  Any thread."""

    def __init__(self, files: Files) -> None:
        self.files = files
        files.held_besides = self.held
        self.abstract: set[bytes] = set()
        """The abstract names of AF_UNIX that programs of the view have bound."""
        self._known: dict[int, Known] = {}
        self._foreign: set[int] = set()
        self._lock = threading.Lock()
        self._sweep_at = _SWEEP_AT

    # -- whose --------------------------------------------------------------------------------

    @property
    def is_used(self) -> bool:
        """Whether any task may have a network of its own."""
        tasks = self.files.tasks
        if tasks.has_chosen_stacks or tasks.stacks:
            return True
        return any(network_of(mount.filesystem) is not None for mount in self.files.tree.mounts)

    def task(self, tracee: Tracee) -> Task:
        """The task of a tracee."""
        return self.files.task(tracee)

    def network(self, tracee: Tracee, family: int) -> Any:
        """The network that a tracee has for a family; None for the kernel's."""
        return self.files.task(tracee).stacks.find(family)

    def asks(self, tracee: Tracee) -> None:
        """On this thread, a tracee asks from now on (`diorama.view.asking`)."""
        asks(self.files.tasks, self.files.task(tracee), tracee.step_aside)

    def guards(self, tracee: Tracee) -> bool:
        """Whether nothing of a tracee's may get round its networks."""
        return self.files.task(tracee).stacks.guards

    # -- sockets ------------------------------------------------------------------------------

    def add(self, at: socket.socket, endpoint: Endpoint, network: Any) -> Known:
        """Remember whose socket this is."""
        cookie = at.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
        known = Known(endpoint, network, cookie, time.monotonic())
        with self._lock:
            self._known[os.fstat(at.fileno()).st_ino] = known
            is_full = len(self._known) > self._sweep_at
        if is_full:
            self._sweep()
        return known

    def endpoint(self, call: Request) -> Endpoint | None:
        """The endpoint of the socket of a call, without a copy of that if it is known already."""
        inode = self._inode(call)
        known = None if inode is None else self._known.get(inode)
        if known is not None:
            return known.endpoint
        with self.lent(call) as lent:
            return None if lent is None else lent.endpoint

    def family(self, call: Request) -> int | None:
        """The address family of the socket of a call, as its program sees it; None if it is no socket."""
        inode = self._inode(call)
        if inode is None or inode in self._foreign:
            return None if inode is None else AF_UNIX
        known = self._known.get(inode)
        return AF_UNIX if known is None else known.endpoint.family

    @contextmanager
    def lent(self, call: Request) -> Generator[Lent | None, None, None]:
        """The socket of a call, if it is of a stack; None if not, or if it is no socket at all."""
        inode = self._inode(call)
        if inode is None or inode in self._foreign:
            yield None
            return
        known = self._known.get(inode)
        if known is None and not self._concerns(call.tracee):
            yield None
            return
        copy = borrow(call.tracee, _fd(call))
        if copy is None:
            raise Unsupported(call.NAME, _CLOSED, errno.EPERM)
        with _as_socket(copy) as at:
            found = self._find(call.tracee, at, inode, known)
            yield None if found is None else Lent(found.endpoint, at, found.network)

    def copy_of(self, tracee: Tracee, fd: int) -> socket.socket:
        """A copy of a descriptor that the program has just got; `OSError`."""
        copy = borrow(tracee, fd)
        if copy is None:
            raise Unsupported("accept4", _CLOSED, errno.EPERM)
        return socket.socket(fileno=copy)

    def check_socket(self, call: Request) -> None:
        """That the descriptor of a call is of a socket at all; ENOTSOCK, EBADF."""
        if self._inode(call) is None:
            path = f"/proc/{call.tracee.tid}/fd/{_fd(call)}"
            raise fail(errno.ENOTSOCK if os.path.lexists(path) else errno.EBADF)

    def _inode(self, call: Request) -> int | None:
        try:
            status = os.stat(f"/proc/{call.tracee.tid}/fd/{_fd(call)}")
        except OSError:
            return None
        return status.st_ino if stat.S_ISSOCK(status.st_mode) else None

    def _find(self, tracee: Tracee, at: socket.socket, inode: int, known: Known | None) -> Known | None:
        if known is not None and at.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8) == known.cookie:
            return known
        family = int(at.family)
        network = self.network(tracee, family)
        before = self.task(tracee).stacks.before
        if network is None and before is not None and before.guards:
            return self._find_apart(at, family, before)
        if network is None:
            if family == AF_UNIX:
                if len(self._foreign) > _SWEEP_AT:
                    self._foreign = set()
                self._foreign.add(inode)
            return None
        endpoint: Endpoint | None = network.adopt(at, family)
        return None if endpoint is None else self.add(at, endpoint, network)

    def _concerns(self, tracee: Tracee) -> bool:
        stacks = self.task(tracee).stacks
        return bool(stacks) or (stacks.before is not None and stacks.before.guards)

    def _find_apart(self, at: socket.socket, family: int, before: Stacks) -> Known | None:
        """Of who has left its networks: made since then, or one from before that nobody has seen yet."""
        network = before.find(family)
        if network is None:
            return None
        is_from_before = at.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8) == _own_namespace()
        endpoint: Endpoint | None = network.adopt(at, family) if is_from_before else network.apart(at, family)
        if endpoint is None:
            return None
        return self.add(at, endpoint, network if is_from_before else None)

    # -- use ----------------------------------------------------------------------------------

    def held(self, mounts: set[Mount]) -> set[Mount]:
        """Those of some mounts whose network a living task has, or a socket of which somebody has open."""
        wanted = {id(network_of(mount.filesystem)): mount for mount in mounts if network_of(mount.filesystem)}
        if not wanted:
            return set()
        tasks = self.files.tasks
        choices = [tasks.stacks, *(task.stacks for task in tasks.all() if lives(task))]
        used = {id(network) for stacks in choices for network in stacks.networks()}
        with self._lock:
            sockets = {inode: id(known.network) for inode, known in self._known.items()}
        if not wanted.keys().isdisjoint(sockets.values()):
            used |= {sockets[inode] for inode in self._open() & sockets.keys()}
        return {mount for network, mount in wanted.items() if network in used}

    def _open(self) -> set[int]:
        """The sockets that processes of the view have open."""
        found: set[int] = set()
        for pid in members():
            found |= _sockets_of(pid)
        return found

    def _sweep(self) -> None:
        """Forget sockets that no process of the view has open."""
        began = time.monotonic()
        open_ones = self._open()
        with self._lock:
            for inode in set(self._known) - open_ones:
                if self._known[inode].since < began - _YOUNG:  # or it is about to be given
                    del self._known[inode]
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._known))


@functools.cache
def _own_namespace() -> bytes:
    with socket.socket(socket.AF_UNIX) as ours:
        return ours.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)


def _as_socket(fd: int) -> socket.socket:
    """A descriptor as a socket; what was put in its place meanwhile may be none: ENOTSOCK."""
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise


def _fd(call: Any) -> int:
    return int(call.fd)


def network_of(filesystem: Any) -> Any:
    """The network that a mount is of; None for one of files."""
    return getattr(filesystem, "network", None)


def _sockets_of(pid: int) -> set[int]:
    found: set[int] = set()
    for fd in descriptors_of(pid):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found
