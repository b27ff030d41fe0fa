"""What tasks share and inherit, and calls that would lead around the view; on fakes."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from diorama.abi.socket import MsgHdr, UnixAddress
from diorama.catalogue.handles import In
from diorama.catalogue.model import Request
from diorama.catalogue.paths import ChDir, GetCwd, MkDirAt
from diorama.catalogue.processes import SetNs, Unshare
from diorama.catalogue.sockets import SendMsg
from diorama.dispatch.mediator import Mediator
from diorama.errors import Unsupported
from diorama.testing.fakes import FakeExecution, FakeHost, FakeStatus, FakeTracee
from diorama.view.mounts import Mount
from diorama.view.task import CLONE_FILES, CLONE_FS


class Fakes:
    def __init__(self) -> None:
        self.host = FakeHost({"/src/sub/file": "text", "/mnt": None, "/etc": None})
        self.mediator = Mediator(self.host)
        self.mediator.mount(Mount(host=b"/src"), "/mnt")
        self.first = FakeTracee(12, 12)
        self.stand(self.first, "/")
        self.mediator.rooted(self.first)

    def stand(self, tracee: FakeTracee, path: str) -> None:
        self.host.link(b"/proc/%d/cwd" % tracee.tid, path.encode(), FakeStatus(0o40755, 1, 1))

    def child(self, parent: FakeTracee, tid: int, flags: int) -> FakeTracee:
        child = FakeTracee(tid, tid)
        self.mediator.cloned(parent, child, flags)
        return child

    def ask(self, tracee: FakeTracee, request: Request) -> Any:
        return self.mediator.answer(request.bound(FakeExecution(tracee)))

    def cwd(self, tracee: FakeTracee) -> bytes | None:
        address = tracee.memory.place(bytes(100))
        count = self.ask(tracee, GetCwd(In(address, MsgHdr, tracee.abi), 100))  # type: ignore[arg-type]
        return None if count is None else tracee.memory.read(address, count - 1)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


def test_a_child_inherits_the_current_directory_of_that_moment(fakes: Fakes) -> None:
    fakes.ask(fakes.first, ChDir(b"/mnt/sub"))
    fakes.stand(fakes.first, "/src/sub")
    child = fakes.child(fakes.first, 13, 0)
    fakes.stand(child, "/src/sub")
    assert fakes.cwd(child) == b"/mnt/sub"
    fakes.ask(fakes.first, ChDir(b"/etc"))
    assert fakes.cwd(fakes.first) is None
    assert fakes.cwd(child) == b"/mnt/sub"


def test_threads_share_the_current_directory_until_they_unshare_it(fakes: Fakes) -> None:
    thread = fakes.child(fakes.first, 13, CLONE_FS | CLONE_FILES)
    fakes.ask(fakes.first, ChDir(b"/mnt/sub"))
    for tracee in (fakes.first, thread):
        fakes.stand(tracee, "/src/sub")
    assert fakes.cwd(thread) == b"/mnt/sub"
    fakes.ask(thread, Unshare(CLONE_FS))
    fakes.ask(thread, ChDir(b"/etc"))
    assert fakes.cwd(fakes.first) == b"/mnt/sub"


def test_a_thread_that_executes_takes_the_place_of_its_process(fakes: Fakes) -> None:
    thread = fakes.child(fakes.first, 13, CLONE_FS | CLONE_FILES)
    thread.tid = 12
    fakes.mediator.executed(thread)
    fakes.mediator.exited(fakes.first)
    assert fakes.mediator.files.tasks.find(12) is fakes.mediator.files.task(thread)
    fakes.mediator.exited(thread)
    assert len(fakes.mediator.files.tasks) == 0


def test_a_relative_path_of_a_directory_that_cannot_be_known_is_left_to_the_kernel(fakes: Fakes) -> None:
    del fakes.host.tree[b"/proc/12/cwd"]
    assert fakes.ask(fakes.first, MkDirAt(-100, b"mnt/x", 0o755)) is None
    assert fakes.ask(fakes.first, MkDirAt(99, b"x", 0o755)) is None


def test_the_name_in_a_message_is_translated(fakes: Fakes) -> None:
    memory, abi = fakes.first.memory, fakes.first.abi
    name = UnixAddress(b"/mnt/sub/file").pack()
    header = MsgHdr(msg_name=memory.place(name), msg_namelen=len(name))
    at = memory.place(header.pack(abi))
    changed = fakes.ask(fakes.first, SendMsg(3, In(at, MsgHdr, abi, "", memory), 0))
    sent = changed.message
    assert memory.read(sent.msg_name, sent.msg_namelen) == UnixAddress(b"/src/sub/file").pack()


def test_a_message_without_a_path_is_left_alone(fakes: Fakes) -> None:
    memory, abi = fakes.first.memory, fakes.first.abi
    for name in (b"", UnixAddress(b"\0abstract").pack(), UnixAddress(b"/etc/socket").pack()):
        header = MsgHdr(msg_name=memory.place(name), msg_namelen=len(name))
        message = In(memory.place(header.pack(abi)), MsgHdr, abi, "", memory)
        assert fakes.ask(fakes.first, SendMsg(3, message, 0)) is None


def test_other_mount_namespaces_cannot_be_entered(fakes: Fakes) -> None:
    us = fakes.child(fakes.first, os.getpid(), 0)
    with open("/proc/self/ns/mnt", "rb") as namespace, open("/dev/null", "rb") as none:
        with pytest.raises(Unsupported) as caught:
            fakes.ask(us, SetNs(namespace.fileno(), 0))
        assert caught.value.errno == errno.EPERM
        with pytest.raises(OSError, match="Invalid argument"):
            fakes.ask(us, SetNs(none.fileno(), 0))
    with pytest.raises(OSError, match="Bad file descriptor"):
        fakes.ask(us, SetNs(-1, 0))
    assert fakes.ask(us, SetNs(3, 0x40000000)) is None
