"""Overlay: directories laid upon one another, as programs see them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, needs_mounting, run_with

Run = Callable[..., Outcome]


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Two directories to read, and one for changes."""
    names = {"top": ("both", "mine", "dir/mine"), "bottom": ("both", "yours", "dir/yours")}
    for name, files in names.items():
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name}\n")
    for name in ("upper", "merged"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def inside(bench: Bench, layers: Path, engine: str) -> Run:
    """Run a shell script in the merged directory."""

    def run(script: str, *, upper: bool = True) -> Outcome:
        options = f":upper={layers}/upper" if upper else ""
        mount = f"overlay:{layers}/top,{layers}/bottom={layers}/merged{options}"
        way = run_with("--engine", engine, "--mount", mount)
        return bench.inside(way, ["sh", "-c", f"cd {layers}/merged\n{script}"])

    return run


def test_the_topmost_file_is_seen_and_directories_are_merged(inside: Run) -> None:
    found = inside("cat both mine yours dir/mine dir/yours; ls; ls dir", upper=False)
    assert found == Outcome("top\ntop\nbottom\ntop\nbottom\nboth\ndir\nmine\nyours\nmine\nyours\n", "", 0)


def test_without_an_upper_directory_nothing_can_be_changed(inside: Run) -> None:
    found = inside("echo x > mine; rm yours; mkdir new; chmod 600 both; mv mine other; ls", upper=False)
    assert found.stderr.count("Read-only file system") == 5
    assert found.lines == ["both", "dir", "mine", "yours"]


def test_changes_go_to_the_upper_directory(inside: Run, layers: Path) -> None:
    changing = "echo x >> both; rm yours dir/mine; mkdir -p new/er; mv dir new"
    found = inside(f"{changing}; ls . new new/dir; cat both")
    assert found.lines == [".:", "both", "mine", "new", "", "new:", "dir", "er", "", "new/dir:", "yours",
                           "top", "x"]  # fmt: skip
    assert (layers / "top/both").read_text() == "top\n"
    assert (layers / "bottom/yours").exists()
    assert (layers / "upper/new/dir/yours").read_text() == "bottom\n"


@pytest.mark.root
def test_the_kernel_shows_the_same(inside: Run, layers: Path) -> None:
    needs_mounting()
    listing = "find . -printf '%p %y %m %s\\n' | sort"
    script = "echo x >> both; rm yours dir/mine; mkdir new; mv dir new; rm -r new; mkdir dir; ln mine dir/a"
    seen = inside(f"{script}\n{listing}").stdout
    lower = f"{layers}/upper:{layers}/top:{layers}/bottom"
    mounting = f"mount -t overlay -o userxattr,lowerdir={lower} overlay {layers}/merged"
    command = ["unshare", "-m", "sh", "-ec", f"{mounting}; cd {layers}/merged; {listing}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in shown.stderr:
        pytest.skip("the kernel's overlayfs cannot be mounted here")

    def without_sizes(text: str) -> list[str]:
        return [line for line in text.splitlines() if " d " not in line]

    assert without_sizes(shown.stdout) == without_sizes(seen)


def script_of(body: str) -> str:
    return f"python3 -c '\nimport os, stat\n{body}'"


def test_a_file_keeps_its_identity_when_it_is_copied(inside: Run) -> None:
    body = """
before = os.stat("yours"), os.stat("dir")
fd, inner = os.open("yours", os.O_RDONLY), os.open("dir", os.O_RDONLY)
os.chmod("yours", 0o600)
open("dir/new", "w").close()
after = os.stat("yours"), os.stat("dir")
print([(a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) for a, b in zip(before, after)])
print(oct(os.fstat(fd).st_mode), os.path.samestat(os.fstat(inner), after[1]))
print([e.name for e in os.scandir(".") if e.inode() != os.stat(e.path).st_ino])
"""
    found = inside(script_of(body))
    assert found.lines == ["[True, True]", "0o100600 True", "[]"]


def test_attributes_of_an_open_file_are_changed_in_its_copy(inside: Run, layers: Path) -> None:
    body = """
fd = os.open("yours", os.O_RDONLY)
os.fchmod(fd, 0o640)
os.utime(fd, (1, 2))
os.setxattr(fd, "user.note", b"x")
print(oct(os.stat("yours").st_mode), os.stat("yours").st_mtime, os.getxattr("yours", "user.note"))
"""
    assert inside(script_of(body)) == Outcome("0o100640 2.0 b'x'\n", "", 0)
    assert (layers / "bottom/yours").stat().st_mode & 0o777 == 0o644 & ~_umask()
    assert not os.listxattr(layers / "bottom/yours")
    assert (layers / "upper/yours").stat().st_mode & 0o777 == 0o640


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_listings_can_be_rewound_and_continued(inside: Run) -> None:
    body = """
import ctypes
c = ctypes.CDLL(None)
c.opendir.restype = c.readdir.restype = ctypes.c_void_p
c.telldir.restype = ctypes.c_long
d = ctypes.c_void_p(c.opendir(b"dir"))
def name():
    e = c.readdir(d)
    return None if e is None else ctypes.string_at(e + 19).decode()
first = [name() for _ in range(2)]
at = ctypes.c_long(c.telldir(d))
rest = [name() for _ in range(3)]
c.seekdir(d, at)
again = [name() for _ in range(3)]
open("dir/late", "w").close()
c.rewinddir(d)
anew = [name() for _ in range(6)]
print(first, sorted(filter(None, rest)), rest == again, sorted(filter(None, anew)))
"""
    found = inside(script_of(body))
    assert found == Outcome(
        "['.', '..'] ['mine', 'yours'] True ['.', '..', 'late', 'mine', 'yours']\n", "", 0
    )


def test_a_socket_may_be_bound_where_something_was_removed(inside: Run) -> None:
    body = """
import socket
os.unlink("yours")
s, t = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
s.bind("yours"); s.listen(); t.connect("yours")
print(stat.S_ISSOCK(os.stat("yours").st_mode), s.getsockname())
"""
    assert inside(script_of(body)) == Outcome("True yours\n", "", 0)


def test_a_file_without_a_name_gets_one(inside: Run, layers: Path) -> None:
    body = """
os.unlink("dir/yours")
fd = os.open("dir", os.O_TMPFILE | os.O_WRONLY, 0o600)
os.write(fd, b"given")
os.link("/proc/self/fd/%d" % fd, "dir/yours", src_dir_fd=fd, follow_symlinks=True)
print(open("dir/yours").read(), sorted(os.listdir("dir")))
"""
    found = inside(script_of(body))
    assert found == Outcome("given ['mine', 'yours']\n", "", 0)
    assert (layers / "upper/dir/yours").read_text() == "given"
