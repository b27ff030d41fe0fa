"""A FUSE server of a few lines, for tests: it serves a dictionary over a socket, on a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from diorama.fuse.attributes import GetXattrIn, SetAttrIn, StatFsOut
from diorama.fuse.flags import FAttr, Init
from diorama.fuse.handles import CreateIn, OpenOut, ReadIn, WriteIn, WriteOut
from diorama.fuse.naming import LinkIn, MkdirIn, RenameIn
from diorama.fuse.operations import OPERATIONS
from diorama.fuse.wire import (
    Attr,
    AttrOut,
    DirEnt,
    EntryOut,
    ForgetIn,
    ForgetOne,
    InHeader,
    InitOut,
    OutHeader,
)

NAMES = {operation.number: operation.name for operation in OPERATIONS.values()}
FOREVER = 1 << 31
REGULAR = stat.S_IFREG | 0o644


@dataclass
class Node:
    mode: int
    content: bytes = b""
    children: dict[bytes, int] = field(default_factory=dict[bytes, int])
    lookups: int = 0
    mtime: int = 0


class Server:
    """Serves `nodes` (1 is the root).  `valid` is how many seconds what it tells holds.

    It does without FUSE_WRITEBACK_CACHE unless it `caches_writes` when it is started, with READDIRPLUS if
    it `lists_plus`, and without what is newer than 7.36 but for `features`, which `stack_depth` and `timeout`
    belong to.
    `log` has the names of all requests.  `override` replaces the answer to an operation: a function of
    header and body that gives a body, raises an OSError, or returns None for no answer at all.
    """

    def __init__(self, sock: socket.socket, valid: int = 0, minor: int = 31) -> None:
        self.socket = sock
        self.valid = valid
        self.minor = minor
        self.nodes = {1: Node(stat.S_IFDIR | 0o755)}
        self.caches_writes = False
        self.lists_plus = True
        self.features = Init(0)
        self.stack_depth = 0
        self.timeout = 0
        self.log: list[str] = []
        self.forgotten: list[tuple[int, int]] = []
        self.override: dict[str, Callable[[InHeader, bytes], bytes | None]] = {}
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def start(self) -> Server:
        self.thread.start()
        return self

    def add(self, name: bytes, content: bytes = b"", mode: int = REGULAR, parent: int = 1) -> int:
        number = max(self.nodes) + 1
        self.nodes[number] = Node(mode, content)
        self.nodes[parent].children[name] = number
        return number

    def serve(self) -> None:
        try:
            self.serve_all()
        finally:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def serve_all(self) -> None:
        while message := self.receive():
            header = InHeader.decode(message[: InHeader.width()])
            body = message[InHeader.width() :]
            name = NAMES[header.opcode]
            self.log.append(name)
            try:
                answer = self.override.get(name, getattr(self, name.lower(), unknown))(header, body)
                error = 0
            except OSError as failure:
                answer, error = b"", failure.errno or errno.EIO
            if answer is not None:
                self.answer(header.unique, answer, error)

    def receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 20)
        except OSError:
            return b""

    def answer(self, unique: int, body: bytes = b"", error: int = 0) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more, or has closed this end while it worked
            self.socket.send(OutHeader(OutHeader.width() + len(body), -error, unique).encode() + body)

    def notify(self, code: int, body: bytes) -> None:
        self.socket.send(OutHeader(OutHeader.width() + len(body), code, 0).encode() + body)

    # -- what it knows ------------------------------------------------------------------------

    def attr(self, number: int) -> Attr:
        node = self.nodes[number]
        return Attr(ino=number, size=len(node.content), mode=node.mode, nlink=1, mtime=node.mtime)

    def entry(self, number: int) -> bytes:
        self.nodes[number].lookups += 1
        out = EntryOut(nodeid=number, entry_valid=self.valid, attr_valid=self.valid)
        return out.encode() + self.attr(number).encode()

    def attributes(self, number: int) -> bytes:
        return AttrOut(attr_valid=self.valid).encode() + self.attr(number).encode()

    def child(self, header: InHeader, name: bytes) -> int:
        found = self.nodes[header.nodeid].children.get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found

    def init(self, header: InHeader, body: bytes) -> bytes:
        flags = int.from_bytes(body[12:16], "little")
        if not self.caches_writes:
            flags &= ~Init.WRITEBACK_CACHE
        if not self.lists_plus:
            flags &= ~Init.DO_READDIRPLUS
        return InitOut(
            major=7,
            minor=self.minor,
            max_write=1 << 17,
            flags=flags,
            time_gran=1,
            flags2=self.features >> 32,
            max_stack_depth=self.stack_depth,
            request_timeout=self.timeout,
        ).encode()

    def destroy(self, header: InHeader, body: bytes) -> bytes:
        return b""

    def lookup(self, header: InHeader, body: bytes) -> bytes:
        return self.entry(self.child(header, body[:-1]))

    def getattr(self, header: InHeader, body: bytes) -> bytes:
        return self.attributes(header.nodeid)

    def setattr(self, header: InHeader, body: bytes) -> bytes:
        wanted, node = SetAttrIn.decode(body), self.nodes[header.nodeid]
        if wanted.valid & FAttr.MODE:
            node.mode = wanted.mode  # as archivemount does
        if wanted.valid & FAttr.SIZE:
            node.content = node.content[: wanted.size].ljust(wanted.size, b"\0")
        if wanted.valid & FAttr.MTIME:
            node.mtime = wanted.mtime
        return self.attributes(header.nodeid)

    def readlink(self, header: InHeader, body: bytes) -> bytes:
        return self.nodes[header.nodeid].content

    def statfs(self, header: InHeader, body: bytes) -> bytes:
        return StatFsOut(blocks=100, bavail=40, files=9, bsize=4096, frsize=512, namelen=99).encode()

    def opendir(self, header: InHeader, body: bytes) -> bytes:
        return OpenOut(fh=7).encode()

    def readdir(self, header: InHeader, body: bytes) -> bytes:
        return self.listing(header, body, plus=False)

    def readdirplus(self, header: InHeader, body: bytes) -> bytes:
        return self.listing(header, body, plus=True)

    def listing(self, header: InHeader, body: bytes, *, plus: bool) -> bytes:
        wanted = ReadIn.decode(body)
        data = b""
        children = [(b".", header.nodeid), (b"..", 1), *self.nodes[header.nodeid].children.items()]
        for off, (name, number) in enumerate(children, 1):
            if off <= wanted.offset:
                continue
            dirent = DirEnt(number, off, len(name), self.nodes[number].mode >> 12).encode() + name
            one = (self.entry(number) if plus and name not in (b".", b"..") else bytes(plus * 128)) + dirent
            one += bytes(-len(one) % 8)
            if len(data) + len(one) > wanted.size:
                break
            data += one
        return data

    releasedir = release = flush = fsync = destroy

    def open(self, header: InHeader, body: bytes) -> bytes:
        return OpenOut(fh=8).encode()

    def read(self, header: InHeader, body: bytes) -> bytes:
        wanted = ReadIn.decode(body)
        return self.nodes[header.nodeid].content[wanted.offset : wanted.offset + wanted.size]

    def write(self, header: InHeader, body: bytes) -> bytes:
        wanted, data = WriteIn.decode(body), body[WriteIn.width() :]
        node = self.nodes[header.nodeid]
        before = node.content[: wanted.offset].ljust(wanted.offset, b"\0")
        node.content = before + data + node.content[wanted.offset + len(data) :]
        return WriteOut(size=len(data)).encode()

    def create(self, header: InHeader, body: bytes) -> bytes:
        wanted, name = CreateIn.decode(body), body[CreateIn.width() : -1]
        number = self.add(name, mode=wanted.mode, parent=header.nodeid)
        return self.entry(number) + OpenOut(fh=8).encode()

    def mkdir(self, header: InHeader, body: bytes) -> bytes:
        wanted, name = MkdirIn.decode(body), body[MkdirIn.width() : -1]
        return self.entry(self.add(name, mode=stat.S_IFDIR | wanted.mode, parent=header.nodeid))

    def symlink(self, header: InHeader, body: bytes) -> bytes:
        name, target = body[:-1].split(b"\0")
        return self.entry(self.add(name, target, stat.S_IFLNK | 0o777, header.nodeid))

    def link(self, header: InHeader, body: bytes) -> bytes:
        number = LinkIn.decode(body).oldnodeid
        self.nodes[header.nodeid].children[body[LinkIn.width() : -1]] = number
        return self.entry(number)

    def unlink(self, header: InHeader, body: bytes) -> bytes:
        self.child(header, body[:-1])
        del self.nodes[header.nodeid].children[body[:-1]]
        return b""

    rmdir = unlink

    def rename(self, header: InHeader, body: bytes) -> bytes:
        old, new = body[RenameIn.width() : -1].split(b"\0")
        number = self.nodes[header.nodeid].children.pop(old)
        self.nodes[RenameIn.decode(body).newdir].children[new] = number
        return b""

    def getxattr(self, header: InHeader, body: bytes) -> bytes:
        assert GetXattrIn.decode(body).size
        return b"value of " + body[GetXattrIn.width() : -1]

    def listxattr(self, header: InHeader, body: bytes) -> bytes:
        return b"user.a\0user.b\0"

    def forget(self, header: InHeader, body: bytes) -> None:
        self.forgotten.append((header.nodeid, ForgetIn.decode(body).nlookup))

    def batch_forget(self, header: InHeader, body: bytes) -> None:
        for at in range(8, len(body), 16):
            one = ForgetOne.decode(body[at : at + 16])
            self.forgotten.append((one.nodeid, one.nlookup))


def unknown(header: InHeader, body: bytes) -> bytes:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
