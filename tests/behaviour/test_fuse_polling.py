"""Files of FUSE mounts that are not always ready: programs poll them as they poll everything else."""

from __future__ import annotations

import errno
import os
import select
from typing import Any

import pytest

import diorama
from behaviour.served import Handles, Served
from diorama.fuse.flags import NOTIFY_POLL, POLL_SCHEDULE_NOTIFY, FOpen
from diorama.fuse.handles import PollIn, PollOut, WriteOut
from diorama.fuse.notices import NotifyPollWakeup


class Queue:
    """A file that gives what is put into it, and takes as long as there is `room`."""

    def __init__(self, served: Served) -> None:
        self.server = served.server
        self.items: list[bytes] = []
        self.room = 0
        self.number = 0
        self.asked = 0
        Handles(served.server, FOpen.DIRECT_IO | FOpen.NONSEEKABLE)
        served.server.add(b"file", b"")
        served.server.override |= {"POLL": self.poll, "READ": self.read, "WRITE": self.write}

    def put(self, item: bytes) -> None:
        self.items.append(item)
        self.notify()

    def notify(self) -> None:
        self.server.notify(NOTIFY_POLL, NotifyPollWakeup(self.number).encode())

    def poll(self, header: Any, body: bytes) -> bytes:
        wanted = PollIn.decode(body)
        assert wanted.flags & POLL_SCHEDULE_NOTIFY
        self.number = wanted.kh
        self.asked += 1
        return PollOut((select.POLLIN if self.items else 0) | (select.POLLOUT if self.room else 0)).encode()

    def read(self, header: Any, body: bytes) -> bytes:
        if not self.items:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self.items.pop(0)

    def write(self, header: Any, body: bytes) -> bytes:
        self.room -= 1
        return WriteOut(1).encode()


@pytest.fixture
def queue(served: Served) -> Queue:
    return Queue(served)


def line_of(process: diorama.Popen) -> str:
    assert process.stdout is not None
    return str(process.stdout.readline().decode().rstrip())


def rest_of(process: diorama.Popen) -> str:
    assert process.stdout is not None
    with process:
        return str(process.stdout.read().decode().rstrip())


POLLING = """
    import select
    fd = os.open("mnt/file", os.O_RDWR | os.O_NONBLOCK)
    def ready(timeout=0, events=select.POLLIN | select.POLLOUT):
        poll = select.poll()
        poll.register(fd, events)
        return [event for _, event in poll.poll(timeout)]
"""


def test_who_polls_is_told_what_the_server_says(served: Served, queue: Queue) -> None:
    queue.items = [b"one", b"two"]
    queue.room = 1
    script = POLLING + """
    print(ready(), os.read(fd, 9), ready(), os.write(fd, b"x"), ready(), os.read(fd, 9), ready())
    print(told(os.read, fd, 9), select.select([fd], [fd], [], 0))
    """
    assert served.run(script) == ["[5] b'one' [5] 1 [1] b'two' []", "EAGAIN ([], [], [])"]


@pytest.mark.parametrize(
    "wait",
    [
        "ready(50_000)",
        "[sum(select.select([fd], [], [], 50)[0]) // fd]",
        "[event for _, event in epoll.poll(50)]",
    ],
    ids=["poll", "select", "epoll"],
)
def test_who_waits_is_woken(served: Served, queue: Queue, wait: str) -> None:
    script = POLLING + f"""
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN)
    print("waits", flush=True)
    for _ in range(3):
        print({wait}, os.read(fd, 9), flush=True)
    print(ready())
    """
    process = served.start(script)
    assert line_of(process) == "waits"
    for item in (b"one", b"two", b"three"):
        queue.put(item)
        assert line_of(process) == f"[1] {item!r}"
    assert rest_of(process) == "[]"


def test_who_waits_to_write_is_woken(served: Served, queue: Queue) -> None:
    script = POLLING + """
    print(ready(), flush=True)
    print(ready(50_000), os.write(fd, b"x"), ready())
    """
    process = served.start(script)
    assert line_of(process) == "[]"
    queue.room = 1
    queue.notify()
    assert rest_of(process) == "[4] 1 []"


def test_a_server_that_takes_it_back_is_believed(served: Served, queue: Queue) -> None:
    queue.items = [b"one"]
    queue.room = 1
    script = POLLING + """
    import time
    print(ready(), flush=True)
    while ready():
        time.sleep(0.01)
    print("believed")
    """
    process = served.start(script)
    assert line_of(process) == "[5]"
    queue.items, queue.room = [], 0
    queue.notify()
    assert rest_of(process) == "believed"


def test_who_waits_when_the_server_ends_is_woken(served: Served, queue: Queue) -> None:
    script = POLLING + """
    print("waits", flush=True)
    print(bool(ready(50_000)), told(os.read, fd, 9))
    """
    process = served.start(script)
    assert line_of(process) == "waits"
    queue.server.socket.shutdown(2)
    assert rest_of(process) == "True ENOTCONN"


def test_a_server_that_does_not_know_it_is_asked_once_and_always_ready(served: Served) -> None:
    Handles(served.server, FOpen.DIRECT_IO)
    served.server.add(b"file", b"0123456789")
    script = POLLING + """
    print(ready(), os.read(fd, 3), ready(), os.write(fd, b"x"), ready())
    os.close(fd)
    fd = os.open("mnt/file", os.O_RDONLY)
    print(ready(), os.read(fd, 3))
    """
    assert served.run(script) == ["[5] b'012' [5] 1 [5]", "[5] b'012'"]
    assert served.requests("POLL") == ["POLL"]
