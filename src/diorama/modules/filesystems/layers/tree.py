"""Tree: the merged tree of a mount, and how it changes.

Reading needs no lock.  Whoever changes something holds `lock` from the look-up to the end of the change, with
one exception: what has nothing below it may be changed by a program's own call on the upper layer.

A file that is copied up is, to programs, the file that it was.  So the identity (device and inode) of what
was copied since the tree is in use is kept in `_identities`, for files with one name and for directories.  A
directory or file of a lower layer that was renamed is still held by programs by its old host path: `_moved`
tells where such a path is now.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Sequence
from typing import Final

from diorama.modules.filesystems.layers.copying import bits_of_copy, copy_file
from diorama.modules.filesystems.layers.lookup import Found, Lookup, Name
from diorama.modules.filesystems.layers.marks import Owner, owner_of, record_owner, set_opaque
from diorama.modules.filesystems.layers.names import removal_path, remove, rename
from diorama.modules.filesystems.layers.upper import Upper
from diorama.view.layers import Stack

__all__ = ["LayeredTree"]

Identity = tuple[int, int]
_TWO: Final = 2


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _parent(path: bytes) -> bytes:
    return path[: path.rindex(b"/")]


class LayeredTree:
    """A merged tree (`diorama.view.layers.Layers`).

    `lowers` are host directories, topmost first.  Without `upper` nothing can be changed.  `lenient`: what is
    somebody else's may be changed by whoever can read it, because it is only this layer that changes.
    `through`: changes go to the lower directory where that allows them.
    """

    def __init__(
        self,
        lowers: Sequence[bytes],
        upper: Upper | None = None,
        *,
        hidden: frozenset[bytes] = frozenset(),
        lenient: bool = False,
        through: bool = False,
    ) -> None:
        layers = [*([upper.tree] if upper else []), *lowers]
        self.lookup: Final = Lookup(layers, hidden, upper.shortcuts.short if upper else bytes)
        self.lock: Final = threading.RLock()
        self.lenient: Final = lenient
        self.through: Final = through
        self.over_root: Final = [lower.rstrip(b"/") for lower in lowers] == [b""]
        self._upper: Final = upper
        self._identities: dict[Identity, Identity] = {}
        self._originals: dict[Identity, Identity] = {}
        self._moved: dict[bytes, bytes] = {}
        self.on_identity: Callable[[os.stat_result], None] | None = None

    @property
    def upper(self) -> Upper:
        """The writable layer; EROFS if there is none."""
        if self._upper is None:
            raise _error(errno.EROFS)
        return self._upper

    @property
    def has_upper(self) -> bool:
        """Whether anything can be changed."""
        return self._upper is not None

    def stack(self) -> Stack | None:
        """The writable layer and the one below it, unless there are more or none can be written."""
        if self._upper is None or len(self.lookup.layers) > _TWO:
            return None
        lower = os.path.realpath(self.lookup.layers[1] or b"/").rstrip(b"/")
        inside = [path.removeprefix(lower) for path in map(os.path.realpath, self.lookup.hidden)]
        return Stack(lower, os.path.realpath(self._upper.tree), inside[0] if inside else None)

    def whole(self, path: bytes) -> tuple[LayeredTree, bytes]:
        """Itself."""
        return self, path

    # -- looking ------------------------------------------------------------------------------

    def find(self, path: bytes) -> Found:
        """What is seen at a path; ENOENT, also for what was removed above."""
        return self.lookup.find(path)

    def look(self, path: bytes) -> os.stat_result:
        """Status of what is there, of a symbolic link itself."""
        return self.lookup.find(path).status

    def readlink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        return os.readlink(self.lookup.find(path).real)

    def real(self, path: bytes) -> bytes:
        """The host path of what is there; of what is missing, the host path at which it would be made."""
        try:
            return self.lookup.find(path).real
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) or not path:
                raise
        if self._upper is not None and not self.through:
            return self._upper.at(path)
        return (self.lookup.parts(_parent(path))[0].real or b"") + path[path.rindex(b"/") :]

    def inside(self, real: bytes) -> bytes | None:
        """The path in the tree of a host path in one of the layers; None if that is elsewhere."""
        moved = self._moved_to(real) if self._moved else None
        if moved is not None:
            return moved
        for layer in self.lookup.layers:
            path = real.removeprefix(layer)
            if path[:1] in (b"", b"/") and (path != real or not layer):
                return path.rstrip(b"/")
        return None

    def _moved_to(self, real: bytes) -> bytes | None:
        end = len(real)
        while end > 0:
            found = self._moved.get(real[:end])
            if found is not None:
                return found + real[end:]
            end = real.rfind(b"/", 0, end)
        return None

    def is_changed(self, found: Found) -> bool:
        """Whether something is in the writable layer."""
        return self._upper is not None and found.layer == 0

    def listing(self, path: bytes, *, always: bool = False) -> list[Name] | None:
        """The names in a directory; None if its real directory has the same and hides none, not `always`."""
        if not always and self.lookup.is_plain(path):
            return None
        names = self.lookup.names(path)
        if not self._identities or self._upper is None:
            return names
        device = os.lstat(self._upper.at(path) if self._upper.look(path) else self._upper.tree).st_dev
        return [
            name._replace(inode=self._identities.get((device, name.inode), (0, name.inode))[1])
            if name.layer == 0
            else name
            for name in names
        ]

    def identity(self, status: os.stat_result) -> Identity:
        """Device and inode that something is to be seen with."""
        own = status.st_dev, status.st_ino
        return self._identities.get(own, own) if self._identities else own

    def original(self, status: os.stat_result) -> Identity:
        """Device and inode of what something was copied from; its own if it is no copy."""
        own = status.st_dev, status.st_ino
        return self._originals.get(own, own) if self._originals else own

    def owner(self, found: Found) -> Owner | None:
        """Owner and permissions that something is to be seen with, if those are not its own."""
        owner = owner_of(found.real, found.status.st_mode) if self.is_changed(found) else None
        if owner is not None and self.on_identity is not None:
            self.on_identity(found.status)
        return owner

    def real_owner(self, real: bytes, mode: int) -> Owner | None:
        """As `owner`, of a host path."""
        return owner_of(real, mode) if self.in_upper(real) else None

    def in_upper(self, real: bytes) -> bool:
        """Whether a host path is in the writable layer."""
        if self._upper is None:
            return False
        return (self._upper.shortcuts.full(real) + b"/").startswith(self._upper.tree + b"/")

    # -- copying up ---------------------------------------------------------------------------

    def raise_up(self, path: bytes, *, content: bool = True, owning: bool = False) -> bytes:
        """Have what is at a path where it may be changed: its host path there.

        That is the writable layer, to which it is copied: of a directory that is itself, without what is in
        it; with `content=False` a file without what it contains.  Where changes go through, it is where it
        was, if that may be changed: what it contains, or with `owning` what only its owner may change.
        """
        with self.lock:
            found = self.find(path)
            if self.is_changed(found) or (self.through and _may_change(found, owning=owning)):
                return found.real
            return self._copy_up(path, found, content=content)

    def raise_directory(self, path: bytes) -> bytes:
        """Have a directory in the writable layer, without what is in it: its host path."""
        with self.lock:
            missing: list[bytes] = []
            at = path
            while at and not self.is_changed(self.find(at)):
                missing.append(at)
                at = _parent(at)
            for one in reversed(missing):
                self._copy_one(one, self.find(one))
            return self.upper.at(path)

    def raise_tree(self, path: bytes) -> None:
        """Have all that is at a path in the writable layer, so that nothing below is needed for it."""
        with self.lock:
            if not stat.S_ISDIR(self.find(path).status.st_mode):
                self.raise_alone(path)
                return
            todo = [path]
            while todo:
                at = todo.pop()
                self.raise_directory(at)
                for name in self.lookup.names(at):
                    inner = at + b"/" + name.name
                    if name.kind == stat.S_IFDIR:
                        todo.append(inner)
                    else:
                        self.raise_alone(inner)
            set_opaque(self.upper.at(path))
            self.lookup.forget()

    def raise_alone(self, path: bytes) -> bytes:
        """As `raise_up`, always to the writable layer."""
        with self.lock:
            found = self.find(path)
            return found.real if self.is_changed(found) else self._copy_up(path, found)

    def _copy_up(self, path: bytes, found: Found, *, content: bool = True) -> bytes:
        if path:
            self.raise_directory(_parent(path))
        return self._copy_one(path, found, content=content)

    def _copy_one(self, path: bytes, found: Found, *, content: bool = True) -> bytes:
        upper = self.upper
        staged = upper.stage()
        mode = found.status.st_mode
        owner = copy_file(found.real, staged, found.status, content=content)
        if owner is not None and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            record_owner(staged, owner)
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            self._keep_identity(os.lstat(staged), found.status)
        upper.place(staged, path)
        if stat.S_ISDIR(mode):
            self.lookup.forget()
        return upper.at(path)

    def _keep_identity(self, copy: os.stat_result, original: os.stat_result) -> None:
        self._originals[copy.st_dev, copy.st_ino] = self.original(original)
        # Other names of the original are other files now, so it cannot be the same to programs.
        if stat.S_ISDIR(copy.st_mode) or original.st_nlink == 1:
            self._identities[copy.st_dev, copy.st_ino] = self.identity(original)
        if self.on_identity is not None:
            self.on_identity(copy)
            self.on_identity(original)

    def forget_identity(self, status: os.stat_result) -> None:
        """A file of the writable layer loses a name: what has its inode number next is another."""
        if self._originals and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
            self._identities.pop((status.st_dev, status.st_ino), None)
            self._originals.pop((status.st_dev, status.st_ino), None)

    # -- names --------------------------------------------------------------------------------

    def change_mode(self, path: bytes, mode: int) -> bool:
        """Change what is recorded of the permissions of a copy that is not its owner's; False if it is."""
        with self.lock:
            found = self.find(path)
            owner = self.owner(found)
            if owner is None:
                return False
            record_owner(found.real, owner._replace(mode=mode & 0o7777))
            os.chmod(found.real, bits_of_copy(found.status.st_mode, mode))
            return True

    def change_owner(self, path: bytes, uid: int, gid: int) -> bool:
        """Whether a copy that is not its owner's has that owner already; -1 is any."""
        owner = self.owner(self.find(path))
        return owner is not None and uid in (-1, owner.uid) and gid in (-1, owner.gid)

    def give(self, path: bytes, uid: int | None, gid: int | None, mode: int) -> None:
        """Record another owner of a copy, and the mode that it is seen with then."""
        with self.lock:
            found = self.find(path)
            owner, own = self.owner(found), (found.status.st_uid, found.status.st_gid)
            now = own if owner is None else (owner.uid, owner.gid)
            uid, gid = now[0] if uid is None else uid, now[1] if gid is None else gid
            if (uid, gid) == own:
                os.chmod(found.real, mode)
                record_owner(found.real, None)
            else:
                record_owner(found.real, Owner(uid, gid, mode))
                os.chmod(found.real, bits_of_copy(found.status.st_mode, mode))
                if self.on_identity is not None:
                    self.on_identity(found.status)

    def room(self, path: bytes, *, alone: bool = False) -> tuple[bytes, bool]:
        """Where to make a new name: its host path, and whether a whiteout is in the way there.

        The directory that it is in is in the writable layer by then, unless changes go through and may be
        made below, and not with `alone`.
        """
        with self.lock:
            below = None if alone else self._room_below(path)
            if below is not None:
                return below, False
            self.raise_directory(_parent(path))
            return self.upper.at(path), self.upper.look(path) is not None

    def _room_below(self, path: bytes) -> bytes | None:
        """Where a new name may be made in a lower layer, if changes go through."""
        if not self.through or self.upper.look(path) is not None:
            return None
        parent = _parent(path)
        part = self.lookup.parts(parent)[-1]
        may_change = part.layer and os.access(part.real or b"/", os.W_OK | os.X_OK, effective_ids=True)
        return part.real + path[len(parent) :] if may_change else None

    def link_room(self, source: bytes, path: bytes) -> tuple[bytes, bytes, bool]:
        """For one more name of a file: its host path, and what `room` says of the name."""
        with self.lock:
            found = self.find(source)
            if self.through and not self.is_changed(found) and _may_change(found, owning=True):
                below = self._room_below(path)
                if below is not None and _device_above(below) == found.status.st_dev:
                    return found.real, below, False
            real = self.raise_alone(source)
            return real, *self.room(path, alone=True)

    def make_over(self, path: bytes, make: Callable[[bytes], None]) -> None:
        """Make something where a whiteout is: `make` does it, at the path that it gets."""
        with self.lock:
            self.upper.make_over(path, make)
            self.lookup.forget()

    def plain_removal(self, path: bytes) -> bytes | None:
        """The host path where removing a name is all there is to do; None if `remove` must do it."""
        return removal_path(self, path)

    def remove(self, path: bytes) -> None:
        """Remove a file or an empty directory; ENOTEMPTY."""
        with self.lock:
            remove(self, path)

    def rename(self, old: bytes, new: bytes, *, exchanges: bool = False) -> None:
        """Rename what may be renamed there: types, places and permissions have been looked at.

        ENOTEMPTY for a directory in the way with names in it.
        """
        with self.lock:
            rename(self, old, new, exchanges=exchanges)

    def note_move(self, real: bytes, new: bytes) -> None:
        """What programs may hold by a host path of a lower layer is at another path now."""
        self._moved[self.upper.shortcuts.full(real)] = new

    def moved(self, old: bytes, new: bytes) -> None:
        """A path changed; so did what was moved there before."""
        for real, at in list(self._moved.items()):
            if at == old or at.startswith(old + b"/"):
                self._moved[real] = new + at[len(old) :]

    def close(self) -> None:
        """Release the writable layer."""
        if self._upper is not None:
            self._upper.close()


def _device_above(real: bytes) -> int:
    return os.lstat(os.path.dirname(real) or b"/").st_dev


def _may_change(found: Found, *, owning: bool) -> bool:
    if owning:
        return os.geteuid() in (0, found.status.st_uid)
    return os.access(found.real, os.W_OK, effective_ids=True)
