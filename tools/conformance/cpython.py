"""Cpython: the test suite of the system's Python, natively and in views, compared case by case.

    python -m tools.conformance.cpython [--kinds bind,memory] [--engines notify] [TEST ...]

Wants the package libpython3.11-testsuite, or what else makes `python3 -m test` run. The directory for
temporary files, which is the current one too, is in the mount. What ends otherwise than natively is listed,
and makes the exit status 1; run as an ordinary user, since much is skipped for root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tools.conformance.kinds import ENGINES, KINDS, VIEWS, Kind

TESTS = (
    "test_os", "test_posix", "test_posixpath", "test_shutil", "test_pathlib", "test_tempfile", "test_mmap",
    "test_zipfile", "test_tarfile", "test_glob", "test_fileio", "test_io", "test_largefile",
    "test_subprocess",
)  # fmt: skip
_LIMIT = 1800

Result = dict[str, str]
"""How each case ended, by its name: passed, skipped, failure or error."""


def run(test: str, kind: Kind, engine: str, python: str, parent: str | None) -> Result:
    """Run one test file at a new site."""
    with (
        kind.site(engine, parent) as site,
        tempfile.TemporaryFile() as report,
        tempfile.TemporaryFile() as said,
    ):
        place = str(site.directory)
        written = f"/proc/self/fd/{report.fileno()}"
        command = (python, "-m", "test", "-v", "--junit-xml", written, "--tempdir", place, test)
        surroundings = ("env", "-u", "PYTHONPATH", f"TMPDIR={place}")
        shell = ("sh", "-c", 'cd "$0" && exec "$@"', place, *surroundings, *command)
        try:
            status = subprocess.run(
                [*site.words, *shell],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[report.fileno()],
                timeout=_LIMIT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return {f"{test}: the whole": f"not done after {_LIMIT} s"}
        report.seek(0)
        try:
            return _cases(ET.parse(report))
        except ET.ParseError:
            said.seek(0)
            return {f"{test}: the whole": f"status {status}: {said.read()[-500:].decode(errors='replace')}"}


def _cases(report: ET.ElementTree[ET.Element]) -> Result:
    found: Result = {}
    for case in report.iter("testcase"):
        name = case.get("name", "?")
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        status = "/".join(sorted(kinds)) or "passed"
        text = next((child.text or "" for child in case if child.tag in ("failure", "error")), "")
        last = text.strip().rpartition("\n")[2]
        # Subtests are cases of the same name.
        found[name] = (
            "; ".join(filter(None, (found.get(name), f"{status} {last}".strip())))
            if last
            else (found.get(name) or status)
        )
    return found


def _kind_of(result: str) -> str:
    return result.split(maxsplit=1)[0]


def compare(natively: Result, found: Result, title: str) -> int:
    """Print what differs, and return how many cases do."""
    differing = 0
    for name in sorted(natively.keys() | found.keys()):
        native, ours = natively.get(name, "absent"), found.get(name, "absent")
        if _kind_of(native) != _kind_of(ours):
            differing += 1
            print(f"{title}: {name}: {ours}; natively {native}")
    counts = Counter(map(_kind_of, found.values()))
    shown = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    print(f"{title}: {shown}; {differing} differ", flush=True)
    return differing


def run_all(tests: list[str], name: str, engine: str, options: argparse.Namespace) -> Result:
    """Run test files at sites of one kind, some at once."""
    one = partial(run, kind=KINDS[name], engine=engine, python=options.python, parent=options.directory)
    found: Result = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(one, tests):
            found |= result
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", default=",".join(VIEWS))
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--jobs", type=int, default=2, help="how many test files to run at once")
    parser.add_argument("--directory", help="where to work on the host; the temporary directory by default")
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python that is tested")
    parser.add_argument("tests", nargs="*", default=TESTS)
    options = parser.parse_args()
    natively = run_all(options.tests, "native", "", options)
    counts = Counter(map(_kind_of, natively.values()))
    print(f"native: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}", flush=True)
    differing = 0
    for name in options.kinds.split(","):
        for engine in options.engines.split(","):
            found = run_all(options.tests, name, engine, options)
            differing += compare(natively, found, f"{name} {engine}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
