"""Maps: /proc/PID/maps, smaps and numa_maps, with the names and numbers of files in the view."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from diorama.abi.stat import make_device, split_device
from diorama.dispatch.files.generated import Subject, makes
from diorama.dispatch.files.identities import number_of
from diorama.dispatch.files.names import name_of_object

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.mounts import Place

# Only what has a path is named by the view; a name in brackets is none.
_MAPPING: Final = re.compile(
    rb"^([0-9a-f]+)(-[0-9a-f]+ \S+ [0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) +(/.*)$", re.MULTILINE
)
_NUMA: Final = re.compile(rb"^([0-9a-f]+)( .*?file=)(\S+)", re.MULTILINE)
_WIDTH: Final = 73  # where names begin: 25 + 6 * sizeof(void *) of 64 bits
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The identity that a line of maps tells."""

    st_dev: int
    st_ino: int
    st_mode: int = 0
    st_nlink: int = 0
    st_ctime_ns: int = 0


@makes(rb"maps|smaps")
def make_maps(files: Files, subject: Subject) -> bytes:
    """The lines of mappings; what smaps tells besides is the kernel's."""
    return _MAPPING.sub(lambda found: _line(files, subject, found), subject.real())


@makes(rb"numa_maps")
def make_numa_maps(files: Files, subject: Subject) -> bytes:
    """Its lines have no numbers, so names come from maps, by their addresses."""
    with open(os.path.join(os.path.dirname(subject.path), b"maps"), "rb") as file:
        mappings = _MAPPING.finditer(file.read())
    names = {found[1]: _name(files, subject, found) for found in mappings}

    def line(found: re.Match[bytes]) -> bytes:
        name = names.get(found[1])
        return found[0] if name is None else found[1] + found[2] + _escape(name, b"\n\t= \\")

    return _NUMA.sub(line, subject.real())


def _numbers(found: re.Match[bytes]) -> _Numbers:
    return _Numbers(make_device(int(found[3], 16), int(found[4], 16)), int(found[5]))


def _name(files: Files, subject: Subject, found: re.Match[bytes]) -> bytes:
    text = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8) & 0xFF]), found[6])
    return name_of_object(files, subject.reader, subject.task, text, _numbers(found))


def _line(files: Files, subject: Subject, found: re.Match[bytes]) -> bytes:
    name = _escape(_name(files, subject, found), b"\n")
    place = files.inodes.find(_numbers(found))
    if place is None:
        return found[0][: found.start(6) - found.start()] + name
    device, inode = _identity(place)
    major, minor = split_device(device)
    head = b"%b%b %02x:%02x %d " % (found[1], found[2], major, minor, inode)
    return head.ljust(_WIDTH) + name


def _identity(place: Place) -> tuple[int, int]:
    """Device and inode number that fstat(2) tells in the view."""
    if place.filesystem is not None:
        return place.mount.st_dev, number_of(place)
    status = os.stat(place.host_path)
    return status.st_dev, status.st_ino


def _escape(name: bytes, special: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in special else bytes([byte]) for byte in name)
