"""The interpreter of an executable, found as the kernel finds it."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from diorama.abi.elf import Interpreter, find_interpreter, find_needed


def interpreter_of(content: bytes, at: Path) -> Interpreter | None:
    at.write_bytes(content)
    fd = os.open(at, os.O_RDONLY)
    try:
        return find_interpreter(fd)
    finally:
        os.close(fd)


def changed(content: bytes, interpreter: Interpreter, path: bytes) -> bytes:
    """The content with another interpreter, at its end."""
    data = bytearray(content + path + b"\0")
    for at, new in interpreter.elsewhere(len(content), len(path) + 1):
        data[at : at + len(new)] = new
    return bytes(data)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
@pytest.mark.parametrize("bits", [64, 32])
def test_what_readelf_says(tmp_path: Path, bits: int) -> None:
    command = ["gcc", f"-m{bits}", "-xc", "-", "-nostdlib", "-Wl,--dynamic-linker=/odd/ld", "-pie", "-fPIE"]
    program = tmp_path / "program"
    done = subprocess.run(
        [*command, "-o", str(program)], input=b"void _start(void) {}\n", capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no compiler for {bits} bits")
    content = program.read_bytes()
    found = interpreter_of(content, tmp_path / "one")
    assert found is not None
    assert found.path == b"/odd/ld"
    again = interpreter_of(changed(content, found, b"/another/one"), tmp_path / "two")
    assert again is not None
    assert again.path == b"/another/one"
    shown = subprocess.run(["readelf", "-lW", tmp_path / "two"], capture_output=True, text=True, check=True)
    match = re.search(r"interpreter: ([^\]]+)\]", shown.stdout)
    assert match is not None
    assert match[1] == "/another/one"


def needed_of(path: Path) -> list[bytes]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return find_needed(fd)
    finally:
        os.close(fd)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
@pytest.mark.parametrize("bits", [64, 32])
def test_what_it_is_linked_with(tmp_path: Path, bits: int) -> None:
    source = b"void first(void); void second(void); void _start(void) { first(); second(); }\n"
    libraries = []
    for name in ("first", "second"):
        library = tmp_path / f"lib{name}.so"
        command = ["gcc", f"-m{bits}", "-xc", "-", "-shared", "-nostdlib", f"-Wl,-soname,lib{name}.so.7"]
        done = subprocess.run(
            [*command, "-o", str(library)], input=b"void %s(void) {}\n" % name.encode(), check=False
        )
        if done.returncode:
            pytest.skip(f"no compiler for {bits} bits")
        libraries.append(str(library))
    program = tmp_path / "program"
    command = ["gcc", f"-m{bits}", "-xc", "-", "-xnone", *libraries, "-nostdlib", "-o", str(program)]
    subprocess.run(command, input=source, check=True)
    assert needed_of(program) == [b"libfirst.so.7", b"libsecond.so.7"]
    shown = subprocess.run(["readelf", "-dW", "/usr/bin/env"], capture_output=True, text=True, check=True)
    names = [name.encode() for name in re.findall(r"\(NEEDED\).*\[(.+)\]", shown.stdout)]
    assert needed_of(Path("/usr/bin/env")) == names


@pytest.mark.parametrize("size", [0, 3, 63, 64, 100, 800, 3000])
def test_a_file_that_is_cut_needs_nothing(tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(Path("/usr/bin/env").read_bytes()[:size])
    assert needed_of(cut) in ([], [b""])


@pytest.mark.parametrize("size", [0, 3, 4, 16, 20, 63, 64, 100])
def test_a_file_that_is_cut_has_none(tmp_path: Path, size: int) -> None:
    assert interpreter_of(Path("/proc/self/exe").read_bytes()[:size], tmp_path / "cut") is None


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (4, b"\x03"),  # a class that does not exist
        (5, b"\x02"),  # the other byte order
        (18, struct.pack("<H", 0x1234)),  # another machine
        (54, struct.pack("<H", 24)),  # program headers of another size
        (56, struct.pack("<H", 0)),  # none
    ],
)
def test_what_the_kernel_refuses_has_none(tmp_path: Path, offset: int, data: bytes) -> None:
    content = bytearray(Path("/proc/self/exe").read_bytes())
    assert interpreter_of(bytes(content), tmp_path / "whole") is not None
    content[offset : offset + len(data)] = data
    assert interpreter_of(bytes(content), tmp_path / "damaged") is None
