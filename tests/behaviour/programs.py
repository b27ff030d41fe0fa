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


def with_set_user_id(directory: Path, program: Path) -> Path:
    """A directory with the program, and with one that gives who executes it the user of its owner."""
    place = directory / "programs"
    place.mkdir()
    shutil.copy(program, place / "plain")
    shutil.copy(program, place / "of_root")
    (place / "of_root").chmod(0o4755)
    return place


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

    def go(self, name: str) -> list[str]:
        """The command line of a program in Go; skips the test where there is no go(1)."""
        target = self._made(f"{name}.go", "go", name)
        if not target.exists():
            environment = os.environ | {"GOCACHE": str(target.parent / "cache"), "GOFLAGS": ""}
            partial = target.with_suffix(f".{os.getpid()}")
            compile_with(["go", "build", "-o", str(partial), str(SOURCES / f"{name}.go")], environment)
            partial.rename(target)
        return [str(target)]

    def java(self, name: str) -> list[str]:
        """The command line of a class in Java, likewise."""
        target = self._made(f"{name}.java", "javac", f"{name}.class")
        if not target.exists():
            partial = target.parent / str(os.getpid())
            compile_with(["javac", "-d", str(partial), str(SOURCES / f"{name}.java")], dict(os.environ))
            (partial / target.name).rename(target)
        options = ("-XX:-UsePerfData", "-XX:TieredStopAtLevel=1")
        return ["java", *options, "-cp", str(target.parent), name]

    def _made(self, source: str, compiler: str, target: str) -> Path:
        """Where what is made of a source goes."""
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not installed")
        folder = self.directory / hashlib.sha256((SOURCES / source).read_bytes()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder / target


def compile_with(command: list[str], environment: dict[str, str]) -> None:
    """Run a compiler that may take long on a busy machine."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr


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
