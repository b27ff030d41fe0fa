"""Pjdfstest: POSIX as pjd/pjdfstest asserts it, natively and in views, compared.

    python -m tools.conformance.pjdfstest --suite DIR [--kinds bind,memory] [--engines notify] [PATTERN ...]
    python -m tools.conformance.pjdfstest --suite DIR --against kernel-bindfs --kinds bindfs
    python -m tools.conformance.pjdfstest --suite DIR --against kernel-fuse2fs --kinds fuse2fs --apart

DIR is a built copy of https://github.com/pjd/pjdfstest (autoreconf -ifs && ./configure && make pjdfstest).
Most of the suite wants root.  What fails natively is left out of the comparison; what passes natively and not
in a view is listed, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tools.conformance.kinds import ENGINES, KINDS, VIEWS, Kind

_RUN = 'for t; do echo "== $t"; timeout -k 5 "$LIMIT" sh "$t" 2>&1; echo "== status $?"; done'
_LINE = re.compile(r"(ok|not ok) (\d+)(?: - (.*)| # TODO.*)?")
_PLAN = re.compile(r"1\.\.(\d+)")
_LIMIT = "300"


@dataclass(slots=True)
class Result:
    """What one test file said: its plan, and of each assertion whether it held, or why not."""

    planned: int = 0
    status: int = 0
    said: dict[int, str] = field(default_factory=dict)

    def failures(self, natively: Result) -> list[str]:
        """The assertions that hold natively and not here."""
        passed = [number for number, said in sorted(natively.said.items()) if not said]
        found = [f"{number}: {self.said[number]}" for number in passed if self.said.get(number)]
        missing = [number for number in passed if number not in self.said]
        if missing:
            found.append(f"{len(missing)} not reached, from {missing[0]} on; status {self.status}")
        if self.planned != natively.planned:
            found.append(f"plans {self.planned} assertions, natively {natively.planned}")
        return found


def parse(text: str) -> dict[str, Result]:
    """The results by test file, of what the loop over files has printed."""
    found: dict[str, Result] = {}
    result = Result()
    for line in text.splitlines():
        if line.startswith("== status "):
            result.status = int(line.split()[2])
        elif line.startswith("== "):
            result = found[_short(line[3:])] = Result()
        elif match := _PLAN.fullmatch(line):
            result.planned = int(match[1])
        elif match := _LINE.match(line):
            holds = match[1] == "ok" or "# TODO" in line
            result.said[int(match[2])] = "" if holds else _shown(match[3] or "failed")
    return found


def _shown(message: str) -> str:
    """A message, with the long names that some tests make shortened."""
    return re.sub(r"[\w/]{60,}", lambda name: f"{name[0][:16]}...({len(name[0])})", message)


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])


def run(
    files: list[Path], kind: Kind, engine: str, jobs: int, parent: str | None, *, apart: bool = False
) -> dict[str, Result]:
    """Run the test files in `jobs` views at once, or each in one of its own, `jobs` at once."""
    division = [[file] for file in files] if apart else [files[n::jobs] for n in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda part: _run_part(part, kind, engine, parent), division)
        return {name: result for part in parts for name, result in part.items()}


def _run_part(files: list[Path], kind: Kind, engine: str, parent: str | None) -> dict[str, Result]:
    with kind.site(engine, parent) as site, tempfile.TemporaryFile() as output:
        setting = ("env", f"LIMIT={_LIMIT}", f"PATH={_beside_path(site.directory)}")
        subprocess.run(
            [*site.words, *setting, "sh", "-c", f'cd "$0" && {_RUN}', site.directory, *files],
            stdin=subprocess.DEVNULL,
            stdout=output,
            check=False,
        )
        output.seek(0)
        return parse(output.read().decode(errors="replace"))


def _beside_path(directory: Path) -> str:
    """The suite asks df(1) for the type, and asserts less where it does not know it: let it be ext4."""
    programs = directory.parent / "programs"
    programs.mkdir()
    (programs / "df").write_text("#!/bin/sh\necho type; echo / ext4\n")
    (programs / "df").chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def compare(natively: dict[str, Result], found: dict[str, Result], title: str) -> int:
    """Print what differs, and return how many assertions do."""
    passed = sum(not said for result in found.values() for said in result.said.values())
    native = sum(not said for result in natively.values() for said in result.said.values())
    differing = 0
    for name, result in sorted(natively.items()):
        failures = found.get(name, Result()).failures(result)
        differing += len(failures)
        for failure in failures:
            print(f"{title}: {name} {failure}")
    print(f"{title}: {passed} passed, natively {native}; {differing} differ", flush=True)
    return differing


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", type=Path, required=True, help="a built copy of pjdfstest")
    parser.add_argument("--kinds", default=",".join(VIEWS))
    parser.add_argument("--against", default="native", help="the kind that the others are compared with")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--apart", action="store_true", help="each test file in a place of its own")
    parser.add_argument("--jobs", type=int, default=2, help="how many test files to run at once")
    parser.add_argument("--directory", help="where to work on the host; the temporary directory by default")
    parser.add_argument("pattern", nargs="*", default=["*"], help="test files, as in 'rename/*'")
    options = parser.parse_args()
    everything = sorted(options.suite.resolve().glob("tests/*/*.t"))
    files = [
        file for file in everything if any(fnmatch.fnmatch(_short(str(file)), p) for p in options.pattern)
    ]
    if not files:
        parser.error(f"no test files in {options.suite}")
    how = partial(run, files, jobs=options.jobs, parent=options.directory, apart=options.apart)
    natively = how(KINDS[options.against], "")
    failing = sum(bool(said) for result in natively.values() for said in result.said.values())
    print(f"{options.against}: {len(files)} files, {failing} assertions fail", flush=True)
    differing = 0
    for name in options.kinds.split(","):
        for engine in options.engines.split(","):
            found = how(KINDS[name], engine)
            differing += compare(natively, found, f"{name} {engine}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
