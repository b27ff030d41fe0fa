"""Libfuse: its own test suite, by the kernel's FUSE and in views, compared test by test.

    python -m tools.conformance.libfuse --build DIR [--engines notify] [--jobs 2] [TEST ...]

DIR is where libfuse (newer than 3.18, with test/run-tests.py) was built: `meson setup DIR && ninja -C DIR`.
Its example servers, its fusermount3 and its tests run unmodified, in views that grow.  An ordinary user needs
DIR/util/fusermount3 to be set-user-ID, for the kernel and since the tests look.  By the kernel root has
fusectl mounted where it is not, since a test writes to it.  TEST is a name or a pattern: `examples/*`.  What
ends otherwise than by the kernel is listed, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tools.conformance.kinds import ENGINES

_LIMIT = 3600
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_WITH_CONNECTIONS = [
    *("unshare", "--mount", "sh", "-c"),
    f'mount -t fusectl fusectl {_CONNECTIONS} && exec "$@"',
    "sh",
]
_NO_SCOPE = "FUSE_TESTS_UNDER_SCOPE"
"""Says that the tests need not ask systemd for a place of their own among control groups."""
_LINE = re.compile(r"^\+\s*[\d.]+s (PASS|FAIL|SKIP)\s+(\S+)", re.MULTILINE)

Result = dict[str, str]
"""How each test ended, by its name: PASS, FAIL or SKIP."""


def run(build: Path, words: list[str], jobs: int, tests: list[str]) -> Result:
    """Run the suite by a command that runs others."""
    source = json.loads((build / "meson-info/meson-info.json").read_text())["directories"]["source"]
    with tempfile.TemporaryDirectory(prefix="libfuse-", dir="/var/tmp") as place:
        command = [sys.executable, f"{source}/test/run-tests.py", "--build-dir", str(build), "-j", str(jobs)]
        chosen = [word for test in tests for word in ("-t", test)]
        done = subprocess.run(
            [*words, *command, "--run-dir", place, *chosen],
            env={**os.environ, _NO_SCOPE: "1", "PATH": _path(Path(place))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT,
            check=False,
        )
    said = done.stdout.decode(errors="replace")
    found = {name: result for result, name in _LINE.findall(said)}
    if not found:
        sys.exit(f"nothing was run: {said[-2000:]}")
    return found


def _path(place: Path) -> str:
    """Where programs are found: sudo too, which the suite needs to look at a test that hangs, or ends."""
    path = os.environ["PATH"]
    if shutil.which("sudo") is not None:
        return path
    sudo = place / "bin/sudo"
    sudo.parent.mkdir()
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    sudo.chmod(0o755)
    return f"{sudo.parent}:{path}"


def of_kernel() -> list[str]:
    """The command that runs others by the kernel's FUSE."""
    mounted = os.path.ismount(_CONNECTIONS)
    return [] if mounted or os.geteuid() or not _CONNECTIONS.is_dir() else _WITH_CONNECTIONS


def compare(natively: Result | None, found: Result, title: str) -> int:
    """Print what differs, or fails, and return how many tests do; those count too that one has not run."""
    differing = 0
    for name in sorted({*found, *(natively or ())}):
        result = found.get(name, "absent")
        expected = "PASS" if natively is None else natively.get(name, "absent")
        if result != expected:
            differing += 1
            print(f"{title}: {name}: {result}; {'expected' if natively is None else 'natively'} {expected}")
    print(f"{title}: {_counts(found)}; {differing} differ", flush=True)
    return differing


def _counts(found: Result) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(found.values()).most_common())


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, required=True, help="where libfuse was built")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--jobs", type=int, default=2, help="how many tests to run at once")
    parser.add_argument("--write-through", action="store_true", help="in views that write through")
    parser.add_argument("--alone", action="store_true", help="do not run it by the kernel")
    parser.add_argument("tests", nargs="*", help="all by default")
    options = parser.parse_args()
    build = options.build.absolute()
    natively = None if options.alone else run(build, of_kernel(), options.jobs, options.tests)
    if natively is not None:
        print(f"kernel: {_counts(natively)}", flush=True)
    differing = 0
    for engine in options.engines.split(","):
        words = [sys.executable, "-P", "-m", "diorama", "run", "--grow", "--engine", engine]
        words += ["--write-through", "--"] if options.write_through else ["--"]
        found = run(build, words, options.jobs, options.tests)
        differing += compare(natively, found, engine)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
