"""Owners: a directory of the host that remembers owners, modes, devices and attributes.

Of a file or directory they stand in one extended attribute of its own, the one by which layers tell owner and
permissions of what was copied up.  So they go where the file goes: they survive renaming and hard links, and
what copies attributes copies them.  Setting one is a step that happens or not.

Symbolic links, FIFOs and sockets can have no such attributes, and some file systems have none at all.  What
is remembered of these stands in a database beside the tree (`.NAME.owners`), by inode number and time of
birth: a number that the host has given to another file since means nothing.  The database is made when it is
needed.

Nothing is noted of what is as the host has it, where the supervisor's own user stands for root.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from dataclasses import replace
from typing import Final

from diorama.errors import UsageError
from diorama.modules.filesystems.ownerdb import OwnerTable
from diorama.view.acl import ACCESS, DEFAULT, Acl
from diorama.view.owning import HIDDEN_XATTRS, Owned, host_mode

__all__ = ["RememberedOwners"]

_OWNER: Final = HIDDEN_XATTRS + b"diorama.owner"
_DEVICES: Final = HIDDEN_XATTRS + b"diorama.devices"
_ATTRIBUTE: Final = HIDDEN_XATTRS + b"diorama.x."
_HAVE_XATTRS: Final = (stat.S_IFREG, stat.S_IFDIR)
_ABSENT: Final = (errno.ENODATA, errno.EOPNOTSUPP)
_REFUSED: Final = (errno.EACCES, errno.EPERM)
_CAPABILITY: Final = b"security.capability"
_MARKING: Final = (_CAPABILITY, ACCESS, DEFAULT)


class RememberedOwners:
    """What is remembered in the tree below a directory (`diorama.view.owning.Owners`).

    `table` is the path of the database; by default it is beside the directory.
    """

    def __init__(self, directory: bytes, table: str | None = None) -> None:
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._lock = threading.RLock()
        self.in_xattrs = _has_xattrs(directory)
        head, tail = os.path.split(directory.rstrip(b"/"))
        beside = os.path.join(head, b".%s.owners" % tail) if tail else b"/.owners"
        self._table = OwnerTable(beside if table is None else os.fsencode(table))
        if not self.in_xattrs or table is not None:
            try:
                self._table.prepare()
            except OSError as error:
                name, why = os.fsdecode(self._table.path), (error.strerror or "not accessible").lower()
                raise UsageError(f"cannot remember owners in {name}: {why}") from None

    def close(self) -> None:
        """Close the database."""
        self._table.close()

    @property
    def notes(self) -> bytes:
        """The path of the database."""
        return self._table.path

    # -- owners -------------------------------------------------------------------------------

    def look(self, path: bytes, status: os.stat_result) -> Owned:
        """What is to be seen of a file."""
        kind = stat.S_IFMT(status.st_mode)
        note = self._note(path, status, kind)
        known = None if note is None else Owned.unpack(note, kind)
        if known is None or not known.listed:
            return known or self._plain(status)
        values = self.attributes(path, status)
        acl, default_acl = (Acl.known(values.get(name)) for name in (ACCESS, DEFAULT))
        return replace(known, acl=acl, default_acl=default_acl)

    def _plain(self, status: os.stat_result) -> Owned:
        """What is seen of a file of which nothing is remembered."""
        uid = 0 if status.st_uid == self._uid else status.st_uid
        gid = 0 if status.st_gid == self._gid else status.st_gid
        return Owned(uid, gid, status.st_mode, status.st_rdev)

    def _note(self, path: bytes, status: os.stat_result, kind: int) -> bytes | None:
        if not self._in_file(kind):
            return self._table.owner(path, status)
        try:
            return os.getxattr(path, _OWNER)
        except OSError as error:
            if error.errno in (*_ABSENT, *_REFUSED):
                return None
            raise

    def _in_file(self, kind: int) -> bool:
        return self.in_xattrs and kind in _HAVE_XATTRS

    def change(
        self,
        path: bytes,
        status: os.stat_result,
        *,
        uid: int | None = None,
        gid: int | None = None,
        mode: int | None = None,
        drops: int = 0,
        device: int | None = None,
    ) -> None:
        """Remember something else of it."""
        with self._lock:
            was = self.look(path, status)
            bits = was.mode if mode is None else mode & 0o7777 | (stat.S_IFMT(mode) or stat.S_IFMT(was.mode))
            wanted = replace(
                was,
                uid=was.uid if uid is None else uid,
                gid=was.gid if gid is None else gid,
                mode=bits & ~drops,
                device=was.device if device is None else device,
            )
            self._remember(path, status, wanted)
            if mode is not None and was.acl is not None:
                self._write_attribute(path, status, ACCESS, was.acl.changed(mode).pack())

    def _remember(self, path: bytes, status: os.stat_result, wanted: Owned) -> None:
        kind = stat.S_IFMT(status.st_mode)
        has_bits = kind != stat.S_IFLNK
        bits = host_mode(kind | wanted.mode & 0o7777) if has_bits else stat.S_IMODE(status.st_mode)
        note: bytes | None = wanted.pack()
        if self._is_plain(status, wanted, bits):
            note = None
        if note is None:
            # The note counts until the host has what it says.
            _change_mode(path, status, bits)
            self._write(path, status, kind, None)
            return
        self._write(path, status, kind, note)
        _change_mode(path, status, bits)

    def _is_plain(self, status: os.stat_result, wanted: Owned, bits: int) -> bool:
        plain = self._plain(status)
        as_host = Owned(plain.uid, plain.gid, stat.S_IFMT(status.st_mode) | bits, status.st_rdev)
        return wanted == as_host

    def _write(self, path: bytes, status: os.stat_result, kind: int, note: bytes | None) -> None:
        if not self._in_file(kind):
            self._table.set_owner(path, status, note)
            return
        if note is not None:
            _set(path, status, _OWNER, note)
            return
        try:
            os.removexattr(path, _OWNER)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise

    def may_list_devices(self, path: bytes) -> bool:
        """Whether there may be something in a directory that stands for a device."""
        if not self.in_xattrs:
            return True
        try:
            os.getxattr(path, _DEVICES)
        except OSError:
            return False
        return True

    def will_list_devices(self, path: bytes) -> None:
        """There may be from now on."""
        if self.in_xattrs and not self.may_list_devices(path):
            os.setxattr(path, _DEVICES, b"y")

    # -- attributes ---------------------------------------------------------------------------

    def attributes(self, path: bytes, status: os.stat_result) -> dict[bytes, bytes]:
        """The extended attributes that only administrators may set."""
        if not self._in_file(stat.S_IFMT(status.st_mode)):
            return self._table.attributes(path, status)
        names = [os.fsencode(name) for name in os.listxattr(path)]
        found = [name for name in names if name.startswith(_ATTRIBUTE)]
        return {name.removeprefix(_ATTRIBUTE): os.getxattr(path, name) for name in found}

    def set_attribute(self, path: bytes, status: os.stat_result, name: bytes, value: bytes | None) -> None:
        """Set one of them, or remove it if there is no value."""
        with self._lock:
            was = self.look(path, status)
            if value is not None and name in _MARKING:
                self._mark(path, status, was, name)
            self._write_attribute(path, status, name, value)
            if value is None and name in _MARKING:
                self._unmark(path, status, was, name)

    def _write_attribute(self, path: bytes, status: os.stat_result, name: bytes, value: bytes | None) -> None:
        if not self._in_file(stat.S_IFMT(status.st_mode)):
            self._table.set_attribute(path, status, name, value)
        elif value is not None:
            _set(path, status, _ATTRIBUTE + name, value)
        else:
            os.removexattr(path, _ATTRIBUTE + name)

    def _mark(self, path: bytes, status: os.stat_result, was: Owned, name: bytes) -> None:
        marked = replace(was, marked=True) if name == _CAPABILITY else replace(was, listed=True)
        if marked != was:
            self._remember(path, status, marked)

    def _unmark(self, path: bytes, status: os.stat_result, was: Owned, name: bytes) -> None:
        if name == _CAPABILITY:
            self._remember(path, status, replace(was, marked=False))
        elif (was.default_acl if name == ACCESS else was.acl) is None:
            self._remember(path, status, replace(was, listed=False, acl=None, default_acl=None))


def _has_xattrs(directory: bytes) -> bool:
    try:
        os.getxattr(directory, _OWNER)
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def _change_mode(path: bytes, status: os.stat_result, bits: int) -> None:
    """Let the host have the bits: a file of somebody else's keeps its own."""
    if bits == stat.S_IMODE(status.st_mode):
        return
    os.chmod(path, bits)


def _set(path: bytes, status: os.stat_result, name: bytes, value: bytes) -> None:
    """Set an attribute, which asks for write permission."""
    try:
        os.setxattr(path, name, value)
    except PermissionError:
        os.chmod(path, stat.S_IMODE(status.st_mode) | 0o600)
        os.setxattr(path, name, value)
