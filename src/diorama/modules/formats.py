"""Formats: those that the caller gives a view, as files where programs look for binfmt_misc.

Flag F, and the emulator of another architecture, are programs of the caller's, in whatever root the view has.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from diorama.abi.binfmt import parse_format
from diorama.abi.elf import find_interpreter
from diorama.abi.machines import MACHINES, Machine, find_machine
from diorama.dispatch.files.fixing import FixedOnHost
from diorama.errors import UsageError
from diorama.modules.filesystems.binfmt import BinfmtFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from diorama.abi.binfmt import Format

__all__ = ["PLACE", "ChosenFormats"]

_FORMS: Final = ":NAME:E::EXTENSION::INTERPRETER:FLAGS or :NAME:M:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS"
PLACE: Final = "/proc/sys/fs/binfmt_misc"


class ChosenFormats:
    """The formats of one view; `mount` shows them there, when there is one."""

    def __init__(self, mount: Callable[[BinfmtFileSystem, str], None]) -> None:
        self._mount = mount
        self._filesystem: BinfmtFileSystem | None = None
        self._machines: set[Machine] = set()

    def add(self, text: str | bytes) -> None:
        """An entry as somebody would write it to `register`; `UsageError`."""
        entry = os.fsencode(text)
        try:
            parse_format(entry)
        except OSError:
            raise UsageError(f"not a format: {os.fsdecode(entry)!r}; write {_FORMS}") from None
        self._register(entry)

    def add_machine(self, name: str) -> None:
        """The programs of an architecture, by qemu-user; nothing for the machine's own.  `UsageError`."""
        machine = find_machine(name)
        if machine is None:
            known = ", ".join(one.name for one in MACHINES)
            raise UsageError(f"unknown architecture {name!r}; known are {known}")
        if not (machine.is_own or machine in self._machines):
            self._files().set.register(*_emulated(machine))
            self._machines.add(machine)

    def _register(self, entry: bytes) -> None:
        try:
            self._files().register(entry, FixedOnHost)
        except OSError as error:
            raise UsageError(f"cannot have the format {os.fsdecode(entry)!r}: {error.strerror}") from None

    def _files(self) -> BinfmtFileSystem:
        if self._filesystem is None:
            filesystem = BinfmtFileSystem()
            self._mount(filesystem, PLACE)
            self._filesystem = filesystem
        return self._filesystem


def _emulated(machine: Machine) -> tuple[Format, FixedOnHost]:
    """What emulates it, of the caller's programs."""
    found = [path for path in map(shutil.which, machine.programs) if path is not None]
    why = f"there is no {' or '.join(machine.programs)}"
    for path in found:
        try:
            program = FixedOnHost(path)
        except OSError as error:
            why = f"{path}: {error.strerror}"
            continue
        if find_interpreter(program.fd) is None:
            return machine.format(os.fsencode(path)), program
        why = f"{path} is linked dynamically"
        program.close()
    raise UsageError(
        f"cannot run programs of {machine.name}: {why}; install qemu-user-static (Debian's name for it)"
    )
