"""Responder: what the kernel's end of a netlink socket answers, without any input or output.

A datagram with requests goes in, datagrams with answers come out. Requests are answered in their order; as
netlink(7) has it, what answers one is

* to a request for all (NLM_F_DUMP): the answers, in datagrams that the smallest buffers in use can hold
  (those of glibc have 4 KiB), and NLMSG_DONE;
* to one for a single thing: that, and to one that changes something nothing; then an acknowledgement if it
  was asked for;
* to one that failed: NLMSG_ERROR, with the request (one for all: NLMSG_DONE), and with a text if the socket
  has asked for such.

Messages are made here rather than by pyroute2: its codecs take 0.13 s to be imported, which the first
`getaddrinfo(3)` of a program would wait for, and 55 µs for a message of four attributes.
"""

from __future__ import annotations

import errno
import struct
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from diorama.abi.netlink import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_DUMP_FILTERED,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_MIN_TYPE,
    NLMSGERR_ATTR_MSG,
    Message,
    acknowledge,
    split_messages,
    text_attribute,
)
from diorama.abi.rtnetlink import RTM_BASE, RTM_MAX, RTM_NEWADDR, RTM_NEWNEIGH, RTM_NEWROUTE, RTM_NEWRULE
from diorama.interfaces.netlink.addresses import ADDRESSES
from diorama.interfaces.netlink.asked import Answer, Asked, Dump, Kind, Settings, Told
from diorama.interfaces.netlink.links import LINKS
from diorama.interfaces.netlink.neighbours import NEIGHBOURS, RULES
from diorama.interfaces.netlink.routes import ROUTES
from diorama.interfaces.network import Story, refuse

__all__ = ["Responder", "RouteResponder", "pack_answers"]

_PIECE: Final = 3776
"""How much of a dump is in one datagram: what the kernel's buffers of one page have room for."""
_NEW, _DELETE, _GET, _SET = range(4)
_KINDS: Final[Mapping[int, Kind]] = {
    RTM_BASE: LINKS,
    RTM_NEWADDR: ADDRESSES,
    RTM_NEWROUTE: ROUTES,
    RTM_NEWNEIGH: NEIGHBOURS,
    RTM_NEWRULE: RULES,
}


def pack_answers(messages: Iterable[bytes]) -> Iterator[bytes]:
    """Datagrams with these messages, as many in each as it has room for."""
    piece = b""
    for message in messages:
        if piece and len(piece) + len(message) > _PIECE:
            yield piece
            piece = b""
        piece += message
    if piece:
        yield piece


class Responder:
    """Who answers requests of one netlink protocol; `handle` is what protocols differ in."""

    def answer(self, datagram: bytes, settings: Settings) -> list[bytes]:
        """The datagrams that answer one of a socket."""
        found: list[bytes] = []
        for message in split_messages(datagram):
            found += self._answer(message, settings)
        return found

    def handle(self, message: Message, settings: Settings) -> Dump | Answer | None:
        """What answers a request; the errors of the kernel."""
        raise NotImplementedError

    def _answer(self, message: Message, settings: Settings) -> Iterator[bytes]:
        code, told, found = 0, "", None
        if message.flags & NLM_F_REQUEST and message.type >= NLMSG_MIN_TYPE:
            try:
                found = self.handle(message, settings)
            except OSError as error:
                code = error.errno or errno.EIO
                told = _text_of(error)
            except Exception:
                traceback.print_exc()
                code = errno.EIO
        if isinstance(found, Dump):
            yield from pack_answers(_dumped(found, message, settings))
            return
        if found is not None:
            yield Message(found[0], 0, message.sequence, settings.port, found[1]).pack()
        if code or message.flags & NLM_F_ACK:
            told = told if settings.extended else ""
            yield acknowledge(message, settings.port, code, capped=settings.capped, told=told).pack()


def _dumped(dump: Dump, message: Message, settings: Settings) -> Iterator[bytes]:
    flags = NLM_F_MULTI | (NLM_F_DUMP_FILTERED if dump.is_filtered else 0)
    for kind, body in dump.answers:
        yield Message(kind, flags, message.sequence, settings.port, body).pack()
    code, text = (0, "") if dump.error is None else (dump.error.errno or errno.EIO, _text_of(dump.error))
    end = struct.pack("=i", -code)
    if text and settings.extended:
        flags |= NLM_F_ACK_TLVS
        end += text_attribute(NLMSGERR_ATTR_MSG, text)
    yield Message(NLMSG_DONE, flags, message.sequence, settings.port, end).pack()


def _text_of(error: OSError) -> str:
    return error.text if isinstance(error, Told) else ""


class RouteResponder(Responder):
    """NETLINK_ROUTE: what a story tells; `changed` is called when a request has changed something."""

    def __init__(self, story: Story, changed: Callable[[], None] | None = None) -> None:
        self._story = story
        self._changed = changed

    def handle(self, message: Message, settings: Settings) -> Dump | Answer | None:
        if message.type > RTM_MAX:
            raise refuse(errno.EOPNOTSUPP)
        if not message.body:
            return None
        kind = _KINDS.get(message.type & ~3)
        if kind is None:
            raise refuse(errno.EOPNOTSUPP)
        asked = Asked(self._story, message, settings)
        what = message.type & 3
        if what == _GET:
            return _tell(kind, asked)
        change = kind.remove if what == _DELETE else kind.add
        if change is None or (what == _SET and kind is not LINKS):
            raise refuse(errno.EOPNOTSUPP)
        change(asked)
        if self._changed is not None:
            self._changed()
        return None


def _tell(kind: Kind, asked: Asked) -> Dump | Answer:
    if asked.wants_all and kind.dump is not None:
        try:
            return kind.dump(asked)
        except OSError as error:
            return Dump((), error=error)
    if asked.wants_all or kind.get is None:
        raise refuse(errno.EOPNOTSUPP)
    return kind.get(asked)
