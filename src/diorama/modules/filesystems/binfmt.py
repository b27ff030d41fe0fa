"""Binfmt: binfmt_misc of a view, as files: `register`, `status`, and one for each format.

    diorama run --mount binfmt:=/proc/sys/fs/binfmt_misc -- bash
    echo ':py:E::foo::/usr/bin/python3:' > /proc/sys/fs/binfmt_misc/register

`binfmt:/PATH` is for executable files at or below that path of the view only.  Each mount of it is a set of
formats of its own; the one mounted last is asked first.  It counts in the mount namespaces that have it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Final

from diorama.abi.binfmt import BINFMT_MAGIC, parse_command, parse_format
from diorama.errors import UsageError
from diorama.interfaces.control import ControlFile, ControlFiles
from diorama.interfaces.filesystem import Attributes, Entry, Statistics
from diorama.modules.options import Options
from diorama.view import formats
from diorama.view.asking import asker
from diorama.view.formats import Fixed, Formats
from diorama.view.mounts import Mount

__all__ = ["TYPE", "BinfmtFileSystem", "open_binfmt"]

TYPE: Final = "binfmt_misc"
_STATUS: Final = 2
_REGISTER: Final = 3
_OWN: Final = {b"status": _STATUS, b"register": _REGISTER}
_NAME_MAX: Final = 255


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class BinfmtFileSystem(ControlFiles):
    """The files of one set of formats.  Any thread."""

    title = TYPE
    magic = BINFMT_MAGIC

    def __init__(self, prefix: bytes = b"") -> None:
        self.set = Formats(prefix)
        self.formats = self.set
        self._since = time.time_ns()

    def register(self, text: bytes, fix: Callable[[bytes], Fixed]) -> None:
        """Have one more format; `fix` opens an interpreter with flag F.  `OSError` as write(2) has it."""
        format = parse_format(text)
        fixed = fix(format.interpreter) if format.is_fixed else None
        try:
            if len(format.name) > _NAME_MAX:
                raise _error(errno.ENAMETOOLONG)
            if format.name in _OWN:
                raise _error(errno.EEXIST)
            self.set.register(format, fixed)
        except OSError:
            if fixed is not None:
                fixed.close()
            raise

    # -- looking at it ------------------------------------------------------------------------

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name."""
        if directory != self.root:
            raise _error(errno.ENOTDIR)
        entry = self.set.named(name)
        if name in _OWN:
            return _OWN[name]
        if entry is None:
            raise _error(errno.ENOENT)
        return entry.number

    def attributes(self, inode: int) -> Attributes:
        """Who runs the view may change it; what is in the files has no size before it is read."""
        mode = stat.S_IFREG | (0o200 if inode == _REGISTER else 0o644)
        if inode == self.root:
            mode = stat.S_IFDIR | 0o755
        elif inode not in _OWN.values():
            self._entry(inode)
        return Attributes(mode, links=1 + (inode == self.root), modified=self._since)

    def entries(self, directory: int) -> Sequence[Entry]:
        """The two files of the set, and one for each format."""
        known = [(name, inode) for name, inode in _OWN.items()]
        known += [(one.format.name, one.number) for one in self.set.entries]
        return [Entry(name, inode, stat.S_IFREG) for name, inode in known]

    def copy_content(self, inode: int, fd: int) -> None:
        """What a file says now."""
        if inode != _REGISTER:
            os.write(fd, self._tell(inode))

    def statistics(self) -> Statistics:
        """It takes no room."""
        return Statistics()

    # -- what is done by it -------------------------------------------------------------------

    def open_file(self, inode: int, flags: int) -> ControlFile:
        """An open file, whose writes are orders."""
        if inode == _REGISTER:
            return ControlFile(flags, None, self._register)
        if inode == _STATUS:
            return ControlFile(flags, lambda: self._tell(inode), self._set_status)
        self._entry(inode)
        return ControlFile(flags, lambda: self._tell(inode), lambda text: self._set_entry(inode, text))

    def close(self) -> None:
        """Nothing is run by it any more."""
        self.set.clear()

    def _entry(self, inode: int) -> formats.Entry:
        entry = self.set.numbered(inode)
        if entry is None:
            raise _error(errno.ENOENT)
        return entry

    def _tell(self, inode: int) -> bytes:
        if inode == _STATUS:
            return b"enabled\n" if self.set.enabled else b"disabled\n"
        entry = self.set.numbered(inode)
        return b"" if entry is None else entry.shown()

    def _register(self, text: bytes) -> None:
        who = asker()
        if who is None:
            raise _error(errno.EINVAL)
        self.register(text, who.fix_program)

    def _set_status(self, text: bytes) -> None:
        command = parse_command(text)
        if command == -1:
            self.set.clear()
        elif command is not None:
            self.set.enabled = bool(command)

    def _set_entry(self, inode: int, text: bytes) -> None:
        command, entry = parse_command(text), self.set.numbered(inode)
        if entry is None or command is None:
            return
        if command == -1:
            self.set.remove(entry)
        else:
            entry.enabled = bool(command)


def open_binfmt(rest: str, options: Options) -> Mount:
    """`binfmt:` or `binfmt:/PREFIX`; `none` for what is no prefix is from mount(8)."""
    rest = "" if rest == "none" else rest
    if rest and not rest.startswith("/"):
        raise UsageError(
            f"cannot mount binfmt:{rest}: the programs that it is for are below a path like /opt"
        )
    options.finish("binfmt:")
    filesystem = BinfmtFileSystem(
        b"" if rest == "/" else os.fsencode(os.path.normpath(rest)) if rest else b""
    )
    return Mount(
        filesystem=filesystem,
        read_only=options.read_only,
        source=f"binfmt:{rest}",
        type=TYPE,
        options=options.shown,
    )
