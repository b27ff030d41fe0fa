"""Requests that nobody would make on purpose: each gets an answer, and none finds a mistake of ours."""

from __future__ import annotations

import errno

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diorama.abi import rtnetlink
from diorama.abi.netlink import NLMSG_DONE, NLMSG_ERROR, attribute
from diorama.abi.sockdiag import SOCK_DIAG_BY_FAMILY
from diorama.interfaces.localstory import LocalStory
from diorama.interfaces.netlink.asked import Settings
from diorama.interfaces.netlink.diag import DiagResponder
from diorama.interfaces.netlink.responder import Responder, RouteResponder
from interfaces.office import code, office, replies, request

KINDS = [value for name, value in vars(rtnetlink).items() if name.startswith("RTM_") and 16 <= value < 124]
NUMBERS = [1, 2, 3, 254, 255, 1 << 31]
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([number.to_bytes(4, "little") for number in NUMBERS]),
    st.sampled_from([b"eth0\0", b"lo", b"\n\0\0\1", b"\n\t\0\1", b"\0" * 16, b"\xfd" + b"\0" * 14 + b"\1"]),
)
ATTRIBUTES = st.lists(st.tuples(st.integers(0, 60), VALUES), max_size=5)
HEADS = st.tuples(st.sampled_from([0, 2, 7, 10, 17, 77]), st.binary(max_size=15)).map(
    lambda parts: bytes([parts[0]]) + parts[1]
)
SETTINGS = st.builds(
    Settings, port=st.just(9), capped=st.booleans(), extended=st.booleans(), strict=st.booleans()
)
FLAGS = st.sampled_from([0, 4, 0x300, 0x304, 0x404, 0x604, 0x504, 0xC04])


def body(head: bytes, width: int, attributes: list[tuple[int, bytes]]) -> bytes:
    return head.ljust(width, b"\0")[:width] + b"".join(attribute(*one) for one in attributes)


def check(responder: Responder, datagram: bytes, told: Settings) -> None:
    for answer in replies(responder.answer(datagram, told)):
        if answer.type in (NLMSG_ERROR, NLMSG_DONE):
            assert code(answer) != errno.EIO
            assert 0 <= code(answer) < 134


OFTEN = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@OFTEN
@given(st.sampled_from(KINDS), FLAGS, HEADS, st.sampled_from([8, 12, 16]), ATTRIBUTES, SETTINGS)
def test_what_is_nearly_a_request_is_answered(
    kind: int, flags: int, head: bytes, width: int, attributes: list[tuple[int, bytes]], told: Settings
) -> None:
    story = office()
    check(RouteResponder(story), request(kind, flags, body(head, width, attributes)), told)
    check(RouteResponder(story), request(rtnetlink.RTM_GETROUTE, 0x300, b"\0"), told)


@OFTEN
@given(st.integers(16, 200), FLAGS, st.binary(max_size=60), SETTINGS)
def test_what_is_no_request_at_all_is_answered(kind: int, flags: int, content: bytes, told: Settings) -> None:
    check(RouteResponder(LocalStory()), request(kind, flags, content), told)
    check(DiagResponder(tuple), request(kind, flags, content), told)
    check(DiagResponder(tuple), request(SOCK_DIAG_BY_FAMILY, flags, content), told)


@OFTEN
@given(st.binary(max_size=100))
def test_what_is_no_message_is_answered(datagram: bytes) -> None:
    check(RouteResponder(LocalStory()), datagram, Settings())
