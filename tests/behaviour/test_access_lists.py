"""Access control lists, acl(5), where the view sees to permissions: trees that remember, and memory."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, run_with

pytestmark = pytest.mark.timeout(120)

BASE = """
import os, stat, struct, sys
os.umask(0o022)
os.chdir(sys.argv[1])
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
TAGS = {"u": 1, "U": 2, "g": 4, "G": 8, "m": 16, "o": 32}
def pack(text):
    value = struct.pack("<I", 2)
    for word in text.split():
        tag, id, bits = word[0], word[1:-1], int(word[-1])
        value += struct.pack("<HHi", TAGS[tag], bits, int(id or -1))
    return value
def unpack(value):
    words = []
    for tag, bits, id in struct.iter_unpack("<HHi", value[4:]):
        name = {number: name for name, number in TAGS.items()}[tag]
        words.append(f"{name}{id if id >= 0 else ''}{bits}")
    return " ".join(words)
def show(name):
    found = [f"{stat.S_IMODE(os.lstat(name).st_mode):o}"]
    for attribute in ACCESS, DEFAULT:
        try:
            found.append(unpack(os.getxattr(name, attribute)))
        except OSError as error:
            found.append(os.strerror(error.errno).split()[-1])
    names = [one[17:] for one in sorted(os.listxattr(name)) if "acl" in one]
    print(name, *found, *names, sep=", ", flush=True)
def as_user(uid, groups, *calls):
    sys.stdout.flush()
    if not os.fork():
        os.setgroups(groups), os.setgid(uid + 100), os.setuid(uid)
        attempt(uid, *calls)
        os._exit(0)
    os.wait()
def attempt(what, *calls):
    told = []
    for call in calls:
        try:
            call()
            told.append("done")
        except OSError as error:
            told.append(os.strerror(error.errno).split()[-1])
    print(what, *told, flush=True)
def opening(name, flags):
    return lambda: os.close(os.open(name, flags))
"""

LISTS = (
    BASE
    + """
for name in "file", "plain":
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o640))
os.mkdir("above", 0o755)
os.setxattr("file", ACCESS, pack("u6 U7016 U7020 g4 G8017 m6 o0"))
show("file")
reads, writes = opening("file", os.O_RDONLY), opening("file", os.O_WRONLY)
def executes():
    if not os.access("file", os.X_OK):
        raise PermissionError(13, "")
as_user(701, [], reads, writes, executes)
as_user(702, [801], reads, writes)
as_user(703, [801], reads, writes, executes)
as_user(704, [0], reads, writes)
as_user(705, [], reads, writes)
os.chmod("file", 0o644)
show("file")
as_user(701, [], reads, writes)
as_user(705, [], reads, writes)
def wrong(text, attribute=ACCESS, name="plain"):
    return lambda: os.setxattr(name, attribute, text if isinstance(text, bytes) else pack(text))
removes = lambda: os.removexattr("file", ACCESS)
as_user(701, [], wrong("u7 g7 o7", name="file"), removes, wrong("u7 g7 o7", DEFAULT, "above"))
os.setxattr("above", DEFAULT, pack("u7 U7017 g5 m7 o0"))
show("above")
os.mkdir("above/below")
os.close(os.open("above/made", os.O_CREAT | os.O_WRONLY, 0o666))
os.mknod("above/pipe", stat.S_IFIFO | 0o777)
os.symlink("made", "above/link")
for name in "above/below", "above/made", "above/pipe":
    show(name)
makes = lambda: os.mkdir("above/below/mine"), lambda: os.mkdir("above/mine")
as_user(701, [], opening("above/made", os.O_RDWR), *makes)
os.setxattr("file", ACCESS, pack("u6 g4 o4"))
show("file")
os.setxattr("file", ACCESS, pack("u6 U7016 g4 m6 o0"))
os.removexattr("file", ACCESS), os.removexattr("file", ACCESS)
os.removexattr("above", DEFAULT), os.setxattr("above/below", DEFAULT, pack(""))
for name in "file", "above", "above/below":
    show(name)
attempt("wrong", *map(wrong, ("u6 g4", "u6 U7016 g4 o0", "u6 g4 U7016 m7 o0", b"abc", pack("u6")[:-1])))
attempt("wrong", wrong(struct.pack("<I", 3)), wrong(b""), wrong("u8 g4 o4"), wrong("u7 g7 o7", DEFAULT),
        lambda: os.removexattr("plain", DEFAULT))
show("plain")
"""
)

SHOWN = """\
file, 660, u6 U7016 U7020 g4 G8017 m6 o0, available, access
701 done done denied
702 denied denied
703 done done denied
704 done denied
705 denied denied
file, 644, u6 U7016 U7020 g4 G8017 m4 o4, available, access
701 done denied
705 done denied
701 permitted permitted permitted
above, 755, available, u7 U7017 g5 m7 o0, default
above/below, 770, u7 U7017 g5 m7 o0, u7 U7017 g5 m7 o0, access, default
above/made, 660, u6 U7017 g5 m6 o0, available, access
above/pipe, 770, u7 U7017 g5 m7 o0, available, access
701 done done denied
file, 644, available, available
file, 660, available, available
above, 755, available, available
above/below, 770, u7 U7017 g5 m7 o0, available, access
wrong argument argument argument argument argument
wrong supported done argument denied done
plain, 640, available, available
"""


def lay(work: Path) -> None:
    (work / "mnt").mkdir()


def way(bench: Bench, engine: str, kind: str) -> Way:
    """With a place that keeps lists mounted at `mnt`."""
    bench.prepare = lay
    (bench.directory / "kept").mkdir(exist_ok=True)
    source, option = ("memory:", "") if kind == "memory" else (str(bench.directory / "kept"), ":remember")
    return run_with("--engine", engine, "--user", "root", "--mount", f"{source}={bench.work / 'mnt'}{option}")


@pytest.mark.parametrize("kind", ["memory", "tree"])
def test_lists_say_who_may_do_what(bench: Bench, engine: str, kind: str) -> None:
    script = [sys.executable, "-c", LISTS, "mnt"]
    assert bench.inside(way(bench, engine, kind), script).stdout == SHOWN


@pytest.mark.root
def test_they_do_so_for_the_kernel_too(bench: Bench) -> None:
    with tempfile.TemporaryDirectory(prefix="diorama-lists-") as place:
        os.chmod(place, 0o755)
        out = bench.native([sys.executable, "-c", LISTS, place])
    if "not supported" in out.stderr:
        pytest.skip("no access control lists here")
    assert out.stdout == SHOWN


KEEPING = (
    BASE
    + """
os.mkdir("d")
os.setxattr("d", DEFAULT, pack("u7 U7017 g5 m7 o0"))
os.close(os.open("d/f", os.O_CREAT | os.O_WRONLY, 0o640))
os.chown("d/f", 33, 44)
os.rename("d/f", "d/g"), os.link("d/g", "d/h")
"""
)

COPIED = (
    BASE
    + """
for name in "d", "d/g", "d/h", "e", "e/g":
    show(name)
"""
)


def test_lists_are_remembered_and_copied(bench: Bench, engine: str) -> None:
    inside = way(bench, engine, "tree")
    assert not bench.inside(inside, [sys.executable, "-c", KEEPING, "mnt"]).stderr
    assert not bench.inside(inside, ["cp", "-a", "mnt/d", "mnt/e"]).stderr
    file = "640, u6 U7017 g5 m4 o0, available, access"
    assert bench.inside(inside, [sys.executable, "-c", COPIED, "mnt"]).lines == [
        "d, 755, available, u7 U7017 g5 m7 o0, default",
        f"d/g, {file}",
        f"d/h, {file}",
        "e, 755, available, u7 U7017 g5 m7 o0, default",
        f"e/g, {file}",
    ]
