"""Mounting: scripts that mount, and the same natively in a mount namespace of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import diorama

PRELUDE = r"""
import ctypes, errno, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 1, 2, 0x20, 0x1000, 0x2000, 0x4000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW = 1, 2, 4, 8

def encoded(text):
    return None if text is None else os.fsencode(text)

def told(result):
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]

def mount(source, target, kind=None, flags=0, data=None):
    print("mount", source, target, kind, told(
        libc.mount(encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), encoded(data))))

def bind(source, target, flags=0):
    mount(source, target, None, MS_BIND | flags)

def umount(target, flags=0):
    print("umount", target, flags, told(libc.umount2(encoded(target), flags)))

def show(path):
    try:
        print(path, sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read())
    except OSError as error:
        print(path, errno.errorcode[error.errno])

def write(path, text="written\n"):
    try:
        with open(path, "w") as file:
            file.write(text)
        print(path, "written")
    except OSError as error:
        print(path, errno.errorcode[error.errno])
"""


def lay(directory: Path) -> None:
    """Directories and files to mount and to mount on."""
    for name in ("a/sub/deep", "b", "c", "mnt", "mnt2"):
        (directory / name).mkdir(parents=True)
    for name in ("a/file", "a/sub/file", "b/only", "c/other", "plain"):
        (directory / name).write_text(f"{name}\n")
    (directory / "link").symlink_to("mnt")


def outcome(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a script has told; the test fails if it failed."""
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.splitlines()


def natively(script: str, directory: Path) -> list[str]:
    """What the kernel says to a script."""
    return native_run([sys.executable, "-c", PRELUDE + script], directory)


def native_run(argv: list[str], directory: Path) -> list[str]:
    """What the kernel says to a command, in namespaces of its own."""
    ways = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    if subprocess.run([*ways, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces (user namespaces are restricted here)")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    lay(directory)
    command = [*ways, *argv]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=50, check=False)
    return outcome(done)


def in_view(script: str, directory: Path, engine: str, *before: str) -> list[str]:
    """What a script is told in a view that grows."""
    return view_run([*before, sys.executable, "-c", PRELUDE + script], directory, engine)


def view_run(argv: list[str], directory: Path, engine: str) -> list[str]:
    """What a command is told in a view that grows."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    lay(directory)
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        done = view.run(argv, cwd=directory, capture_output=True, text=True, timeout=40)
        assert not view.failures
    return outcome(done)


WALK = r"""
TOP = os.getcwd()
NAMES = ("a", "a/sub", "a/sub/deep", "b", "c", "mnt", "mnt2", "mnt/sub", "mnt2/sub")
DIRECTORIES = [TOP + "/" + name for name in NAMES]
FILES = [TOP + "/" + name for name in ("a/file", "a/sub/file", "plain", "b/only")]

def place(chance):
    path = chance.choice(DIRECTORIES)
    kind = chance.randrange(8)
    if kind == 0:
        return chance.choice(FILES)
    if kind == 1:
        return path + "/.."
    if kind == 2:
        return chance.choice([".", "sub", "../sub"])
    return path

def tried(function, *args):
    try:
        return function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]

def shown(path):
    return tried(lambda: sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read())

def here():
    buffer = ctypes.create_string_buffer(4096)
    libc.syscall(79 if os.uname().machine == "x86_64" else 17, buffer, 4096)
    return buffer.value.decode()

def made(path):
    with open(path, "x"):
        return "made"

def look_at(number, one, other):
    pairs = [(one, other), (".", one)]
    same = [tried(lambda: os.path.samestat(os.stat(one), os.stat(other))) for one, other in pairs]
    print(number, here(), same, shown("."), shown(other), shown(DIRECTORIES[number % len(NAMES)]))

def step(chance, number):
    kind = chance.randrange(12)
    one, other, name = place(chance), place(chance), f"n{number % 5}"
    if kind < 3:
        bind(one, other, chance.choice([0, 0, MS_REC]))
    elif kind == 3:
        mount(one, other, None, MS_MOVE)
    elif kind < 6:
        umount(one, chance.choice([0, 0, 0, MNT_DETACH, UMOUNT_NOFOLLOW]))
    elif kind == 6:
        mount("none", one, "tmpfs")
    elif kind == 7:
        mount(None, one, None, MS_REMOUNT | MS_BIND | chance.choice([0, MS_RDONLY]))
    elif kind < 10:
        print("go", one, tried(os.chdir, one))
    elif kind == 10:
        print("new", one, tried(made, f"{one}/{name}"), "removed", tried(os.unlink, f"{other}/{name}"))
    else:
        print("renamed", one, other, tried(os.rename, f"{one}/{name}", f"{other}/{name}"))
    look_at(number, one, other)

def walk(seed, steps):
    import random
    chance = random.Random(seed)
    for number in range(steps):
        step(chance, number)
"""
"""A walk by chance: mounts, and looks at what is to be seen of them."""
