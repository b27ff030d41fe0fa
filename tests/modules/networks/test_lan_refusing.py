"""Who connects at a relay that has nobody to connect to: refused though the kernel sends nothing again."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator

import pytest

from diorama.modules.networks.lan.addresses import ADDRESS4, Place, relayed
from diorama.modules.networks.lan.hearing import state_between
from diorama.modules.networks.lan.loop import Loop
from diorama.modules.networks.lan.refusing import Refusal
from diorama.modules.networks.lan.relay import Door, socket_at
from modules.networks.lan_pair import Pair
from modules.networks.lan_room import LIMIT, until

NUMBER = 254
SYN_SENT = 2


@pytest.fixture
def door() -> Iterator[Door]:
    """One that stays: who connects there is neither connected nor refused for two minutes."""
    with socket.socket() as free:
        free.bind((relayed(Place(NUMBER, 7, ADDRESS4, 0).real()[0]), 0))
        real = free.getsockname()
    door = Door(real)
    yield door
    door.close()


def client(family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    host, _ = Place(NUMBER, 1, ADDRESS4, 0).real()
    made.bind((f"::ffff:{host}" if family == socket.AF_INET6 else host, 0))
    made.settimeout(0)
    return made


def source(made: socket.socket) -> tuple[str, int]:
    host, port = made.getsockname()[:2]
    return host.removeprefix("::ffff:"), port


def start(loop: Loop, made: socket.socket, door: Door) -> None:
    ends = source(made), door.real
    loop.soon(lambda: Refusal(loop, *ends, time.monotonic() + LIMIT, socket_at) and None)


def connect(made: socket.socket, door: Door) -> None:
    host, port = door.real
    there = f"::ffff:{host}" if made.family == socket.AF_INET6 else host
    assert made.connect_ex((there, port)) == errno.EINPROGRESS


def failed(made: socket.socket) -> int:
    """The errno with which connecting has ended, which was waited for."""
    poll = select.poll()
    poll.register(made.fileno(), select.POLLOUT)
    assert poll.poll(LIMIT * 1000)
    return made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("is_early", [True, False], ids=["before", "after"])
def test_who_asks_a_door_that_hears_nothing_is_refused(
    loop: Loop, door: Door, family: int, is_early: bool
) -> None:
    with client(family) as made, client(family) as other:
        connect(other, door)
        if is_early:
            connect(made, door)
        start(loop, made, door)
        if not is_early:
            connect(made, door)
        assert failed(made) == errno.ECONNRESET
        assert state_between(source(other), door.real) == SYN_SENT


def test_what_is_between_two_addresses(door: Door) -> None:
    with client() as made:
        assert state_between(source(made), door.real) == 0
        connect(made, door)
        assert state_between(source(made), door.real) == SYN_SENT
        assert state_between(door.real, source(made)) == 0


@pytest.mark.parametrize("words", [[], ["latency=20ms"]], ids=["at once", "later"])
def test_why_nobody_answers_outside_is_known(pair: Pair, words: list[str]) -> None:
    if words:
        pair.one.order("set", words)
    pair.one.order("gateway", ["allow=*"])
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port: int = unheard.getsockname()[1]
        for host, code in (("127.0.0.1", errno.ECONNREFUSED), ("255.255.255.255", errno.ENETUNREACH)):
            made = pair.socket_of(pair.one)
            real = pair.one.outside(made.getsockname(), host, port, "tcp")
            assert real is not None
            made.settimeout(0)
            made.connect_ex(real)
            assert failed(made) in (errno.ECONNRESET, errno.ECONNREFUSED)
            assert pair.one.why(made.getsockname()) == code
            assert pair.one.why(made.getsockname()) == 0


def test_who_stops_listening_while_somebody_is_under_way_has_refused(pair: Pair) -> None:
    pair.one.order("set", ["latency=100ms"])
    listener, made = pair.listener(), pair.socket_of(pair.one)
    real = pair.one.relay(made.getsockname(), listener.getsockname(), "tcp")
    listener.close()
    made.settimeout(0)
    made.connect_ex(real)
    assert failed(made) in (errno.ECONNRESET, errno.ECONNREFUSED)
    assert until(lambda: pair.one.why(made.getsockname()), "the reason") == errno.ECONNREFUSED
