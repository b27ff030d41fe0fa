"""Mountinfo: the lines of /proc/PID/mountinfo, and the other tables that have the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MountLine", "escape", "unescape"]

_SPECIAL: Final = re.compile(rb"[ \t\n\\]")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
# What /proc/PID/mounts shows before the options of the mount: flags of the superblock, security modules.
_GENERAL: Final = frozenset({b"sync", b"dirsync", b"mand", b"lazytime", b"seclabel"})
_LABELS: Final = (b"context=", b"fscontext=", b"defcontext=", b"rootcontext=")


def escape(text: bytes) -> bytes:
    """A name as the tables show it: blanks, tabs, newlines and backslashes in octal."""
    return _SPECIAL.sub(lambda found: b"\\%03o" % found[0][0], text)


def unescape(text: bytes) -> bytes:
    """The name that a table shows."""
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), text)


@dataclass(frozen=True, slots=True)
class MountLine:
    """A mount, proc_pid_mountinfo(5): names are plain here and escaped in the text.

    `root` is the path of the mount's root in its file system, `device` its `(major, minor)`, `optional` the
    fields about propagation.  `options` are those of the mount, `super_options` of the file system; each
    begins with `ro` or `rw`.
    """

    id: int
    parent: int
    device: tuple[int, int]
    root: bytes
    point: bytes
    options: tuple[bytes, ...]
    optional: tuple[bytes, ...]
    type: bytes
    source: bytes
    super_options: tuple[bytes, ...]

    @classmethod
    def parse(cls, line: bytes) -> MountLine:
        """From a line of /proc/PID/mountinfo; ValueError for what is none."""
        before, dash, after = line.rstrip(b"\n").partition(b" - ")
        fields, super_fields = before.split(b" "), after.split(b" ", 2)
        if not dash or len(fields) < 6 or len(super_fields) != 3:
            raise ValueError(f"not a line of mountinfo: {line!r}")
        major, _, minor = fields[2].partition(b":")
        return cls(
            id=int(fields[0]),
            parent=int(fields[1]),
            device=(int(major), int(minor)),
            root=unescape(fields[3]),
            point=unescape(fields[4]),
            options=tuple(fields[5].split(b",")),
            optional=tuple(fields[6:]),
            type=unescape(super_fields[0]),
            source=unescape(super_fields[1]),
            super_options=tuple(super_fields[2].split(b",")),
        )

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be changed there, by the mount or by its file system."""
        return self.options[0] == b"ro" or self.super_options[0] == b"ro"

    def info(self) -> bytes:
        """The line of mountinfo."""
        fields = (
            b"%d %d %d:%d" % (self.id, self.parent, *self.device),
            escape(self.root),
            escape(self.point),
            b",".join(self.options),
            *self.optional,
            b"-",
            _name(self.type),
            _name(self.source),
            b",".join(self.super_options),
        )
        return b" ".join(fields) + b"\n"

    def mount(self) -> bytes:
        """The line of /proc/PID/mounts, as in fstab(5)."""
        rest = list(self.super_options[1:])
        options = [b"ro" if self.is_read_only else b"rw"]
        while rest and (rest[0] in _GENERAL or rest[0].startswith(_LABELS)):
            options.append(rest.pop(0))
        options += [*self.options[1:], *rest]
        fields = (_name(self.source), escape(self.point), _name(self.type), b",".join(options))
        return b"%b %b %b %b 0 0\n" % fields

    def stats(self, more: bytes = b"") -> bytes:
        """What /proc/PID/mountstats tells of it; `more` is what the file system has to say."""
        fields = (_name(self.source), escape(self.point), _name(self.type), more)
        return b"device %b mounted on %b with fstype %b%b\n" % fields


def _name(text: bytes) -> bytes:
    """A source or type: a `#` would begin a comment in fstab(5)."""
    return escape(text).replace(b"#", b"\\043")
