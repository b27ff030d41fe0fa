"""Demonstration: unmodified programs read an archive that is mounted for them alone.

Makes a zip archive of real data (two packages of Python's library, this project's documents, a tar archive, a
database), unpacks it beside, and runs the same commands on the unpacked files and, in a view, on the mounted
archive.  Then one program has a user, a clock, a host name and a device of its view.  Ends with a status
other than 0 if any output differs.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".demo"
ARCHIVE, UNPACKED, VIEW = PLACE / "archive.zip", PLACE / "unpacked", PLACE / "view"
PACKAGES = ("json", "email")
FIRST_TIME = 1_577_836_800  # 2020-01-01, so that the archive is the same each time
EXCERPT = 5

# What the archive can't tell: how large a directory is and how many blocks a file takes on some disk.
DISK_OWN = [
    (re.compile(r"^total \d+$", re.MULTILINE), "total -"),
    (re.compile(r"^(d\S+ +\d+ \S+ \S+) +\d+", re.MULTILINE), r"\1 -"),
]


def python_sources() -> Iterator[tuple[str, bytes]]:
    library = Path(sysconfig.get_path("stdlib"))
    for package in PACKAGES:
        for file in sorted((library / package).rglob("*.py")):
            yield str(file.relative_to(library)), file.read_bytes()


def documents() -> Iterator[tuple[str, bytes]]:
    files = [ROOT / "README.md", ROOT / "LICENSE", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [(str(file.relative_to(ROOT)), file.read_bytes()) for file in files if file.is_file()]
    yield from found
    yield "documents.tar.gz", tar_of(found)


def tar_of(files: list[tuple[str, bytes]]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), FIRST_TIME
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE words (file TEXT, line INTEGER, word TEXT)")
    for name, data in python_sources():
        for number, line in enumerate(data.decode().splitlines()):
            connection.executemany(
                "INSERT INTO words VALUES (?, ?, ?)", ((name, number, word) for word in line.split())
            )
    connection.commit()
    return connection.serialize()


def make_archive() -> None:
    """Write the archive, with modes, times and an entry for each directory."""
    files = [*python_sources(), *documents(), ("words.db", database())]
    folders = {f"{parent}/" for name, _ in files for parent in Path(name).parents if str(parent) != "."}
    entries = sorted([*files, *((folder, b"") for folder in folders)])
    with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, data) in enumerate(entries):
            entry = zipfile.ZipInfo(name, time.gmtime(FIRST_TIME + 1000 * number)[:6])
            mode = 0o40755 if name.endswith("/") else 0o100755 if data.startswith(b"#!") else 0o100644
            entry.external_attr = mode << 16
            archive.writestr(entry, data)


def unpack() -> None:
    """Unpack the archive beside it; times of of directories last: writing in one changes its own."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(UNPACKED)
        for entry in sorted(archive.infolist(), key=lambda entry: -len(entry.filename)):
            path = UNPACKED / entry.filename
            path.chmod(entry.external_attr >> 16 & 0o7777)
            moment = time.mktime((*entry.date_time, 0, 0, -1))
            os.utime(path, (moment, moment))


QUERY = "SELECT word, count(*) FROM words GROUP BY word ORDER BY 2 DESC, 1 LIMIT 4"
IMPORT = (
    "import email.message, json, os;"
    "message = email.message.EmailMessage(); message['Subject'] = 'hello'; message.set_content('text');"
    "print(os.path.relpath(json.__file__), os.path.relpath(email.__file__), json.dumps(message.items()))"
)
ASK = f"import sqlite3; [print(*row, sep='|') for row in sqlite3.connect('words.db').execute('{QUERY}')]"


def commands() -> list[str]:
    """What to run in either directory; directories are in no order, hence the sorting."""
    python = shlex.quote(sys.executable)
    query = f'sqlite3 words.db "{QUERY}"' if shutil.which("sqlite3") else f'{python} -c "{ASK}"'
    return [
        "ls -lR",
        "grep -rn 'class .*Error' . | sort",
        f'PYTHONPATH=. {python} -c "{IMPORT}"',
        query,
        "tar -tvzf documents.tar.gz",
        "tar --sort=name --numeric-owner -cf - json email docs | sha256sum",
        "find . -type f -newer json/decoder.py -printf '%M %n %s %T+ %p\\n' | sort -k5",
        "cat json nowhere; ls json/nothing LICENSE/; readlink LICENSE; head -n 1 LICENSE",
    ]


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed and its status."""

    output: str
    status: int


def run(argv: list[str], directory: Path, command: str) -> Result:
    script = f"cd {shlex.quote(str(directory))} && {command}"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*argv, "sh", "-c", script],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )
    output = done.stdout.decode(errors="replace").replace(str(directory), ".")
    for pattern, replacement in DISK_OWN:
        output = pattern.sub(replacement, output)
    return Result(output, done.returncode)


OPTIONS = "--user root --clock at=2030-01-01T00:00:00Z --hostname stage --mount ramdisk:16M=/dev/disk"
LOOK = "id -un; date -u +%F; uname -n; stat -c %F /dev/disk; dd if=/dev/disk bs=1M status=none | wc -c"
TOLD = "root\n2030-01-01\nstage\nblock special file\n16777216\n"


def show_surroundings() -> bool:
    """One program in surroundings of its own: whether it is told what was asked for."""
    print(f"$ diorama run {OPTIONS} -- sh -c '{LOOK}'")
    found = run([sys.executable, "-P", "-m", "diorama", "run", *OPTIONS.split(), "--"], ROOT, LOOK)
    return show(found, Result(TOLD, 0), "as asked for")


def show(result: Result, expected: Result, good: str = "equal") -> bool:
    lines = result.output.splitlines()
    for line in lines[:EXCERPT]:
        print(f"  {line[:100]}")
    if len(lines) > EXCERPT:
        print(f"  ... {len(lines)} lines")
    equal = result == expected
    print(
        f"  {good}\n"
        if equal
        else f"  DIFFERENT: to be expected, with status {expected.status}:\n{expected.output}\n"
    )
    return equal


def main() -> int:
    """Run the demonstration; the number of commands whose output differs."""
    shutil.rmtree(PLACE, ignore_errors=True)
    for directory in (UNPACKED, VIEW):
        directory.mkdir(parents=True)
    make_archive()
    unpack()
    mount = f"zip:{ARCHIVE.relative_to(ROOT)}={VIEW.relative_to(ROOT)}"
    os.chdir(ROOT)
    print(f"{ARCHIVE.relative_to(ROOT)}: {ARCHIVE.stat().st_size} bytes, seen in the view alone\n")
    different = 0
    for command in commands():
        shown = command if len(command) < 90 else f"{command[:87]}..."
        print(f"$ diorama run --mount {mount} -- sh -c '{shown}'")
        found = run([sys.executable, "-P", "-m", "diorama", "run", "--mount", mount, "--"], VIEW, command)
        different += not show(found, run([], UNPACKED, command))
    assert not any(VIEW.iterdir())
    different += not show_surroundings()
    print("all equal" if not different else f"{different} different")
    return different


if __name__ == "__main__":
    sys.exit(main())
