"""Naming: uname(2), what sets names, and the files of /proc that tell them.

Everybody in a view may set its names, as everybody may mount: they are nobody else's.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.abi.system import UtsName
from diorama.catalogue.system import SetDomainName, SetHostName, Uname
from diorama.dispatch.files.generated import Subject, SystemFile
from diorama.dispatch.names.answers import Outcome, answers, fail
from diorama.dispatch.names.state import Names
from diorama.view.uts import NAME_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__ = ["naming_files"]

_UNAME26: Final = 0x0020000
_PER_MASK: Final = 0xFF
_PER_LINUX32: Final = 8
_COMPAT: Final = {"x86_64": b"i686", "aarch64": b"armv8l", "riscv64": b"riscv32"}
_SHORT: Final = 8
_OF_FIRST_UNAME26: Final = 60


@answers(Uname)
def uname(names: Names, call: Uname) -> Outcome:
    """The names, as the caller's namespace and personality (personality(2)) have them."""
    task = names.task(call.tracee)
    uts = names.uts(task)
    told = {**names.fixed, "nodename": uts.get("nodename"), "domainname": uts.get("domainname")}
    persona = _personality(task)
    if persona & _UNAME26:
        told["release"] = _old_release(told["release"])
    if persona & _PER_MASK == _PER_LINUX32:
        told["machine"] = _COMPAT.get(os.uname().machine, told["machine"])
    if call.names.layout == "oldold_utsname":
        told = {name: value[:_SHORT] for name, value in told.items()}
    call.names.write(UtsName(**told))
    return 0


def _personality(task: Task) -> int:
    try:
        with open(f"/proc/{task.tid}/personality", "rb") as file:
            return int(file.read(), 16)
    except OSError:
        return 0


def _old_release(release: bytes) -> bytes:
    """As programs that fear versions after 2.6 see it: 2.6.60 and the kernel's own minor, and the rest."""
    minor = int(os.uname().release.split(".")[1])
    dots = [at for at, byte in enumerate(release) if byte == ord(".")]
    end = next((at for at, byte in enumerate(release) if byte not in b"0123456789."), len(release))
    if len(dots) > 2:
        end = min(end, dots[2])
    return (b"2.6.%d" % (minor + _OF_FIRST_UNAME26) + release[end:])[:NAME_MAX]


@answers(SetHostName, SetDomainName)
def set_name(names: Names, call: SetHostName | SetDomainName) -> Outcome:
    """Another name for all in the caller's namespace."""
    if not 0 <= call.size <= NAME_MAX:
        raise fail(errno.EINVAL)
    value = call.name.read(call.size)
    which = "nodename" if isinstance(call, SetHostName) else "domainname"
    names.uts(names.task(call.tracee)).set(which, value.split(b"\0", 1)[0])
    return 0


def naming_files(names: Names) -> Iterator[tuple[bytes, SystemFile]]:
    """The files of /proc that tell names."""
    for name, file in (("nodename", b"hostname"), ("domainname", b"domainname")):
        yield b"/proc/sys/kernel/" + file, _changeable(names, name)
    for name, file in (("sysname", b"ostype"), ("release", b"osrelease"), ("version", b"version")):
        yield b"/proc/sys/kernel/" + file, _constant(names.fixed[name] + b"\n")
    yield b"/proc/version", SystemFile(lambda files, subject: _version(names, subject))


def _changeable(names: Names, name: str) -> SystemFile:
    def read(files: Files, subject: Subject) -> bytes:
        return names.uts(subject.reader).get(name) + b"\n"

    def write(task: Task) -> int:
        return names.uts(task).writer(name)

    return SystemFile(read, write)


def _constant(content: bytes) -> SystemFile:
    return SystemFile(lambda files, subject: content)


def _version(names: Names, subject: Subject) -> bytes:
    own = os.uname()
    before = os.fsencode(f"{own.sysname} version {own.release} ")
    after = os.fsencode(f"{own.version}\n")
    middle = subject.real().removeprefix(before).removesuffix(after)
    fixed = names.fixed
    return b"%b version %b %b%b\n" % (fixed["sysname"], fixed["release"], middle, fixed["version"])
