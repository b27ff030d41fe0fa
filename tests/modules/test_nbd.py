"""Disks that an NBD server has: with a server of the test's own that keeps to the protocol, or does not."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from diorama.modules.devices.nbd import client
from diorama.modules.devices.nbd.client import NbdDisk
from diorama.modules.devices.nbd.greeting import ProtocolError

MAGIC = b"NBDMAGIC" + b"IHAVEOPT"
REPLY = 0x0003E889045565A9
SIZE = 1 << 20
ALL = 0x1 | 0x4 | 0x20 | 0x40


class Server(threading.Thread):
    """A server of one export in memory; `lie` answers in its stead, or returns None."""

    def __init__(
        self, *, size: int = SIZE, flags: int = ALL, knows_go: bool = True, greeting: bytes | None = None,
        lie: Callable[[int, int, int], bytes | None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        self.client, self.ours = socket.socketpair()
        self.client.settimeout(20)
        self.data = bytearray(size)
        self.flags = flags
        self.knows_go = knows_go
        self.greeting = greeting
        self.lie = lie
        self.asked: list[tuple[int, int, int]] = []
        self.name = ""
        self.start()

    def run(self) -> None:
        try:
            with self.ours:
                self._greet()
                while True:
                    self._answer()
        except (OSError, struct.error):
            return

    def _take(self, format: str) -> tuple[Any, ...]:
        return struct.unpack(format, self.ours.recv(struct.calcsize(format), socket.MSG_WAITALL))

    def _greet(self) -> None:
        self.ours.sendall(self.greeting or MAGIC + struct.pack(">H", 3))
        if self.greeting is not None:
            self.ours.shutdown(socket.SHUT_WR)
            while self.ours.recv(1000):
                pass
            raise OSError
        assert self._take(">I") == (3,)
        while True:
            _, option, length = self._take(">QII")
            body = self.ours.recv(length, socket.MSG_WAITALL) if length else b""
            export = struct.pack(">QH", len(self.data), self.flags)
            if option == 1:
                self.name = body.decode()
                self.ours.sendall(export)
                return
            if not self.knows_go:
                self.ours.sendall(struct.pack(">QIII", REPLY, option, 1 << 31 | 1, 0))
                continue
            self.name = body[4:-2].decode()
            if self.name == "none":
                self.ours.sendall(struct.pack(">QIII", REPLY, option, 1 << 31 | 6, 4) + b"gone")
                continue
            self.ours.sendall(struct.pack(">QIIIH", REPLY, option, 3, 12, 0) + export)
            self.ours.sendall(struct.pack(">QIII", REPLY, option, 1, 0))
            return

    def _answer(self) -> None:
        _, _, kind, cookie, offset, size = self._take(">IHHQQI")
        data = self.ours.recv(size, socket.MSG_WAITALL) if kind == 1 else b""
        self.asked.append((kind, offset, size))
        lie = self.lie(kind, cookie, size) if self.lie else None
        if lie is not None:
            self.ours.sendall(lie)
            if not lie:
                raise OSError  # it is gone
            return
        if kind == 1:
            self.data[offset : offset + size] = data
        if kind == 6:
            self.data[offset : offset + size] = bytes(size)
        found = bytes(self.data[offset : offset + size]) if kind == 0 else b""
        self.ours.sendall(struct.pack(">IIQ", 0x67446698, 0, cookie) + found)


def disk(server: Server, export: str = "") -> NbdDisk:
    return NbdDisk(server.client, export, f"nbd:{id(server)}")


def error(work: Callable[[], object]) -> int | None:
    try:
        work()
    except OSError as failure:
        return failure.errno
    return None


@pytest.mark.parametrize("knows_go", [True, False])
def test_bytes_are_written_and_read(knows_go: bool) -> None:
    server = Server(knows_go=knows_go, flags=ALL)
    found = disk(server, "mine")
    assert (found.size, found.read_only, server.name) == (SIZE, False, "mine")
    data = os.urandom(SIZE // 2)
    found.write(1000, data)
    assert found.read(1000, len(data)) == data
    found.zero(1000, 512)
    assert found.read(990, 530) == bytes(522) + data[512:520]
    found.sync()
    found.discard(0, 4096)
    assert [kind for kind, _, _ in server.asked[-2:]] == [3, 4]
    found.close()
    server.join(20)
    assert [kind for kind, _, _ in server.asked[-2:]] == [3, 2]


def test_what_a_server_cannot_do_is_not_asked() -> None:
    server = Server(flags=0x1 | 0x2)
    found = disk(server)
    assert found.read_only
    found.sync()
    assert error(lambda: found.discard(0, 512)) == errno.EOPNOTSUPP
    assert server.asked == []
    found.close()


def test_many_ask_at_once() -> None:
    server = Server()
    found = disk(server)
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(50):
            data = bytes([number, turn]) * 512
            found.write(number * 1024, data)
            if found.read(number * 1024, 1024) != data:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    found.close()


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"HTTP/1.1 400 Bad Request", "no NBD server"),
        (b"short", "ended the connection"),
        (b"NBDMAGIC" + b"IHAVEOPT" + b"\0\1", "ended the connection"),
        (MAGIC + struct.pack(">H", 3) + struct.pack(">QIII", 7, 7, 1, 0), "does not keep to the protocol"),
        (MAGIC + struct.pack(">H", 3) + struct.pack(">QIII", REPLY, 7, 1, 0), "does not say how large"),
        (MAGIC + struct.pack(">H", 3) + struct.pack(">QIII", REPLY, 7, 1 << 31 | 5, 0), "wants TLS"),
        (MAGIC + struct.pack(">H", 3) + struct.pack(">QIII", REPLY, 7, 1, 1 << 31), "does not keep"),
        (MAGIC + struct.pack(">H", 3) + struct.pack(">QIIIHQH", REPLY, 7, 3, 12, 0, 0, 1)
         + struct.pack(">QIII", REPLY, 7, 1, 0), "it is empty"),
    ],
)  # fmt: skip
def test_a_greeting_that_makes_no_sense_is_told(greeting: bytes, said: str) -> None:
    server = Server(greeting=greeting)
    with pytest.raises(ProtocolError, match=said):
        disk(server)
    server.client.close()


def test_an_export_that_is_not_there_is_told() -> None:
    server = Server()
    with pytest.raises(ProtocolError, match="no export of that name: gone"):
        disk(server, "none")
    server.client.close()


def test_errors_of_the_server_are_told() -> None:
    codes = iter((errno.ENOSPC, 108, 0))

    def lie(kind: int, cookie: int, size: int) -> bytes | None:
        code = next(codes) if kind == 1 else 0
        return struct.pack(">IIQ", 0x67446698, code, cookie) if code else None

    found = disk(Server(lie=lie))
    assert error(lambda: found.write(0, b"x")) == errno.ENOSPC
    assert error(lambda: found.write(0, b"x")) == errno.EIO
    assert error(lambda: found.write(0, b"x")) is None
    found.close()


@pytest.mark.parametrize(
    "lie",
    [
        lambda kind, cookie, size: struct.pack(">IIQ", 0x67446698, 0, cookie + 1),
        lambda kind, cookie, size: struct.pack(">IIQ", 0x12345678, 0, cookie),
        lambda kind, cookie, size: b"",
    ],
    ids=["cookie", "magic", "silence"],
)
def test_a_connection_that_is_lost_is_an_error_for_all(
    lie: Callable[[int, int, int], bytes | None], capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(lie=lie)
    found = disk(server)
    assert error(lambda: found.read(0, 512)) == errno.EIO
    assert error(lambda: found.read(0, 512)) == errno.EIO
    found.close()
    assert "the connection is lost" in capsys.readouterr().err


@pytest.mark.parametrize("silent", [0, 3])
def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(
    silent: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.5)
    again = threading.Event()

    def lie(kind: int, cookie: int, size: int) -> bytes | None:
        if kind == silent:
            again.wait(60)
        return None

    found = disk(Server(lie=lie))
    failures: list[int | None] = []

    def use() -> None:
        failures.append(error(lambda: found.read(0, 512)))
        found.close()

    using = threading.Thread(target=use, daemon=True)
    using.start()
    using.join(30)
    assert not using.is_alive()
    again.set()
    assert failures == [None if silent else errno.ETIMEDOUT]
    assert "what was written last may be lost" in capsys.readouterr().err


class Killed:
    """Who asks, and is killed."""

    def step_aside(self) -> None:
        """Nobody else has to."""

    def is_killed(self) -> bool:
        return True


def test_who_is_killed_while_he_sends_takes_nothing_from_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again, is_asked = threading.Event(), threading.Event()

    def lie(kind: int, cookie: int, size: int) -> bytes | None:
        is_asked.set()
        again.wait(60)
        return None

    server = Server(lie=lie)
    found = disk(server)
    reader = threading.Thread(target=found.read, args=(0, 512), daemon=True)
    reader.start()
    assert is_asked.wait(60)
    me = threading.current_thread()
    monkeypatch.setattr(client, "asker", lambda: Killed() if threading.current_thread() is me else None)
    data = bytes(range(256)) * 4096
    failures = [error(lambda: found.write(0, data)) for _ in range(2)]
    monkeypatch.setattr(client, "asker", lambda: None)
    assert failures == [errno.EINTR] * 2
    again.set()
    reader.join(60)
    assert found.read(0, SIZE) == data
    found.close()
    assert "lost" not in capsys.readouterr().err
