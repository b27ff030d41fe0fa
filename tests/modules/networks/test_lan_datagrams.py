"""Datagrams between two hosts of a LAN that pass through its keeper; no time has a limit from above."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from diorama.modules.networks.lan import datagrams, unheard, wire, wiring
from diorama.modules.networks.lan.addresses import ADDRESS4, Place, relayed
from diorama.modules.networks.lan.conditions import Conditions
from diorama.modules.networks.lan.datagrams import Datagrams
from diorama.modules.networks.lan.loop import Loop
from diorama.modules.networks.lan.pipe import Pipes
from modules.networks.lan_pair import Pair
from modules.networks.lan_room import LIMIT, until
from modules.networks.test_lan_pcap import read

LATENCY = 0.08


@pytest.fixture
def slow(pair: Pair) -> Pair:
    pair.one.order("set", [f"latency={LATENCY}"])
    return pair


def stand(at: socket.socket) -> tuple[str, int]:
    """Where a relay stands in for a socket."""
    address, port = at.getsockname()
    return relayed(address), port


def nothing(*_: object) -> None:
    """Do nothing."""


def sockets(pair: Pair) -> tuple[socket.socket, socket.socket]:
    return pair.socket_of(pair.one, socket.SOCK_DGRAM), pair.socket_of(pair.other, socket.SOCK_DGRAM)


def connect(pair: Pair, one: socket.socket, other: socket.socket) -> None:
    """Connect one of the first host to one of the second, by the relay."""
    one.connect(pair.one.relay(one.getsockname(), other.getsockname(), "udp"))


def test_who_is_connected_hears_and_is_heard_after_half_the_latency_each(slow: Pair) -> None:
    one, other = sockets(slow)
    connect(slow, one, other)
    begun = time.monotonic()
    one.send(b"hello")
    assert other.recvfrom(100) == (b"hello", stand(one))
    assert time.monotonic() - begun >= LATENCY / 2
    other.sendto(b"", slow.other.relay(other.getsockname(), one.getsockname(), "udp"))
    assert one.recv(100) == b""
    assert time.monotonic() - begun >= LATENCY
    other.connect(slow.other.relay(other.getsockname(), one.getsockname(), "udp"))
    other.send(b"both are connected")
    assert one.recv(100) == b"both are connected"


def test_who_is_connected_to_the_place_itself_hears_all_the_same(slow: Pair) -> None:
    one, other = sockets(slow)
    other.connect(one.getsockname())
    connect(slow, one, other)
    for data in (b"hello", b"x" * 9000, b"bye"):
        one.send(data)
        assert other.recv(10000) == data


def test_nobody_refuses_after_the_latency(slow: Pair) -> None:
    one, other = sockets(slow)
    third = slow.socket_of(slow.other, socket.SOCK_DGRAM)
    connect(slow, one, other)
    other.close()
    begun = time.monotonic()
    one.send(b"hello")
    with pytest.raises(ConnectionRefusedError):
        one.recv(100)
    assert time.monotonic() - begun >= LATENCY
    connect(slow, one, third)
    one.send(b"x")
    assert third.recv(10) == b"x"


def test_a_datagram_that_the_kernel_was_late_to_refuse_is_refused_again(
    slow: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as hearing, socket.socket(type=socket.SOCK_DGRAM) as by:
        for at, index in ((hearing, ADDRESS4), (by, ADDRESS4 | 64)):
            unheard.prepare(at)
            at.settimeout(LIMIT)
            unheard.bind(at, Place(slow.one.number, slow.one.host, index, 0).real())
        source = f"127.{slow.one.number}.{slow.one.host}.99"
        unheard.refuse((source, 0), hearing, by, b"nobody hears this")
        by.sendto(b"hello", hearing.getsockname())
        assert unheard.hear(hearing) == (b"hello", by.getsockname(), False)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "connect", nothing)
            unheard.refuse((source, 0), hearing, by, b"late")
        assert unheard.hear(hearing) == (b"late", (source, by.getsockname()[1]), True)


def test_a_relay_is_there_as_long_as_somebody_is_connected_to_it(
    pair: Pair, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "_IDLE", 0.05)
    made = Datagrams(loop, Pipes(lambda one, other: Conditions()), nothing)
    one, other = sockets(pair)
    third = pair.socket_of(pair.other, socket.SOCK_DGRAM)
    asked = threading.Event()

    def ask() -> None:
        for target in (other, third):
            made.ask(one.getsockname(), target.getsockname())
        one.connect(stand(other))
        asked.set()

    loop.soon(ask)
    assert asked.wait(LIMIT)

    until(lambda: is_bindable(stand(third)), "the relay that nobody uses to be gone")
    one.send(b"hello")
    assert other.recv(100) == b"hello"
    one.connect(("127.0.0.1", 9))
    until(lambda: is_bindable(stand(other)), "the other one to be gone too")


def test_a_look_that_fails_for_want_of_descriptors_is_not_the_last(
    pair: Pair, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "_IDLE", 0.05)
    failed = threading.Event()
    look = datagrams.datagram_peers

    def fail_once() -> set[tuple[str, int]]:
        if failed.is_set():
            return look()
        failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(datagrams, "datagram_peers", fail_once)
    made = Datagrams(loop, Pipes(lambda one, other: Conditions()), nothing)
    one, other = sockets(pair)
    loop.soon(lambda: nothing(made.ask(one.getsockname(), other.getsockname())))
    assert failed.wait(LIMIT)
    until(lambda: is_bindable(stand(other)), "the relay that nobody uses to be gone")


def test_sockets_that_are_connected_again_leave_descriptors_for_others(
    slow: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = slow.socket_of(slow.other, socket.SOCK_DGRAM)
    made = [slow.socket_of(slow.one, socket.SOCK_DGRAM) for _ in range(100)]
    for at in made:
        at.connect(target.getsockname())
    copies = (socket.socket(fileno=os.dup(at.fileno())) for _ in range(2) for at in made)
    looks = [itertools.islice(copies, 100), itertools.islice(copies, 100)]
    monkeypatch.setattr(wiring, "open_sockets", lambda: looks.pop(0))
    finish = wiring.Wiring(slow.one).changed()
    assert finish is not None
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = list(itertools.islice((fd for fd in itertools.count() if fd not in used), 45))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, before[1]))
    try:
        with finish(slow.one.state.version):
            for spare in [os.dup(target.fileno()) for _ in range(20)]:
                os.close(spare)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {at.getpeername() for at in made} == {stand(target)}


def test_what_a_keeper_said_that_is_gone_is_asked_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (at.getsockname() for at in sockets(pair))
    ask, asked = pair.one._ask, []  # pyright: ignore[reportPrivateUsage]

    def ask_late(make: Callable[[int], wire.Message]) -> wire.Answer:
        answer = ask(make)
        asked.append(answer)
        pair.one.keepers += len(asked) == 1
        return answer

    monkeypatch.setattr(pair.one, "_ask", ask_late)
    for _ in range(3):
        pair.one.relay(one, other, "udp")
    assert len(asked) == 2


def is_bindable(real: tuple[str, int]) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(real)
        except OSError:
            return False
        return True


def test_published_ports_and_the_outside_take_the_latency_and_are_written_down(
    slow: Pair, tmp_path: Path
) -> None:
    path = tmp_path / "office.pcap"
    slow.one.order("pcap", [str(path)])
    inside = slow.socket_of(slow.other, socket.SOCK_DGRAM, port=53)
    found = slow.one.order("publish", ["0=b:53/udp"]).published[-1]
    with socket.socket(type=socket.SOCK_DGRAM) as outside:
        outside.settimeout(LIMIT)
        outside.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        outside.sendto(b"in", (found.address, found.port))
        data, gateway = inside.recvfrom(100)
        assert data == b"in"
        inside.sendto(b"back", gateway)
        assert outside.recv(100) == b"back"
        assert time.monotonic() - begun >= LATENCY
        slow.one.order("gateway", ["allow=*"])
        there = outside.getsockname()
        real = slow.other.outside(inside.getsockname(), there[0], there[1], "udp")
        assert real is not None
        begun = time.monotonic()
        inside.sendto(b"out", real)
        data, way = outside.recvfrom(100)
        outside.sendto(b"home", way)
        assert inside.recvfrom(100) == (b"home", real)
        assert time.monotonic() - begun >= LATENCY
    slow.one.order("pcap", ["none"])
    one, other = ("10.1.0.254", "10.1.0.2"), ("10.1.0.2", "10.1.0.254")
    packets = [((packet.source, packet.target), packet.data) for packet in read(path)]
    assert packets == [
        (one, b"in"),
        (other, b"back"),
        (("10.1.0.2", "127.0.0.1"), b"out"),
        (("127.0.0.1", "10.1.0.2"), b"home"),
    ]


@pytest.mark.parametrize("words", [[], [f"latency={LATENCY}"]], ids=["at once", "later"])
def test_an_outside_that_refuses_refuses(pair: Pair, words: list[str]) -> None:
    if words:
        pair.one.order("set", words)
    pair.one.order("gateway", ["allow=*"])
    client = pair.socket_of(pair.one, socket.SOCK_DGRAM)
    with socket.socket(type=socket.SOCK_DGRAM) as unheard:
        unheard.bind(("127.0.0.1", 0))
        there = unheard.getsockname()
    real = pair.one.outside(client.getsockname(), there[0], there[1], "udp")
    assert real is not None
    client.connect(real)
    begun = time.monotonic()
    client.send(b"hello")
    with pytest.raises(ConnectionRefusedError):
        client.recv(100)
    assert time.monotonic() - begun >= (LATENCY if words else 0)
    with socket.socket(type=socket.SOCK_DGRAM) as hearing:
        hearing.settimeout(LIMIT)
        hearing.bind(there)
        # Somebody else: the relay may still be about to refuse what the first one sends.
        other = pair.socket_of(pair.one, socket.SOCK_DGRAM)
        other.connect(real)
        until(lambda: sent_again(other, hearing), "it to be heard")


def sent_again(one: socket.socket, hearing: socket.socket) -> bool:
    with suppress(ConnectionRefusedError):
        one.send(b"hello")
    return bool(select.select([hearing], [], [], 1)[0])
