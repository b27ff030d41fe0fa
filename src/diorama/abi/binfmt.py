"""Binfmt: what is registered with binfmt_misc (Documentation/admin-guide/binfmt-misc.rst, fs/binfmt_misc.c).

    :name:type:offset:magic:mask:interpreter:flags

The first character is the delimiter, whatever it is.  Type `M` recognizes a file by bytes at an offset, `E`
by what follows the last dot of its name.  Magic and mask may have bytes as `\\x7f`.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from typing import Final

__all__ = [
    "AT_FLAGS_PRESERVE_ARGV0",
    "BINFMT_MAGIC",
    "HEAD",
    "Format",
    "parse_command",
    "parse_format",
    "parse_shown",
]

BINFMT_MAGIC: Final = 0x42494E4D
"""The type of the file system (statfs(2))."""

AT_FLAGS_PRESERVE_ARGV0: Final = 1
"""In the entry AT_FLAGS of the auxiliary vector: the interpreter was given the first argument as well."""

HEAD: Final = 256
"""How much of a file is looked at (BINPRM_BUF_SIZE)."""

_SHORTEST: Final = 11
_LONGEST: Final = 1920
_FLAGS: Final = b"POCF"
_HEX: Final = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_OFFSET: Final = re.compile(rb"[+-]?\d+\n?")
_MOST: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Format:
    """One entry: by what `interpreter` files are run that have `magic` at `offset`, or an `extension`.

    A `mask` says which bits of the magic count; empty for all.
    """

    name: bytes
    interpreter: bytes
    magic: bytes = b""
    mask: bytes = b""
    offset: int = 0
    extension: bytes = b""
    flags: bytes = b""

    @property
    def keeps_first(self) -> bool:
        """`P`: the interpreter is given the first argument of the program too, behind its path."""
        return b"P" in self.flags

    @property
    def opens(self) -> bool:
        """`O`, which `C` implies: the interpreter is given the file open."""
        return b"O" in self.flags

    @property
    def lends_rights(self) -> bool:
        """`C`: who the interpreter runs as is told by the file, and not by the interpreter."""
        return b"C" in self.flags

    @property
    def is_fixed(self) -> bool:
        """`F`: the interpreter is the file that it is when this is registered, from wherever it is used."""
        return b"F" in self.flags

    def accepts(self, name: bytes, head: bytes) -> bool:
        """Whether a file is of this format: by the name that it was called by, and its first `HEAD` bytes.

        A shorter file is one with zeros behind it.
        """
        if self.extension:
            _, dot, extension = name.rpartition(b".")
            return bool(dot) and extension == self.extension
        there = head[self.offset : self.offset + len(self.magic)].ljust(len(self.magic), b"\0")
        if not self.mask:
            return there == self.magic
        return all((a ^ b) & m == 0 for a, b, m in zip(there, self.magic, self.mask, strict=True))

    def shown(self, *, enabled: bool) -> bytes:
        """What the file of the entry tells."""
        lines = [b"enabled" if enabled else b"disabled", b"interpreter " + self.interpreter]
        lines.append(b"flags: " + bytes(one for one in _FLAGS if one in self.flags))
        if self.extension:
            lines.append(b"extension ." + self.extension)
        else:
            lines += [b"offset %d" % self.offset, b"magic " + self.magic.hex().encode()]
        if self.mask:
            lines.append(b"mask " + self.mask.hex().encode())
        return b"\n".join(lines) + b"\n"


def _invalid() -> OSError:
    return OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def parse_format(text: bytes) -> Format:
    """What somebody writes to the file `register`; EINVAL for what is none."""
    found = _pattern(text[:1]).fullmatch(text) if _SHORTEST <= len(text) <= _LONGEST else None
    if found is None or found["name"] in (b".", b".."):
        raise _invalid()
    name, interpreter, flags = found["name"], found["interpreter"], _flags(found["flags"])
    if found["extension"]:
        return Format(name, interpreter, extension=found["extension"], flags=flags)
    magic, mask, offset = _bytes(found["magic"]), _bytes(found["mask"]), _number(found["offset"])
    if found["magic"].startswith(b"\0") or (mask and len(magic) != len(mask)) or len(magic) + offset > HEAD:
        raise _invalid()
    return Format(name, interpreter, magic, mask, offset, flags=flags)


def _pattern(delimiter: bytes) -> re.Pattern[bytes]:
    """Seven fields.  A zero ends what the kernel looks for a delimiter in, but not magic and mask."""
    end = re.escape(delimiter)
    plain = rb"[^\x00%s]" % end
    coded = rb"(?:(?!%s)(?:\\x[0-9A-Fa-f]{2}|(?!\\x)[\x00-\xff]))" % end
    by_magic = rb"M%s(?P<offset>%s*)%s(?P<magic>%s+)%s(?P<mask>%s*)" % (end, plain, end, coded, end, coded)
    by_name = rb"E%s%s*%s(?P<extension>(?:(?!/)%s)+)%s%s*" % (end, plain, end, plain, end, plain)
    name = rb"%s(?P<name>(?:(?!/)%s)+)%s" % (end, plain, end)
    # The kernel puts delimiters behind the text before it reads it, where some are read as flags.
    flags = rb"(?!)" if delimiter in _FLAGS else rb"(?P<flags>[POCF]*)\n" + b"?" * (delimiter != b"\n")
    rest = rb"%s(?P<interpreter>%s+)%s%s" % (end, plain, end, flags)
    return re.compile(name + rb"(?:%s|%s)" % (by_magic, by_name) + rest)


def _flags(text: bytes) -> bytes:
    """In the order in which they are shown."""
    given = text + (b"O" if b"C" in text else b"")
    return bytes(one for one in _FLAGS if one in given)


def _number(text: bytes) -> int:
    """An offset, 0 where there is none."""
    if not text:
        return 0
    number = int(text) if _OFFSET.fullmatch(text) else -1
    if not 0 <= number <= _MOST:
        raise _invalid()
    return number


def _bytes(text: bytes) -> bytes:
    """Bytes that may be written in hexadecimal; a zero that stands there plainly ends them."""
    return _HEX.sub(lambda found: bytes([int(found[1], 16)]), text.partition(b"\0")[0])


def parse_shown(name: bytes, text: bytes) -> tuple[Format, bool]:
    """The opposite of `Format.shown`: an entry, and whether it is enabled; KeyError, ValueError."""
    state, _, rest = text.partition(b"\n")
    fields = dict(line.split(b" ", 1) for line in rest.splitlines())
    flags, extension = fields[b"flags:"], fields.get(b"extension", b".")[1:]
    magic, mask = (bytes.fromhex(fields.get(key, b"").decode()) for key in (b"magic", b"mask"))
    offset = int(fields.get(b"offset", b"0"))
    found = Format(name, fields[b"interpreter"], magic, mask, offset, extension, flags)
    return found, state == b"enabled"


def parse_command(text: bytes) -> int | None:
    """What somebody writes to `status` or to an entry: 1 and 0 enable and disable, -1 removes; else EINVAL.

    None for nothing.
    """
    if not text:
        return None
    command = text.removesuffix(b"\n")
    if len(text) > 3 or command not in (b"0", b"1", b"-1"):
        raise _invalid()
    return int(command)
