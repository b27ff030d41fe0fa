"""Programs: the C programs under `tests/programs`, compiled when a test asks for one."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent / "programs"
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread")
# Where the kernel's <asm/...> is for -m32 on a machine that can't have the package with the symbolic link.
ASM_HEADERS = ("-idirafter", "/usr/include/x86_64-linux-gnu")


@dataclass(frozen=True, slots=True)
class Programs:
    """A directory of compiled programs, named by what they were made from."""

    directory: Path

    def __call__(self, name: str, bits: int = 64, *, static: bool = False) -> Path:
        """The path of a program, compiled now if need be; skips the test where that form can't be made."""
        if bits == 32 and not can_compile_32():
            pytest.skip("needs gcc-multilib (libc6-dev-i386) for 32-bit programs")
        flags = (f"-m{bits}", *(("-static",) if static else ()), *FLAGS)
        source = SOURCES / f"{name}.c"
        identity = hashlib.sha256(source.read_bytes() + headers() + repr(flags).encode())
        folder = self.directory / f"{identity.hexdigest()[:16]}"
        target = folder / name
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            compile_program(source, target, flags)
        return target


@functools.cache
def headers() -> bytes:
    """What any of the programs may include."""
    return b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.h")))


def compile_program(source: Path, target: Path, flags: tuple[str, ...]) -> None:
    """Compile under another name first: several test processes share the directory."""
    partial = target.with_suffix(f".{os.getpid()}")
    command = ["gcc", *flags, *ASM_HEADERS, "-o", str(partial), str(source), "-lrt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    partial.rename(target)


@functools.cache
def can_compile_32() -> bool:
    """Whether a 32-bit program can be linked and run here."""
    if shutil.which("gcc") is None:
        return False
    command = ["gcc", "-m32", *ASM_HEADERS, "-xc", "-", "-o", "/dev/null"]
    source = "#include <errno.h>\nint main(void) { return errno; }\n"
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False).returncode == 0
