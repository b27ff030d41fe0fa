"""A tree of programs and scripts to execute, and what is to be tried with each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from behaviour.programs import ASM_HEADERS, FLAGS, SOURCES, can_compile_32

EVERY_WAY = (
    *("plain", "absolute", "dirfd", "dirfd-closing", "nofollow", "fd", "fd-closing", "fd-path", "link"),
    *("dev", "thread", "none", "null", "spawn", "vfork"),
)
PROGRAMS = ("bin/executed", "bin/by-ld.so", "bin/static", "bin/link-odd")
SCRIPTS = ("script", "script-odd", "depth-3", "script-closed", "nothing")


def loader() -> Path:
    """The host's own loader."""
    found = subprocess.run(["readelf", "-lW", "/bin/ls"], capture_output=True, text=True, check=True)
    match = re.search(r"interpreter: ([^\]]+)\]", found.stdout)
    assert match is not None
    return Path(match[1])


def build(source: Path, target: Path) -> None:
    """Lay a tree at `source` that is to be executed at `target`."""
    (source / "bin").mkdir(parents=True)
    (source / "odd").mkdir()
    shutil.copy(loader(), source / "odd/ld.so")
    (source / "odd/ld.so").chmod(0o755)
    (source / "odd/closed").write_bytes(loader().read_bytes())
    (source / "odd/text").write_text("no loader\n")
    (source / "odd/text").chmod(0o755)
    _compile(source / "bin/executed")
    _compile(source / "bin/static", "-static", "-DSTATIC")
    for name in ("ld.so", "closed", "text", "none"):
        _compile(source / f"bin/by-{name}", f"-Wl,--dynamic-linker={target}/odd/{name}")
    _compile(source / "libbeside.so", "-shared", "-fPIC", source="executed_library")
    for name, options in (("origin", ()), ("origin-odd", (f"-Wl,--dynamic-linker={target}/odd/ld.so",))):
        rpath = ("-DWITH_LIBRARY", f"-L{source}", "-lbeside", "-Wl,-rpath,$ORIGIN/..")
        _compile(source / f"bin/{name}", *options, after=rpath)
    if can_compile_32():
        _compile(source / "bin/i386", "-m32")
    (source / "bin/link").symlink_to("executed")
    (source / "bin/link-odd").symlink_to(f"{target}/bin/by-ld.so")
    (source / "dangling").symlink_to("nothing")
    shutil.copy(source / "bin/executed", source / "bin/closed")
    (source / "bin/closed").chmod(0o644)
    for name, (text, mode) in scripts(target).items():
        (source / name).write_bytes(text)
        (source / name).chmod(mode)


def scripts(target: Path) -> dict[str, tuple[bytes, int]]:
    """Scripts by name: content and mode."""
    at = os.fsencode(target)
    program = b"#!%s/bin/executed" % at
    found: dict[str, tuple[bytes, int]] = {
        "script": (program + b"\n", 0o755),
        "script-options": (program + b" \t-x  y \t\n", 0o755),
        "script-odd": (b"#! %s/bin/by-ld.so\nrest" % at, 0o755),
        "script-link": (b"#!%s/bin/link-odd\n" % at, 0o755),
        "script-shell": (b'#!/bin/sh -e\necho shell "$0" "$@"; cat /proc/$$/comm\n', 0o755),
        "script-env": (b"#!/usr/bin/env -S sh -e\necho env \"$0\" \"$@\"\n", 0o755),
        "script-relative": (b"#!bin/executed rel\n", 0o755),
        "script-closed": (program + b"\n", 0o644),
        "script-to-closed": (b"#!%s/bin/closed\n" % at, 0o755),
        "script-to-directory": (b"#!%s/bin\n" % at, 0o755),
        "script-to-nothing": (b"#!%s/nothing\n" % at, 0o755),
        "script-to-text": (b"#!%s/text\n" % at, 0o755),
        "script-nul": (program + b" a\0b\nrest", 0o755),
        "script-nothing": (b"#!\n", 0o755),
        "script-blanks": (b"#!  \t \n", 0o755),
        "script-no-newline": (program, 0o755),
        "text": (b"echo text\n", 0o755),
        "empty": (b"", 0o755),
        "elf-cut": (b"\x7fELF\x02\x01\x01", 0o755),
        "depth-1": (program + b"\n", 0o755),
    }
    for depth in range(2, 8):
        found[f"depth-{depth}"] = (b"#!%s/depth-%d\n" % (at, depth - 1), 0o755)
    for length in range(252, 259):
        line = program + b" "
        found[f"option-{length}"] = (line + b"x" * (length - len(line)) + b"\n", 0o755)
        name = b"#!" + b"/" * (length - len(program)) + program[2:]
        found[f"name-{length}"] = (name + b"\n", 0o755)
    return found


def attempts(source: Path) -> str:
    """The standard input of `executing`: everything is tried, and what is interesting in every way."""
    names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if not path.is_dir())
    names = [name for name in names if not name.startswith(("odd/", "lib"))]
    lines = [f"plain {name} one two" for name in [*names, "bin", "nothing", "bin/executed/", "script/x"]]
    for how in EVERY_WAY:
        lines += [f"{how} {name} one" for name in (*PROGRAMS, *SCRIPTS)]
    for how in ("written", "many", "long", "toolong", "badflag", "empty"):
        lines += [f"{how} {name}" for name in ("bin/executed", "bin/by-ld.so", "script", "script-odd")]
    return "\n".join(lines) + "\n"


def _compile(target: Path, *options: str, source: str = "executed", after: tuple[str, ...] = ()) -> None:
    command = ["gcc", *options, *FLAGS, *ASM_HEADERS, "-o", str(target), str(SOURCES / f"{source}.c"), *after]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
