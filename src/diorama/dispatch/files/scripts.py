"""Scripts: the first line of one, as the kernel reads it, and the arguments that it makes.

execve(2), "Interpreter scripts"; fs/binfmt_script.c.
"""

from __future__ import annotations

import errno
import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.binfmt import HEAD

if TYPE_CHECKING:
    from diorama.catalogue.processes import ExecveAt

__all__ = ["AS_GIVEN", "HEAD", "Arguments", "script_line", "with_arguments"]

_BLANK: Final = b" \t"
_ENDS: Final = b" \t\0"
_MOST: Final = 1 << 22
_IN_ARENA: Final = 32 << 10


def script_line(head: bytes) -> list[bytes] | None:
    """The interpreter and its one optional argument; None if this is no script.

    ENOEXEC if it is no good one; EACCES as Linux has it for an empty name, which is the current directory.
    """
    if not head.startswith(b"#!"):
        return None
    line, newline, _ = head.ljust(HEAD, b"\0")[2:].partition(b"\n")
    if not newline:
        name = line.lstrip(_BLANK)
        # Without a blank behind it, nobody knows whether the name has been cut off.
        if not name or not any(end in name for end in _ENDS):
            raise _error(errno.ENOEXEC)
        line = line[:-1]
    # Behind a line that ends with the file are zeros, so blanks there stand before an empty argument.
    line = line.strip(_BLANK)
    if not line:
        raise _error(errno.ENOEXEC)
    end = min((at for at in map(line.find, (b" ", b"\t", b"\0")) if at >= 0), default=len(line))
    name, rest = line[:end], line[end:]
    if not name:
        raise _error(errno.EACCES)
    option = b"" if rest.startswith(b"\0") else rest.lstrip(_BLANK)
    return [name, option.partition(b"\0")[0]] if option else [name]


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass(frozen=True, slots=True)
class Arguments:
    """What is put before the arguments of a call, and whether it takes the place of the first one."""

    before: tuple[bytes, ...] = ()
    drops_first: bool = False

    def behind(self, *words: bytes, keeps_first: bool = False) -> Arguments:
        """The same behind an interpreter and its arguments, which replace the first one unless that stays."""
        if keeps_first:
            return Arguments((*words, *self.before), self.drops_first)
        return Arguments((*words, *self.before[1:]), self.drops_first or not self.before)


AS_GIVEN: Final = Arguments()


def with_arguments(call: ExecveAt, arguments: Arguments) -> ExecveAt | int:
    """The call with a vector of arguments that begins with others.

    Its result if it has been made already: a vector that is too large for the arena needs room of its own.
    """
    memory, word = call.tracee.memory, call.tracee.abi.word
    pointers = call.argv.pointers(_MOST) if call.argv else []
    # To a program without arguments the kernel gives an empty one.
    words = arguments.before if pointers or arguments.drops_first else (*arguments.before, b"")
    pointers = pointers[1:] if arguments.drops_first else pointers
    new = [memory.place(text + b"\0") for text in words]
    vector = b"".join(pointer.to_bytes(word, "little") for pointer in [*new, *pointers, 0])
    if len(vector) <= _IN_ARENA:
        return call.replace(argv=memory.place(vector))
    make = call.tracee.syscall.mmap2 if call.tracee.abi is Abi.I386 else call.tracee.syscall.mmap
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = make(0, len(vector), mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
    memory.write(address, vector)
    try:
        return call.replace(argv=address).run()
    except OSError:
        call.tracee.syscall.munmap(address, len(vector))
        raise
