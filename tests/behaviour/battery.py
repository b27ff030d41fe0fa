"""Battery: the programs `tests/programs/battery_*.c`, run on a directory of the kernel and on one of a view.

They make every call that takes a path or a descriptor, and print what comes of it; the two outputs must be
the same.  A `Kind` is a kind of mount: how it is made in the view, and how the kernel makes the same in a
mount namespace of its own.  What may differ stands in its `differences`, each with the reason.

    work/       the mount point `top`, the directory `other`, the file `beside`
    source/     the source of a bind: `top`, and another `beside`, which nobody may ever reach through it
    more/       the same once more
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, finish

__all__ = ["PROGRAMS", "WAYS", "Kind", "check", "run_by_kernel", "run_in_view"]

PROGRAMS = ("content", "dirs", "names", "refused", "sockets", "status")
WAYS = ("absolute", "relative", "inside", "descriptor", "link", "up")
_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of mount.

    `mounts` are `--mount` options and `native` shell lines (run as root of a mount namespace), both with
    `{source}` and `{top}` for the two directories and each once for every `{way}` if they have that.
    `prepared` tells where the files are to be made natively beforehand.  `differences` maps
    regular expressions of lines to the reason why they are another in the view.
    """

    name: str
    mounts: tuple[str, ...]
    native: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()
    differences: Mapping[str, str] = field(default_factory=dict[str, str])

    def words(self, ground: Path) -> list[str]:
        """The options of `diorama run`."""
        return [word for mount in _filled(self.mounts, ground) for word in ("--mount", mount)]

    def script(self, ground: Path) -> str:
        """What the kernel is asked to mount."""
        return " && ".join(("mount --make-rprivate /", *_filled(self.native, ground)))


def _filled(forms: tuple[str, ...], ground: Path) -> Iterator[str]:
    places = {"source": ground / "source/top", "more": ground / "more/top", "top": ground / "work/top"}
    for form in forms:
        ways = WAYS if "{way}" in form else ("",)
        yield from (form.format(way=way, **places) for way in ways)


@contextmanager
def _ground() -> Iterator[Path]:
    """The directories, always at the same short path length: an address has room for 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as name:
        place = Path(name)
        yield place


def _lay(ground: Path, kind: Kind, program: Path) -> None:
    for folder in ("work", "source", "more"):
        shutil.rmtree(ground / folder, ignore_errors=True)
    for folder in ("work/top", "work/other/directory", "source/top", "more/top"):
        (ground / folder).mkdir(parents=True)
    (ground / "work/other/file").write_text("other")
    (ground / "work/beside").write_text("the one beside the mount point")
    for folder in ("source", "more"):
        (ground / folder / "beside").write_text("not in the view")
    for where in kind.prepared:
        _native([program, ground / where / "top", ground / "work/other", "prepare"])


def _native(argv: list[str | Path]) -> None:
    done = subprocess.run(argv, capture_output=True, check=False, timeout=_LIMIT)
    assert done.returncode == 0, done.stdout[-500:]


def _run(argv: list[str], ground: Path) -> list[str]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(argv, cwd=ground / "work", start_new_session=True, **pipes)  # type: ignore[call-overload]
    found = finish(process, limit=_LIMIT)
    assert found.status == 0, (found.stdout[-1000:], found.stderr[-3000:])
    return found.lines


@functools.cache
def _namespace() -> tuple[str, ...] | None:
    """How to be allowed to mount in a namespace of one's own, with one's own ids; None if we may not."""
    if os.geteuid() == 0:
        ways = ["unshare", "--mount", "sh", "-c"]
    else:
        ways = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c"]
    done = subprocess.run([*ways, "mount --make-rprivate /"], capture_output=True, check=False)
    return tuple(ways) if done.returncode == 0 else None


def run_by_kernel(kind: Kind, ground: Path, argv: list[str]) -> list[str]:
    """The output of a command on the mounts of the kernel; skips the test where they cannot be made."""
    if not kind.native:
        return _run(argv, ground)
    namespace = _namespace()
    if namespace is None:
        pytest.skip("needs a mount namespace, or a user namespace to make one in")
    drop = "" if os.geteuid() == 0 else "setpriv --ambient-caps=-all --inh-caps=-all "
    script = f'{kind.script(ground)} && cd . && exec {drop}"$@"'
    return _run([*namespace, script, "sh", *argv], ground)


def run_in_view(kind: Kind, ground: Path, argv: list[str], engine: str) -> list[str]:
    """The output of a command in a view."""
    return _run([*DIORAMA, "run", "--strict", "--engine", engine, *kind.words(ground), "--", *argv], ground)


def check(kind: Kind, program: Path, engine: str) -> None:
    """Run a program both ways and demand the same of both."""
    with _ground() as ground:
        argv = [str(program), str(ground / "work/top"), str(ground / "work/other")]
        _lay(ground, kind, program)
        expected = run_by_kernel(kind, ground, argv)
        _lay(ground, kind, program)
        found = run_in_view(kind, ground, argv, engine)
        different = _difference(expected, found, kind)
        assert not different, "\n".join(different)


def _difference(expected: list[str], found: list[str], kind: Kind) -> list[str]:
    allowed = [re.compile(one) for one in kind.differences]
    left, right = ([one for one in lines if not _matches(allowed, one)] for lines in (expected, found))
    return list(difflib.unified_diff(left, right, "kernel", "view", lineterm="", n=0))


def _matches(allowed: list[re.Pattern[str]], line: str) -> bool:
    return any(one.search(line) for one in allowed)
