"""The tree tells the truth about itself: what a kernel would tell that has these mounts."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from behaviour import harness
from behaviour.harness import Bench, Way, run_with
from diorama.abi.mountinfo import MountLine

BIND = run_with("--mount", "src=at", "--mount", "src/sub=ro:ro")
each_way = harness.each_way(BIND)


def prepare(place: Path) -> None:
    for name in ("src/sub", "at", "ro", "with blank", "empty"):
        (place / name).mkdir(parents=True)
    (place / "src/sub/file").write_text("text\n")


@pytest.fixture(autouse=True)
def laid(bench: Bench) -> None:
    bench.prepare = prepare


def lines(text: str) -> list[MountLine]:
    return [MountLine.parse(line.encode()) for line in text.splitlines()]


def comparable(found: list[MountLine], below: Path) -> set[tuple[object, ...]]:
    """What there is to compare: all but ids and propagation, and the points of parents for their ids."""
    points = {line.id: (line.point, line.root) for line in found}
    return {
        (line.point, line.root, line.device, line.options, line.type, line.source, points.get(line.parent))
        for line in found
        if line.point.startswith(os.fsencode(below))
    }


def kernel(bench: Bench, commands: str, script: str) -> str:
    """What a script says where the kernel has mounted, in a namespace of its own."""
    found = bench.native(["unshare", "-m", "sh", "-e", "-c", f"{commands}\n{script}"])
    assert (found.stderr, found.status) == ("", 0)
    return found.stdout


@pytest.mark.root
@pytest.mark.parametrize("name", ["mountinfo", "mounts"])
@each_way
def test_the_table_is_that_of_the_kernel_with_these_mounts(bench: Bench, way: Way, name: str) -> None:
    commands = "mount --bind src at; mount --bind src/sub ro; mount -o remount,bind,ro ro"
    expected = kernel(bench, commands, f"cat /proc/self/{name}")
    found = bench.inside(way, ["cat", f"/proc/self/{name}"])
    if name == "mounts":
        assert sorted(found.lines) == sorted(expected.splitlines())
    else:
        assert comparable(lines(found.stdout), bench.work) == comparable(lines(expected), bench.work)


@pytest.mark.root
@harness.each_way(run_with("--mount", "/dev=at"))
def test_what_is_mounted_below_a_source_is_in_the_table(bench: Bench, way: Way) -> None:
    expected = kernel(bench, "mount --rbind /dev at", "cat /proc/self/mountinfo")
    found = bench.inside(way, ["cat", "/proc/self/mountinfo"])
    assert comparable(lines(found.stdout), bench.work) == comparable(lines(expected), bench.work)


@each_way
def test_every_way_to_the_table_leads_to_the_same(bench: Bench, way: Way) -> None:
    script = """
import os, subprocess, threading
seen = set()
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
def look(path, dirfd=None, flags=0):
    with open(os.open(path, os.O_RDONLY | flags, dir_fd=dirfd), "rb") as file:
        seen.add(file.read())
for path in ("/proc/self/mounts", "/proc/mounts", f"/proc/{os.getpid()}/mounts",
             f"/proc/{child.pid}/mounts", f"/proc/self/task/{os.getpid()}/mounts", "/proc/thread-self/mounts",
             "/etc/../proc/self/../mounts"):
    look(path)
look("mounts", os.open("/proc/self", os.O_RDONLY))
os.symlink("/proc/self/mounts", "link")
look("link")
held = os.open("link", os.O_PATH)
look(f"/proc/self/fd/{held}")
look(f"/dev/fd/{os.open('/proc/mounts', os.O_RDONLY)}")
thread = threading.Thread(target=look, args=("/proc/thread-self/mounts",))
thread.start()
thread.join()
os.chdir("/proc/self")
look("mounts")
child.communicate()
print(len(seen), b"/at " in seen.pop())
"""
    assert bench.inside(way, ["python3", "-c", script]).lines == ["1 True"]


@each_way
def test_the_table_is_a_file_of_proc(bench: Bench, way: Way) -> None:
    script = """
import os, select, stat
for path in ("/proc/self/mounts", "/proc/self/mountinfo"):
    file = open(path)
    there, opened = os.stat(path), os.fstat(file.fileno())
    print(stat.filemode(opened.st_mode), opened.st_size, opened.st_uid == there.st_uid)
    print(opened.st_dev == there.st_dev)
    print(os.stat(f"/proc/self/fd/{file.fileno()}").st_size, os.access(path, os.R_OK))
    print(os.readlink(f"/proc/self/fd/{file.fileno()}") == path.replace("self", str(os.getpid())))
    print(select.select([file], [], [], 0)[0] == [file])
    whole = file.read()
    file.seek(0)
    print(file.read() == whole, file.read() == "")
    print(os.open(path, os.O_RDONLY | os.O_CLOEXEC) > 0)
for flags in (os.O_WRONLY, os.O_RDWR, os.O_DIRECTORY, os.O_CREAT | os.O_EXCL):
    try:
        os.close(os.open("/proc/self/mounts", flags))
        print("opened" if os.getuid() == 0 and flags < 3 else "wrong")
    except OSError as error:
        print("opened" if os.getuid() and flags < 3 and error.errno == 13 else error.errno)
for path in ("/proc/self/mounts/", "/proc/self/mounts/x", "/proc/self/mount"):
    try:
        open(path)
    except OSError as error:
        print(error.errno)
"""
    bench.same(way, ["python3", "-c", script])


@each_way
def test_tools_agree_about_what_is_mounted(bench: Bench, way: Way) -> None:
    script = (
        "mountpoint -q at && mountpoint -q ro && echo points; mountpoint -q src || echo not;"
        "mountpoint -q at/sub || echo not;"
        "findmnt -n -o TARGET,FSROOT -T at/sub/file; findmnt -n -o OPTIONS -M $PWD/ro | cut -d, -f1;"
        "df --output=target at ro src | tail -n +2; findmnt -n -o TARGET -M $PWD/src || echo none"
    )
    found = bench.inside(way, ["sh", "-c", script]).lines
    work, root = str(bench.work), root_of(bench.work / "src")
    assert found == [
        "points",
        "not",
        "not",
        f"{work}/at {root}",
        "ro",
        f"{work}/at",
        f"{work}/ro",
        mount_of(bench.work),
        "none",
    ]


def mount_of(path: Path) -> str:
    while not os.path.ismount(path):
        path = path.parent
    return str(path)


def root_of(path: Path) -> str:
    """Where a directory of the host is in its file system."""
    point = mount_of(path)
    found = [line for line in lines(Path("/proc/self/mountinfo").read_text()) if line.point == point.encode()]
    return os.fsdecode(found[-1].root.rstrip(b"/")) + "/" + os.path.relpath(path, point)


@each_way
def test_processes_outside_of_the_view_have_their_own_table(bench: Bench, way: Way) -> None:
    found = bench.inside(way, ["cat", f"/proc/{os.getpid()}/mounts"])
    assert found.stdout == Path("/proc/self/mounts").read_text()


@pytest.mark.skipif(shutil.which("java") is None, reason="needs java")
@harness.each_way(run_with("--mount", "src=at"))
def test_java_finds_the_mounts(bench: Bench, way: Way) -> None:
    (bench.directory / "Stores.java").write_text("""
import java.nio.file.*;
public class Stores {
    public static void main(String[] words) throws Exception {
        for (FileStore store : FileSystems.getDefault().getFileStores())
            if (store.toString().contains("work/at"))
                System.out.println(store.toString().replaceAll(" .*", ""));
        System.out.println(Files.getFileStore(Path.of("at/sub")).type());
    }
}
""")
    found = bench.inside(way, ["java", "-XX:-UsePerfData", str(bench.directory / "Stores.java")])
    type_of = [
        line
        for line in lines(Path("/proc/self/mountinfo").read_text())
        if line.point == mount_of(bench.work).encode()
    ]
    assert found.lines == [f"{bench.work}/at", os.fsdecode(type_of[-1].type)]


def test_a_table_of_a_kernel_can_be_read() -> None:
    assert stat.S_ISREG(os.stat("/proc/self/mountinfo").st_mode)


# -- listings -------------------------------------------------------------------------------------

ABSENT = run_with("--mount", "src=new", "--mount", "src/sub/file=one", "--mount", "src=deep/er/est")


@harness.each_way(ABSENT)
def test_what_is_mounted_on_nothing_is_in_the_listings(bench: Bench, way: Way) -> None:
    expected = ["at", "deep", "empty", "new", "one", "ro", "src", "with blank"]
    assert bench.inside(way, ["ls"]) == harness.Outcome("\n".join(expected) + "\n", "", 0)
    found = bench.inside(way, ["find", "deep", "new", "one", "-printf", "%y %p\\n"]).lines
    assert sorted(found) == sorted([
        *("d deep", "d deep/er", "d deep/er/est", "d deep/er/est/sub", "f deep/er/est/sub/file"),
        *("d new", "d new/sub", "f new/sub/file", "f one"),
    ])  # fmt: skip


@harness.each_way(ABSENT)
def test_directories_with_such_names_are_read_as_others(bench: Bench, way: Way) -> None:
    script = """
import os
names = os.listdir(".")
print(len(names), len(set(names)), [entry.name for entry in os.scandir(".") if entry.is_file()])
print(all(entry.inode() == os.stat(entry.name).st_ino for entry in os.scandir(".")))
fd = os.open(".", os.O_RDONLY)
if os.fork() == 0:
    os._exit(len(os.listdir(fd)))
print(os.waitstatus_to_exitcode(os.wait()[1]), os.listdir(fd) == names)
for name in ("new", "one"):
    try:
        os.mkdir(name)
    except FileExistsError:
        print("exists")
try:
    os.rmdir("deep")
except OSError as error:
    print(error.strerror)
"""
    found = bench.inside(way, ["python3", "-c", script]).lines
    assert found == ["8 8 ['one']", "True", "8 True", "exists", "exists", "Device or resource busy"]


@harness.each_way(ABSENT)
def test_the_shell_completes_names_that_are_only_mounted(bench: Bench, way: Way) -> None:
    assert bench.inside(way, ["bash", "-c", "echo n* d*/*/e* o?e"]).lines == ["new deep/er/est one"]


@harness.each_way(run_with("--mount", "src=new", "--mount", "tar:a.tar=tree"))
def test_walks_that_stay_on_one_file_system_stop_at_mounts(bench: Bench, way: Way) -> None:
    def lay(place: Path) -> None:
        prepare(place)
        harness.subprocess.run(["tar", "cf", "a.tar", "src"], cwd=place, check=True)

    bench.prepare = lay
    script = "find . -xdev -path './tree*'; tar --one-file-system -cf - . 2>/dev/null | tar t | grep tree;"
    assert bench.inside(way, ["sh", "-c", script]).lines == ["./tree", "./tree/"]
