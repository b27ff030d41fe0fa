"""Kinds: a directory to work in, natively or in each kind of mount, and the view in which it is that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENGINES", "KINDS", "VIEWS", "Kind", "Site"]

ENGINES = ("guardians", "notify")
DIORAMA = (sys.executable, "-P", "-m", "diorama", "run")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a program works, and the words that must stand before it for that to be so.

    `start` is a command that makes the place and runs what follows, in the view if there is one.  What lies
    in `below` on the host before that is found in the directory; None if nothing is.
    """

    directory: Path
    words: tuple[str, ...] = ()
    below: Path | None = None
    start: tuple[str, ...] = ()


Builder = Callable[[Path], Site]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of mount: what it is, and how a site of it is built in an empty directory of the host."""

    name: str
    meaning: str
    build: Builder

    @contextmanager
    def site(self, engine: str, parent: str | None = None) -> Iterator[Site]:
        """A new site, removed in the end; `engine` counts for all but `native`."""
        base = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=parent))
        base.chmod(0o755)
        try:
            found = self.build(base)
            words = (*DIORAMA, "--engine", engine, *found.words, "--") if found.words else ()
            yield Site(found.directory, (*words, *found.start), found.below)
        finally:
            _remove(base)


def _remove(base: Path) -> None:
    def retry(function: Callable[[str], object], path: str, _why: object) -> None:
        for place in (os.path.dirname(path), path):
            if os.path.isdir(place) and not os.path.islink(place):
                os.chmod(place, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            function(path)

    shutil.rmtree(base, onerror=retry)


def _made(base: Path, *names: str) -> list[Path]:
    found = [base / name for name in names]
    for directory in found:
        directory.mkdir()
    return found


def _native(base: Path) -> Site:
    (work,) = _made(base, "work")
    return Site(work, below=work)


def _beside(base: Path) -> Site:
    work, elsewhere = _made(base, "work", "elsewhere")
    return Site(work, ("--mount", f"/usr/share={elsewhere}"), work)


def _bind(base: Path) -> Site:
    source, target = _made(base, "source", "target")
    return Site(target, ("--mount", f"{source}={target}"), source)


def _overlay(base: Path) -> Site:
    lower, upper, target = _made(base, "lower", "upper", "target")
    return Site(target, ("--mount", f"overlay:{lower}={target}:upper={upper}"), lower)


def _cow(base: Path) -> Site:
    (work,) = _made(base, "work")
    return Site(work, ("--cow", str(base / "layer")), work)


def _scheme(scheme: str) -> Builder:
    def build(base: Path) -> Site:
        (target,) = _made(base, "target")
        return Site(target, ("--mount", f"{scheme}:={target}"))

    return build


_SERVED = """\
$1 || exit
for i in $(seq 600); do grep -q " $2 fuse" /proc/self/mounts && break; sleep 0.1; done
target=$2; shift 2
"$@"; status=$?
fusermount3 -u "$target" || fusermount -u "$target" || fusermount3 -uz "$target"
exit $status
"""


def _served(server: str, *, in_view: bool, image: bool = False) -> Builder:
    """A FUSE server that is started in the view, or natively, and ended after the program."""

    def build(base: Path) -> Site:
        source, target = _made(base, "source", "target")
        if image:
            _make_image(base / "image")
        command = server.format(source=source, image=base / "image", target=target)
        start = ("sh", "-c", _SERVED, "sh", command, str(target))
        return Site(target, ("--grow",) if in_view else (), None if image else source, start)

    return build


def _make_image(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "20000", file], check=True)


def _bindfs(*, in_view: bool) -> Builder:
    return _served("bindfs -o dev,suid {source} {target}", in_view=in_view)


def _fuse2fs(*, in_view: bool) -> Builder:
    options = "rw,fakeroot,allow_other,default_permissions,dev,suid"
    return _served(f"fuse2fs -o {options} {{image}} {{target}}", in_view=in_view, image=True)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("native", "a directory of the host, without a view", _native),
        Kind("beside", "a directory of the host, in a view that has a mount elsewhere", _beside),
        Kind("bind", "a bind mount of a directory of the host", _bind),
        Kind("tmp", "a private directory of the host", _scheme("tmp")),
        Kind("memory", "a memory file system", _scheme("memory")),
        Kind("overlay", "an overlay, with what is made in its upper directory", _overlay),
        Kind("cow", "a directory of the host, in a view with copy-on-write on its root", _cow),
        Kind("kernel-bindfs", "bindfs, by the kernel's FUSE", _bindfs(in_view=False)),
        Kind("kernel-fuse2fs", "ext4 by fuse2fs, by the kernel's FUSE", _fuse2fs(in_view=False)),
        Kind("bindfs", "bindfs, started in the view", _bindfs(in_view=True)),
        Kind("fuse2fs", "ext4 by fuse2fs, started in the view", _fuse2fs(in_view=True)),
    )
}

VIEWS = ("beside", "bind", "tmp", "memory", "overlay", "cow")
"""Those that need no server."""
