"""Descriptors that another process gets know the mount that they were opened through."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.io import IoVec
from diorama.abi.socket import MsgHdr, UnixAddress, sent_descriptors
from diorama.catalogue.files import OpenAt
from diorama.catalogue.handles import Array, In, SockAddr
from diorama.catalogue.processes import PidFdGetFd
from diorama.catalogue.sockets import Bind, SendMMsg, SendMsg
from diorama.dispatch.mediator import Mediator
from diorama.modules.sources import make_mount
from diorama.view.task import Task
from dispatch.support import Inside


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A bind of `src` at `at`, with the decider that every engine has."""
    for name in ("src/sub", "at"):
        (tmp_path / name).mkdir(parents=True)
    mediator = Mediator()
    mediator.mount(make_mount(str(tmp_path / "src")), tmp_path / "at")
    mediator.decider()
    inside = Inside(mediator)
    yield SimpleNamespace(top=tmp_path, inside=inside, files=mediator.files, memory=inside.tracee.memory)
    mediator.close()


def control_of(*fds: int) -> bytes:
    return struct.pack("<Qii", 16 + 4 * len(fds), socket.SOL_SOCKET, socket.SCM_RIGHTS) + struct.pack(
        f"<{len(fds)}i", *fds
    )


def header(world: SimpleNamespace, *fds: int, name: bytes = b"") -> MsgHdr:
    place = world.memory.place
    control = control_of(*fds) if fds else b""
    data = IoVec(place(b"many"), 4)
    return MsgHdr(
        msg_name=place(name) if name else 0,
        msg_namelen=len(name),
        msg_iov=place(data.pack(world.inside.tracee.abi)),
        msg_iovlen=1,
        msg_control=place(control) if fds else 0,
        msg_controllen=len(control),
    )


def send(world: SimpleNamespace, fd: int) -> None:
    abi, memory = world.inside.tracee.abi, world.memory
    at = memory.place(header(world, fd).pack(abi))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert world.inside.ask(SendMsg(ours.fileno(), In(at, MsgHdr, abi, "", memory), 0)) == 4


def other(world: SimpleNamespace, tid: int) -> Task:
    return world.files.tasks.enter(world.files.tasks.stranger(tid, tid))


def identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def test_the_receiver_of_a_directory_finds_the_mount(world: SimpleNamespace) -> None:
    fd = world.inside.open(world.top / "at/sub")
    stranger, opened = other(world, 1), world.files.tasks.opened
    assert opened.find(stranger, identity(fd)) is None
    assert not opened.any(stranger)
    send(world, fd)
    mount = opened.find(stranger, identity(fd))
    assert mount is not None
    assert mount.host == os.fsencode(world.top / "src")
    assert opened.any(stranger)
    assert not opened.has_own(stranger)
    os.close(fd)


def test_who_opens_it_by_its_host_name_does_not(world: SimpleNamespace) -> None:
    fd = world.inside.open(world.top / "at/sub")
    stranger, opened = other(world, 1), world.files.tasks.opened
    send(world, fd)
    opened.drop(stranger, identity(fd))
    assert opened.find(stranger, identity(fd)) is None
    assert opened.find(other(world, 2), identity(fd)) is not None
    plain = world.inside.open(world.top / "src/sub")
    assert opened.find(world.files.task(world.inside.tracee), identity(plain)) is None
    os.close(fd)
    os.close(plain)


def test_what_was_opened_plainly_is_not_noted_when_it_is_sent(world: SimpleNamespace) -> None:
    kept = world.inside.open(world.top / "at")
    fd = world.inside.open(world.top / "src/sub")
    send(world, fd)
    assert world.files.tasks.opened.passed == {}
    os.close(fd)
    os.close(kept)


def test_a_descriptor_that_is_taken_brings_its_mount(world: SimpleNamespace) -> None:
    fd = world.inside.open(world.top / "at/sub")
    opened, task = world.files.tasks.opened, world.files.task(world.inside.tracee)
    mount = opened.find(task, identity(fd))
    pidfd = os.pidfd_open(os.getpid())
    assert world.inside.outcome(PidFdGetFd(pidfd, fd, 0)) is None
    assert opened.find(task, identity(fd)) is mount
    assert world.inside.outcome(PidFdGetFd(fd, fd, 0)) is None
    os.close(pidfd)
    os.close(fd)


def test_control_data_is_read_as_far_as_it_makes_sense() -> None:
    abi = Abi.native()[0]
    credentials = struct.pack("<Qii3ii", 28, socket.SOL_SOCKET, socket.SCM_CREDENTIALS, 1, 2, 3, 0)
    assert sent_descriptors(abi, credentials + control_of(4, 5)) == [4, 5]
    assert sent_descriptors(abi, struct.pack("<Qii", 3, 1, 1) + control_of(4)) == []
    assert sent_descriptors(abi, control_of(4)[:-6]) == []
    i386 = struct.pack("<Iii2i", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, 7, 8)
    assert sent_descriptors(Abi.native()[1], i386) == [7, 8]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("socket", "socket"), 2), (("socket", "none"), 1), (("none", "socket"), FileNotFoundError)],
)
def test_several_messages_go_to_sockets_in_a_mount(
    world: SimpleNamespace, names: tuple[str, ...], expected: int | type[OSError]
) -> None:
    abi, memory, inside = world.inside.tracee.abi, world.memory, world.inside
    paths = [UnixAddress(os.fsencode(world.top / "at/sub" / name)).pack() for name in names]
    packed = b"".join(header(world, name=path).pack(abi, "mmsghdr") for path in paths)
    several = Array(memory.place(packed), len(paths), MsgHdr, abi, "mmsghdr", memory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server, socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM
    ) as client:
        bound = UnixAddress(os.fsencode(world.top / "at/sub/socket")).pack()
        address = SockAddr(memory.place(bound), len(bound), memory)
        inside.ask(Bind(server.fileno(), address, len(bound)))
        call = SendMMsg(client.fileno(), several, len(paths), 0)
        if not isinstance(expected, int):
            with pytest.raises(expected):
                inside.ask(call)
            return
        assert inside.ask(call) == expected
        assert [server.recv(9, socket.MSG_DONTWAIT) for _ in range(expected)] == [b"many"] * expected
        assert [one.msg_len for one in several.read_all()] == [4] * expected + [0] * (len(names) - expected)


def test_a_directory_that_is_gone_is_left_upwards(world: SimpleNamespace) -> None:
    fd = world.inside.open(world.top / "at/sub")
    (world.top / "src/sub").rmdir()
    (world.top / "src/file").write_text("here")
    found = world.inside.ask(OpenAt(fd, b"../file", os.O_RDONLY, 0))
    assert os.read(found, 9) == b"here"
    with pytest.raises(FileNotFoundError):
        world.inside.ask(OpenAt(fd, b"new", os.O_CREAT | os.O_WRONLY, 0o600))
    os.close(found)
    os.close(fd)


def test_paths_that_begin_nowhere_are_left_to_the_kernel(world: SimpleNamespace) -> None:
    with pytest.raises(FileNotFoundError):
        world.inside.ask(OpenAt(AT_FDCWD, b"", os.O_RDONLY, 0))
