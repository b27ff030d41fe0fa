"""Connection: the conversation with one server, as a state machine without I/O.

    connection = Connection(wants=Init.ASYNC_READ | Init.BIG_WRITES)
    send(connection.start())
    connection.receive(message)                      # the answer to INIT
    unique, message = connection.request("LOOKUP", ROOT_ID, names=(b"hello",))
    reply = connection.receive(answer)               # a Reply, or a Notification

`start` offers what the caller wants and can do; what both sides can do is then in `features`.  Each request
has a number of its own, an even one; its interrupt has that number plus one, as the kernel counts.  A reply
must have exactly the form that its request asks for: what has another, answers nobody's request or tells an
impossible errno is a `ProtocolError`, and the caller drops the connection.

References: each entry that a server gives (LOOKUP, MKNOD, CREATE, READDIRPLUS, ...) is one reference to its
node.  Who keeps nodes counts them, when he knows the node for what it is, and gives them back by `forget`.

Threads: everything here is guarded by one lock that is never held for long; any thread may make requests.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from diorama.fuse.flags import MAJOR, MINOR, OLDEST_MINOR, ROOT_ID, Init
from diorama.fuse.notices import NotifyRetrieve, NotifyRetrieveIn
from diorama.fuse.operations import NOTICES, OPERATIONS, Notice, Operation
from diorama.fuse.wire import (
    Attr,
    BatchForgetIn,
    DirEnt,
    EntryOut,
    ForgetIn,
    ForgetOne,
    InHeader,
    InitIn,
    InitOut,
    InterruptIn,
    OutHeader,
    Wire,
)

__all__ = ["Caller", "Connection", "Listed", "Notification", "ProtocolError", "Reply"]

_PAGE: Final = 4096
_DEFAULT_PAGES: Final = 32
_MAX_PAGES: Final = 256
_MAX_ERRNO: Final = 512
_MAX_NAME: Final = 1024
_ALIGN: Final = 8
_MOST_INTERRUPTS: Final = 1 << 16
_LEAST_TIMEOUT: Final = 15
"""Seconds: the kernel looks no more often."""
_DEEPEST: Final = 2
_IN_HEADER: Final = InHeader.width()
_OUT_HEADER: Final = OutHeader.width()
_put_header: Final = InHeader.FIRST.packed
_header_of: Final = OutHeader.FIRST.members


class ProtocolError(Exception):
    """A server has sent what no server may send."""


class Caller(NamedTuple):
    """On whose behalf a request is made."""

    uid: int = 0
    gid: int = 0
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: `error` is 0 or an errno, and then there is nothing else."""

    unique: int
    operation: Operation
    error: int = 0
    records: tuple[Wire, ...] = ()
    data: bytes = b""

    @property
    def entry(self) -> tuple[EntryOut, Attr]:
        """The entry that it tells of; TypeError if it tells of none."""
        entry, attributes = self.records[:2]
        if not (isinstance(entry, EntryOut) and isinstance(attributes, Attr)):
            raise TypeError(f"{self.operation.name} tells of no entry")
        return entry, attributes

    @property
    def entered(self) -> list[int]:
        """The nodes that it refers to, as often as it does, also by what is no name."""
        if self.operation.name == "READDIRPLUS":
            listed = [one for one in _entries(self.data, plus=True) if one.name not in (b".", b"..")]
            return [one.entry.nodeid for one in listed if one.entry is not None and one.entry.nodeid]
        entry = self.records[0] if self.records else None
        return [entry.nodeid] if isinstance(entry, EntryOut) and entry.nodeid else []


@dataclass(frozen=True, slots=True)
class Notification:
    """What a server tells by itself."""

    notice: Notice
    record: Wire | None
    data: bytes = b""


class Listed(NamedTuple):
    """One name of READDIR or, with `entry` and `attributes`, of READDIRPLUS."""

    name: bytes
    dirent: DirEnt
    entry: EntryOut | None = None
    attributes: Attr | None = None


@dataclass(slots=True)
class _Pending:
    operation: Operation
    room: int
    node: int = 0
    interrupted: bool = False


@dataclass(slots=True)
class Connection:
    """One connection.

    `wants` is what may be agreed upon, `most_read` what a READ may ask for at most (`max_read` in
    mount.fuse3(8)).  After the answer to INIT: `minor` is the version spoken, `features` what both sides can
    do, `max_write` how many bytes one WRITE may carry, `max_read` how many one READ may ask for,
    `max_background` how many requests that nobody waits for may be on their way, `granularity` that of times
    in nanoseconds, `request_timeout` after how many seconds a server that does not answer is given up, and
    `max_stack_depth` how many file systems may lie above what it lends (0: it lends nothing).
    """

    wants: Init
    max_readahead: int = 128 << 10
    minor: int = MINOR
    features: Init = field(default=Init(0))
    max_write: int = _PAGE
    max_read: int = _PAGE
    most_read: int = _MAX_PAGES * _PAGE
    max_background: int = 12
    granularity: int = 1
    request_timeout: float = math.inf
    max_stack_depth: int = 0
    is_ready: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _unique: int = 0
    _pending: dict[int, _Pending] = field(default_factory=dict[int, _Pending])
    _interrupts: set[int] = field(default_factory=set[int])
    _unknown: set[str] = field(default_factory=set[str])

    # -- asking -------------------------------------------------------------------------------

    def start(self) -> bytes:
        """The first message: INIT."""
        wanted = int(self.wants | Init.INIT_EXT)
        offer = InitIn(MAJOR, MINOR, self.max_readahead, wanted & 0xFFFFFFFF, wanted >> 32)
        return self._ask(OPERATIONS["INIT"], 0, offer.encode(), Caller(), 0)[1]

    def knows(self, name: str) -> bool:
        """Whether the server may know an operation: its version has it, and it has not said ENOSYS."""
        return OPERATIONS[name].since <= self.minor and name not in self._unknown

    def request(
        self,
        name: str,
        node: int,
        *records: Wire,
        names: Sequence[bytes] = (),
        data: bytes = b"",
        caller: Caller = Caller(),  # noqa: B008 - immutable
        room: int = 0,
    ) -> tuple[int, bytes]:
        """A request by its name: its number and the message; ValueError if it is not put together so.

        `room` is how many bytes of data its reply may have.
        """
        operation = OPERATIONS[name]
        if tuple(map(type, records)) != operation.request or len(names) != operation.names:
            raise ValueError(f"{name} is not made of that")
        if data and not operation.data:
            raise ValueError(f"{name} has no data")
        parts = [self._encode(record) for record in records]
        for one in names:
            if b"\0" in one:
                raise ValueError("a name has a zero byte")
            parts += one, b"\0"
        body = b"".join([*parts, data])
        return self._ask(operation, node, body, caller, room)

    def numbered(self, name: str, unique: int, node: int, *records: Wire, caller: Caller) -> bytes:
        """A request with a number of the caller's, who says if its answer will be received here."""
        body = b"".join([self._encode(record) for record in records])
        return self._message(OPERATIONS[name], unique, node, body, caller)

    def reserve(self, count: int) -> int:
        """The first of so many numbers for requests that the caller puts together himself."""
        with self._lock:
            first = self._unique + 2
            self._unique += 2 * count
        return first

    def expect(self, name: str, unique: int, node: int, room: int = 0) -> None:
        """A request with a reserved number is sent, and its answer will be received here."""
        with self._lock:
            self._pending[unique] = _Pending(OPERATIONS[name], room, node)

    def interrupt(self, unique: int) -> bytes | None:
        """The message that nobody waits for a request any more; None if it is answered or was interrupted.

        The server may answer EINTR, or as if nothing had happened, or ask to be told once more (EAGAIN).
        """
        with self._lock:
            pending = self._pending.get(unique)
            if pending is None or pending.interrupted:
                return None
            pending.interrupted = True
        return self.abandoned(unique)

    def abandoned(self, unique: int) -> bytes:
        """The same of a request with a number of the caller's."""
        with self._lock:
            if len(self._interrupts) >= _MOST_INTERRUPTS:
                self._interrupts.clear()  # most servers answer none
            self._interrupts.add(unique)
        body = InterruptIn(unique).encode()
        return self._message(OPERATIONS["INTERRUPT"], unique | 1, 0, body, Caller())

    def withdraw(self, unique: int) -> None:
        """A request was not sent after all: nobody will answer it."""
        with self._lock:
            self._pending.pop(unique, None)

    def forget(self, *references: tuple[int, int]) -> bytes | None:
        """The message that gives back so many references to each of these nodes; None if there are none."""
        ones = [ForgetOne(node, count) for node, count in references if count and node not in (0, ROOT_ID)]
        if not ones:
            return None
        with self._lock:
            unique = self._next()
        if len(ones) == 1 or not self.knows("BATCH_FORGET"):
            return b"".join([self._forget(unique, one) for one in ones])
        body = BatchForgetIn(len(ones)).encode() + b"".join([one.encode() for one in ones])
        return self._message(OPERATIONS["BATCH_FORGET"], unique, 0, body, Caller())

    def _forget(self, unique: int, one: ForgetOne) -> bytes:
        body = ForgetIn(one.nlookup).encode()
        return self._message(OPERATIONS["FORGET"], unique, one.nodeid, body, Caller())

    def retrieved(self, asked: NotifyRetrieve, data: bytes) -> bytes:
        """The message with what a server has asked for by RETRIEVE."""
        body = NotifyRetrieveIn(asked.offset, len(data)).encode() + data
        return self._message(
            OPERATIONS["NOTIFY_REPLY"], asked.notify_unique, asked.nodeid, body, Caller()
        )

    @property
    def asked(self) -> int:
        """Grows with each request."""
        return self._unique

    def pending(self) -> list[int]:
        """The requests that wait for an answer: what fails when the connection does."""
        with self._lock:
            return list(self._pending)

    def is_busy(self, node: int) -> bool:
        """Whether a request about a node waits for an answer: until then it is not to be forgotten."""
        with self._lock:
            return any(pending.node == node for pending in self._pending.values())

    def _encode(self, record: Wire) -> bytes:
        short = "short" in record.LAYOUTS and not self.features & Init.SETXATTR_EXT
        return record.encode("short" if short else "")

    def _ask(
        self, operation: Operation, node: int, body: bytes, caller: Caller, room: int
    ) -> tuple[int, bytes]:
        with self._lock:
            unique = self._next()
            if operation.reply is not None:
                self._pending[unique] = _Pending(operation, room, node)
        return unique, self._message(operation, unique, node, body, caller)

    def _next(self) -> int:
        self._unique += 2
        return self._unique

    @staticmethod
    def _message(operation: Operation, unique: int, node: int, body: bytes, caller: Caller) -> bytes:
        return _put_header(_IN_HEADER + len(body), operation.number, unique, node, *caller, 0) + body

    # -- being told ---------------------------------------------------------------------------

    def expects(self, message: bytes, length: int) -> bool:
        """Whether a message, or the beginning of one, may be an answer with data that is so long."""
        size = OutHeader.width()
        if len(message) < size:
            return False
        header = OutHeader.decode(message)
        pending = self._pending.get(header.unique)
        if pending is None or header.error or pending.operation.reply is None:
            return False
        room = sum(record.width() for record in pending.operation.reply) + pending.room
        return pending.operation.reply_data and length <= size + room

    def receive(self, message: bytes) -> Reply | Notification | None:
        """What a message of the server says; `ProtocolError`.

        None for what is settled here: the answer to an interrupt.
        """
        length, error, unique = _header_of(message[:_OUT_HEADER])
        if len(message) < _OUT_HEADER or length != len(message):
            raise ProtocolError(f"a message of {len(message)} bytes says that it has {length}")
        body = message[_OUT_HEADER:]
        if not unique:
            return self._notification(error, body)
        if unique & 1:
            self._answered_interrupt(unique & ~1, error, body)
            return None
        if not -_MAX_ERRNO < error <= 0:
            raise ProtocolError(f"{error} is no errno")
        with self._lock:
            pending = self._pending.pop(unique, None)
        if pending is None:
            raise ProtocolError(f"an answer to request {unique}, which nobody has made")
        return self._reply(unique, -error, pending, body)

    def _reply(self, unique: int, error: int, pending: _Pending, body: bytes) -> Reply:
        operation = pending.operation
        if error:
            if body:
                raise ProtocolError(f"{operation.name}: an error with {len(body)} bytes of data")
            return Reply(unique, operation, error)
        if operation.name == "INIT":
            return self._init(unique, operation, body)
        records, data = self._split(operation, body)
        if len(data) > (pending.room if operation.reply_data else 0):
            raise ProtocolError(f"{operation.name}: {len(data)} bytes more than were asked for")
        return Reply(unique, operation, 0, records, data)

    def refused(self, name: str) -> None:
        """The server has answered ENOSYS to an operation that it may not know: it is not asked again."""
        self._unknown.add(name)

    @staticmethod
    def _split(operation: Operation, body: bytes) -> tuple[tuple[Wire, ...], bytes]:
        records: list[Wire] = []
        at = 0
        for kind in operation.reply or ():
            if at == len(body) and operation.reply_data:
                break  # GETXATTR and IOCTL: what comes depends on what was asked
            end = at + kind.width()
            if end > len(body):
                raise ProtocolError(f"{operation.name}: an answer of {len(body)} bytes is too short")
            records.append(kind.decode(body[at:end]))
            at = end
        return tuple(records), body[at:]

    def _init(self, unique: int, operation: Operation, body: bytes) -> Reply:
        if len(body) < InitOut.width("short"):
            raise ProtocolError(f"INIT: an answer of {len(body)} bytes is too short")
        answer = InitOut.decode(body)
        if answer.major != MAJOR or answer.minor < OLDEST_MINOR:
            raise ProtocolError(f"version {answer.major}.{answer.minor} is not spoken here")
        self.minor = min(answer.minor, MINOR)
        offered = answer.flags | (answer.flags2 << 32 if answer.flags & Init.INIT_EXT else 0)
        self.features = Init(offered) & self.wants
        pages = answer.max_pages if self.features & Init.MAX_PAGES and answer.max_pages else _DEFAULT_PAGES
        self.max_read = max(_PAGE, min(self.most_read, min(pages, _MAX_PAGES) * _PAGE))
        self.max_write = max(_PAGE, min(answer.max_write, min(pages, _MAX_PAGES) * _PAGE))
        if not self.features & Init.BIG_WRITES and answer.minor < 31:
            self.max_write = _PAGE
        self.max_readahead = min(self.max_readahead, answer.max_readahead)
        self.max_background = answer.max_background or self.max_background
        self.granularity = min(max(answer.time_gran, 1), 10**9)
        if self.features & Init.REQUEST_TIMEOUT and answer.request_timeout:
            self.request_timeout = max(answer.request_timeout, _LEAST_TIMEOUT)
        self._agree_on_lending(answer)
        self.is_ready = True
        return Reply(unique, operation, 0, (answer,))

    def _agree_on_lending(self, answer: InitOut) -> None:
        """As the kernel: not where writing is cached, and of no more than two file systems on each other."""
        if self.features & Init.PASSTHROUGH:
            if 0 < answer.max_stack_depth <= _DEEPEST and not self.features & Init.WRITEBACK_CACHE:
                self.max_stack_depth = answer.max_stack_depth
            else:
                self.features &= ~Init.PASSTHROUGH

    def _answered_interrupt(self, asked: int, error: int, body: bytes) -> None:
        if body:
            raise ProtocolError("an answer to an interrupt has no data")
        with self._lock:
            if asked not in self._interrupts:
                raise ProtocolError("an answer to an interrupt that nobody has sent")
            self._interrupts.discard(asked)
            pending = self._pending.get(asked)
            if pending is not None and error:
                pending.interrupted = False  # EAGAIN: it has not seen the request yet, ask once more

    def _notification(self, code: int, body: bytes) -> Notification:
        notice = NOTICES.get(code)
        if notice is None or notice.since > self.minor:
            raise ProtocolError(f"notification {code} is not known in version 7.{self.minor}")
        size = 0 if notice.record is None else notice.record.width()
        if len(body) < size:
            raise ProtocolError(f"{notice.name}: a notification of {len(body)} bytes is too short")
        record, data = None if notice.record is None else notice.record.decode(body[:size]), body[size:]
        expected = getattr(record, notice.length) * notice.each if notice.length else 0
        if notice.is_name:
            if len(data) != expected + 1 or data[-1:] != b"\0" or not 0 < expected <= _MAX_NAME:
                raise ProtocolError(f"{notice.name}: a name of {len(data)} bytes instead of {expected}")
            data = data[:-1]
        elif len(data) != expected:
            raise ProtocolError(f"{notice.name}: {len(data)} bytes instead of {expected}")
        return Notification(notice, record, data)

    # -- listings -----------------------------------------------------------------------------

    @staticmethod
    def listed(reply: Reply) -> list[Listed]:
        """The names in an answer to READDIR or READDIRPLUS; `ProtocolError`.

        A name that is cut off at the end is left out, as the kernel does; READDIRPLUS refers to each node but
        those of `.` and `..`.
        """
        listed = list(_entries(reply.data, plus=reply.operation.name == "READDIRPLUS"))
        for one in listed:
            if not 0 < one.dirent.namelen <= _MAX_NAME:
                raise ProtocolError(f"a name of {one.dirent.namelen} bytes in a directory")
            if b"/" in one.name or b"\0" in one.name:
                raise ProtocolError(f"{one.name!r} is no name")
        return listed


def _entries(data: bytes, *, plus: bool) -> Iterator[Listed]:
    """All that are whole, whatever their names are."""
    before = EntryOut.width() + Attr.width() if plus else 0
    fixed = before + DirEnt.width()
    at = 0
    while at + fixed <= len(data):
        dirent = DirEnt.decode(data[at + before : at + fixed])
        end = at + fixed + dirent.namelen
        if end > len(data):
            if dirent.namelen > _MAX_NAME:
                yield Listed(b"", dirent)
            return
        name = data[at + fixed : end]
        if plus:
            entry = EntryOut.decode(data[at : at + EntryOut.width()])
            yield Listed(name, dirent, entry, Attr.decode(data[at + EntryOut.width() : at + before]))
        else:
            yield Listed(name, dirent)
        at = end + -end % _ALIGN
