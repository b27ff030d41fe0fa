"""Hosts for tests: packet stacks, and programs of theirs that are in this process.

A `Program` does what the frame does between a program's call and the endpoint; its bytes are the kernel's.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.abi.socket import Inet6Address, InetAddress, SocketAddress
from diorama.modules.networks.packet.endpoints import DatagramEndpoint, PacketEndpoint, StreamEndpoint
from diorama.modules.networks.packet.network import PacketNetwork, make_packet
from diorama.modules.options import Options

LIMIT = 40.0


def is_loadable(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


needs_lwip = pytest.mark.skipif(not is_loadable("liblwip.so.0"), reason="liblwip0 is not installed")
needs_vde = pytest.mark.skipif(
    not is_loadable("libvdeplug.so.2") or shutil.which("vde_switch") is None,
    reason="libvdeplug2 and vde-switch are not installed",
)


def ip(host: str, port: int = 0) -> SocketAddress:
    return Inet6Address(host, port) if ":" in host else InetAddress(host, port)


class Program:
    """A socket of a program of a host."""

    def __init__(self, endpoint: PacketEndpoint, at: socket.socket) -> None:
        self.endpoint = endpoint
        self.at = at
        at.settimeout(LIMIT)

    @classmethod
    def open(
        cls, network: PacketNetwork, type: int, family: int = socket.AF_INET, protocol: int = 0
    ) -> Program:
        endpoint = network.make(family, type, protocol)
        assert isinstance(endpoint, PacketEndpoint)
        return cls(endpoint, endpoint.open())

    def bind(self, host: str, port: int = 0) -> None:
        self.endpoint.bind(self.at, ip(host, port))

    def listen(self, backlog: int = 5) -> None:
        self.endpoint.listen(self.at, backlog)

    def connect(self, host: str, port: int) -> None:
        blocks = self.at.gettimeout() != 0
        self.at.setblocking(blocks)
        try:
            address = self.endpoint.connect(self.at, ip(host, port))
        finally:
            if blocks:
                self.at.settimeout(LIMIT)
        if address is not None:
            self.at.connect(address[2:])

    def accept(self) -> Program:
        new, _ = self.at.accept()
        endpoint = self.endpoint.accepted(new)
        assert isinstance(endpoint, StreamEndpoint)
        return Program(endpoint, new)

    def name(self) -> tuple[str, int]:
        address = self.endpoint.name(self.at)
        assert isinstance(address, InetAddress | Inet6Address)
        return address.host, address.port

    def peer(self) -> tuple[str, int]:
        address = self.endpoint.peer(self.at)
        assert isinstance(address, InetAddress | Inet6Address)
        return address.host, address.port

    def send_to(self, data: bytes, host: str, port: int = 0) -> None:
        sent = self.endpoint.sending(self.at, ip(host, port))
        assert sent.address is not None
        self.at.sendto(data, sent.address[2:])

    def receive_from(self) -> tuple[bytes, tuple[str, int]]:
        data, name = self.at.recvfrom(1 << 16)
        assert isinstance(name, bytes)
        address = self.endpoint.received(self.at, b"\1\0" + name)
        assert isinstance(self.endpoint, DatagramEndpoint)
        assert isinstance(address, InetAddress | Inet6Address)
        return data, (address.host, address.port)

    def error(self) -> int:
        value = self.endpoint.get_option(self.at, socket.SOL_SOCKET, socket.SO_ERROR, 4)
        assert value is not None
        return int.from_bytes(value, "little")

    def read_all(self) -> bytes:
        parts: list[bytes] = []
        while data := self.at.recv(1 << 18):
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        self.at.close()


@contextlib.contextmanager
def host(wire: str, *options: str) -> Iterator[PacketNetwork]:
    network = make_packet(wire, Options.parse(options))
    try:
        yield network
    finally:
        network.close()


@contextlib.contextmanager
def two_hosts(wire: str) -> Iterator[tuple[PacketNetwork, PacketNetwork]]:
    first, second = ((f"address=10.0.0.{number}/24", f"address=fd00::{number}/64") for number in (1, 2))
    with host(wire, *first) as one, host(wire, *second) as other:
        yield one, other


def new_switch() -> str:
    return f"switch:test-{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def vde_switch(directory: Path) -> Iterator[Path]:
    """A vde_switch, in the directory `ctl` of this one."""
    path = directory / "ctl"
    process = subprocess.Popen(
        ["vde_switch", "-s", str(path), "-M", str(directory / "mgmt")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await_listener(path / "ctl")
        yield path
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def await_listener(path: Path) -> None:
    """Until somebody listens on a socket, which is there a moment before."""
    until = time.monotonic() + LIMIT
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            try:
                caller.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < until, f"nobody listens on {path}"
                time.sleep(0.01)
            else:
                return
