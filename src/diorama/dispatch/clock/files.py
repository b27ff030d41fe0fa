"""Files: those of /proc that tell how long the system has run, and since when (proc(5))."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.generated import Maker, Subject, SystemFile
from diorama.view.clock import NSEC, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from diorama.dispatch.clock.state import Clocks
    from diorama.dispatch.files.state import Files

__all__ = ["clock_files"]

_BTIME: Final = re.compile(rb"^btime \d+$", re.MULTILINE)


def clock_files(clocks: Clocks, others: Mapping[bytes, SystemFile]) -> Iterator[tuple[bytes, SystemFile]]:
    """The files; what others tell in them stays."""
    yield b"/proc/uptime", SystemFile(_uptime(clocks))
    stat = others.get(b"/proc/stat")
    yield b"/proc/stat", SystemFile(_stat(clocks, _real if stat is None else stat.read))


def _real(_files: Files, subject: Subject) -> bytes:
    return subject.real()


def _uptime(clocks: Clocks) -> Maker:
    def read(_files: Files, subject: Subject) -> bytes:
        """The second number is processor time, which is left alone."""
        clock = clocks.of_task(subject.reader)
        idle = subject.real().split()[1]
        hundredths = clock.shown(Kind.BOOTTIME) // (NSEC // 100)
        return b"%d.%02d %s\n" % (*divmod(hundredths, 100), idle)

    return read


def _stat(clocks: Clocks, inner: Maker) -> Maker:
    def read(files: Files, subject: Subject) -> bytes:
        clock = clocks.of_task(subject.reader)
        moment = clock.begun().shown
        btime = b"btime %d" % max((moment.wall - moment.boottime) // NSEC, 0)
        return _BTIME.sub(btime, inner(files, subject))

    return read
