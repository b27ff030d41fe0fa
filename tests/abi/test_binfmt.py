"""What is registered with binfmt_misc: read as the kernel reads it."""

from __future__ import annotations

import ast
import errno
import random
import subprocess
import sys
from pathlib import Path

import pytest

from diorama.abi.binfmt import HEAD, Format, parse_command, parse_format, parse_shown

GOOD = (
    rb":py:E::foo::/usr/bin/python3:",
    rb":elf:M::\x7fELF:\xff\xff\x00\xff:/bin/x:POC",
    rb":at:M:3:ab::/bin/x:F",
    rb":m:M:250:abcdef::/bin/xyz:",
    rb":m:M:-0:ab::/bin/x:",
    b":m:M:+7\n:ab::/bin/x:",
    rb":m:E:skipped:x.y:skipped:/bin/xx:",
    b":m:E::x.y::/bin/xx:PP\n",
    rb":n:M::a\x00b::/bin/xx:",
    b":n:M::a\0b::/bin/xx:",
    b":n:M::ab:\0:/bin/xx:",
    rb":n:M::\y11::/bin/xx:",
    rb"anaMaa\xaaabaqqqqq/bina",
    b"\0n\0E\0\0foo\0\0/bin/x\0P",
    rb"xnxMx0x\x41xx/bin/ccx",
)
BAD = (
    rb":m:M:251:abcdef::/bin/xyz:",
    rb":m:E:::/bin/xxxx:",
    rb":m:M: 7:ab::/bin/x:",
    rb":m:M:2147483648:ab::/bin/x:",
    rb":a/b:E::x::/bin/xx:",
    rb":..:E::x::/bin/xx:",
    rb":m:E::x/y::/bin/xx:",
    b":m:E::x.y::/bin/xx:\n\n",
    rb":m:E::x.y::/bin/xx",
    rb":m:E::x.y::/bin/xx::",
    rb":m:E::x.y::/bin/xx:Q",
    b":n:M::\0ab::/bin/xx:",
    b":n:M::ab:q\0:/bin/xx:",
    rb":n:M::\xg0::/bin/xx:",
    rb":n:M::\x1::/bin/xx:",
    rb"PmPEPPxPP/bin/xxxxP",
    rb":a:E::x::/",
    b":a:E::x::/" + b"b" * 1920 + b":",
)


def judged(text: bytes) -> tuple[int, tuple[bytes, bytes] | None]:
    """As `registrations.py` tells of the kernel."""
    try:
        format = parse_format(text)
    except OSError as error:
        return error.errno or 0, None
    return 0, (format.name, format.shown(enabled=True))


@pytest.mark.parametrize("text", GOOD)
def test_it_is_taken(text: bytes) -> None:
    assert judged(text)[0] == 0


@pytest.mark.parametrize("text", BAD)
def test_it_is_refused(text: bytes) -> None:
    assert judged(text) == (errno.EINVAL, None)


def changed(source: random.Random, text: bytes) -> bytes:
    """A text with a few mistakes in it."""
    letters = bytearray(text)
    for _ in range(source.randint(1, 3)):
        at, letter = source.randrange(len(letters)), source.choice(b":\\x/.ME0\0POC\n1aZ\xff-+")
        match source.randrange(4):
            case 0:
                letters.insert(at, letter)
            case 1 if len(letters) > 1:
                del letters[at]
            case 2:
                letters = letters.replace(b":", bytes([letter]))
            case _:
                letters[at] = letter
    return bytes(letters)


def test_it_is_what_the_kernel_says(tmp_path: Path) -> None:
    source = random.Random(7)
    texts = [*GOOD, *BAD, *(changed(source, source.choice(GOOD)) for _ in range(1000))]
    # An interpreter with flag F is opened, and these names are taken.
    texts = [text for text in texts if b"F" not in text and b"status" not in text]
    script = 'mount -t binfmt_misc none "$1" && exec "$2" "$3" "$1"'
    where, program = str(tmp_path), str(Path(__file__).with_name("registrations.py"))
    command = ["unshare", "-rm", "sh", "-c", script, "sh", where, sys.executable, program]
    given = "".join(f"{text!r}\n" for text in texts)
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=50, check=False)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("needs binfmt_misc in user namespaces (Linux 6.7)")
    found = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert len(found) == len(texts), done.stderr
    assert [one for one in zip(texts, found, map(judged, texts), strict=True) if one[1] != one[2]] == []


def test_hexadecimal_bytes_and_the_mask_of_a_magic() -> None:
    format = parse_format(rb":n:M:2:\x7fE\x00:\xff\xdf\xff:/bin/x:")
    assert (format.magic, format.mask, format.offset) == (b"\x7fE\0", b"\xff\xdf\xff", 2)
    assert format.accepts(b"any", b"..\x7fe\0rest")
    assert format.accepts(b"any", b"..\x7fE")  # zeros follow a file that is short
    assert not format.accepts(b"any", b"..\x7fF\0")
    assert not format.accepts(b"any", b"")


@pytest.mark.parametrize("text", [text for text in GOOD if b"\0" not in text[:8]])
def test_what_a_file_tells_is_understood(text: bytes) -> None:
    format = parse_format(text)
    for enabled in (True, False):
        assert parse_shown(format.name, format.shown(enabled=enabled)) == (format, enabled)


def test_a_name_ends_with_what_follows_its_last_dot() -> None:
    format = Format(b"n", b"/bin/x", extension=b"two")
    assert format.accepts(b"/dir/one.two", b"")
    assert not format.accepts(b"/dir/two", b"")
    assert not format.accepts(b"/dir/two.one", b"")
    # As the kernel has it, whose last dot may be that of a directory.
    assert Format(b"n", b"/bin/x", extension=b"d").accepts(b"/dir/x.d", b"")


def test_a_magic_reaches_to_the_end_of_what_is_read() -> None:
    assert len(parse_format(b":n:M:%d:abc::/bin/x:" % (HEAD - 3)).magic) == 3


@pytest.mark.parametrize(
    ("text", "command"), [(b"0", 0), (b"1\n", 1), (b"-1", -1), (b"-1\n", -1), (b"", None)]
)
def test_commands(text: bytes, command: int | None) -> None:
    assert parse_command(text) == command


@pytest.mark.parametrize("text", [b"\n", b"2", b"00", b"1\n\n", b"-1\n\n", b"-", b" 1"])
def test_what_is_no_command(text: bytes) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        parse_command(text)
