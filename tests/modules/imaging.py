"""Imaging: how disk images are made for tests, read and damaged."""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.filesystem import FileSystem
from diorama.modules.sources import make_mount

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")


def run(*command: str | Path, stdin: str = "") -> str:
    environment = os.environ | {"MTOOLSRC": "/dev/null", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": PATH}
    return subprocess.run(
        command, input=stdin, text=True, check=True, timeout=50, capture_output=True, env=environment
    ).stdout


def tree_of(filesystem: FileSystem) -> dict[str, tuple[int, bytes]]:
    """All names, with modes and content or targets."""
    found: dict[str, tuple[int, bytes]] = {}

    def walk(directory: int, path: str) -> None:
        for entry in filesystem.entries(directory):
            inode = filesystem.lookup(directory, entry.name)
            attributes = filesystem.attributes(inode)
            name = f"{path}{os.fsdecode(entry.name)}"
            content = b""
            if stat.S_ISDIR(attributes.mode):
                walk(inode, f"{name}/")
            elif stat.S_ISLNK(attributes.mode):
                content = filesystem.readlink(inode)
            else:
                fd = os.memfd_create("content")
                filesystem.copy_content(inode, fd)
                content = os.pread(fd, attributes.size + 1, 0)
                os.close(fd)
            found[name] = attributes.mode, content

    walk(filesystem.root, "")
    return found


def iso_image(path: Path, **how: object) -> None:
    pycdlib = pytest.importorskip("pycdlib")
    iso = pycdlib.PyCdlib()
    iso.new(**how)
    rock, joliet = "rock_ridge" in how, "joliet" in how

    def named(name: str) -> dict[str, str]:
        last = name.rpartition("/")[2]
        return ({"rr_name": last} if rock else {}) | ({"joliet_path": name} if joliet else {})

    iso.add_directory("/SUB", **named("/sub"))
    data = bytes(range(256)) * 100
    iso.add_fp(io.BytesIO(b"hello\n"), 6, "/SUB/FILE.TXT;1", **named("/sub/A long name.txt"))
    iso.add_fp(io.BytesIO(data), len(data), "/LARGE.;1", **named("/large"))
    iso.add_fp(io.BytesIO(b""), 0, "/EMPTY.;1", **named("/empty"))
    if rock:
        iso.add_symlink("/LINK.;1", "link", "sub/A long name.txt")
    iso.write(str(path))
    iso.close()


def damaged(data: bytes, seed: int) -> bytes:
    """Some bytes are changed, where there are any."""
    luck = random.Random(seed)
    in_use = (place for place in range(0, len(data), 512) if any(data[place : place + 512]))
    used = list(islice(in_use, 40))
    changed = bytearray(data)
    for _ in range(luck.choice((1, 3, 10, 40))):
        changed[luck.choice(used) + luck.randrange(512)] = luck.choice((0, 255, luck.randrange(256)))
    return bytes(changed[: luck.randrange(len(changed))] if luck.random() < 0.1 else changed)


def try_damaged(image: Path) -> None:
    whole = image.read_bytes()
    for seed in range(60):
        image.write_bytes(damaged(whole, seed))
        try:
            mount = make_mount(f"image:{image}", "ro")
        except UsageError as error:
            lines = str(error).splitlines()
            if len(lines) == 1:
                continue
            raise
        assert mount.filesystem is not None
        try:
            tree_of(mount.filesystem)
        except OSError:
            continue
        finally:
            mount.filesystem.close()
