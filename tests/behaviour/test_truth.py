"""The tree tells the truth about itself: what a kernel would tell that has these mounts."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from behaviour import harness
from behaviour.harness import Bench, Way, needs_mounting, run_with
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
    needs_mounting()
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
    needs_mounting()
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
        subprocess.run(["tar", "cf", "a.tar", "src"], cwd=place, check=True)

    bench.prepare = lay
    script = "find . -xdev -path './tree*'; tar --one-file-system -cf - . 2>/dev/null | tar t | grep tree;"
    assert bench.inside(way, ["sh", "-c", script]).lines == ["./tree", "./tree/"]


# -- numbers and names ----------------------------------------------------------------------------

EVERY = run_with("--mount", "src=at", "--mount", "src/sub=ro:ro", "--mount", "tar:a.tar=tree")


def lay_every(place: Path) -> None:
    prepare(place)
    shutil.copy(shutil.which("cat") or "", place / "src/sub/cat")
    subprocess.run(["tar", "cf", "a.tar", "src"], cwd=place, check=True)


@harness.each_way(EVERY)
def test_all_that_tells_a_mount_tells_the_same(bench: Bench, way: Way) -> None:
    bench.prepare = lay_every
    script = """
import ctypes, errno, os, re
libc = ctypes.CDLL(None, use_errno=True)
def statx(path, dirfd=-100, flags=0):
    buffer = ctypes.create_string_buffer(256)
    number = {"x86_64": 332}.get(os.uname().machine, 291)
    assert libc.syscall(number, dirfd, path.encode(), flags, 0x1000, buffer) == 0
    return int.from_bytes(buffer[144:152], "little"), buffer.raw[9] & 0x20
def handle(path, dirfd=-100, flags=0):
    empty, id = ctypes.create_string_buffer(8), ctypes.c_int()
    number = {"x86_64": 303}.get(os.uname().machine, 264)
    libc.syscall(number, dirfd, path.encode(), empty, ctypes.byref(id), flags)
    return id.value if ctypes.get_errno() == errno.EOVERFLOW else None
table = {}
for line in open("/proc/self/mountinfo"):
    id, parent, device, root, point = line.split()[:5]
    table[point] = int(id), device
def device(path):
    number = os.stat(path).st_dev
    return f"{os.major(number)}:{os.minor(number)}"
for name in ("at", "at/sub", "at/sub/file", "ro", "ro/file", "tree", "tree/src/sub/file", "src", "/proc"):
    path = point = os.path.abspath(name)
    while point not in table:
        point = os.path.dirname(point)
    fd = os.open(name, os.O_RDONLY)
    info = int(re.search("mnt_id:\\t(.*)", open(f"/proc/self/fdinfo/{fd}").read())[1])
    inode = re.search("ino:\\t(.*)", open(f"/proc/self/fdinfo/{fd}").read())
    told = {statx(name), statx("", fd, 0x1000), statx(f"/proc/self/fd/{fd}")}
    print(name, told == {(table[point][0], 0x20 * (point == path))}, info == table[point][0], end=" ")
    handles = {handle(name), handle("", fd, 0x1000)} - {None}
    print(handles <= {table[point][0]}, end=" ")
    print(device(name) == table[point][1], not inode or int(inode[1]) == os.stat(name).st_ino, end=" ")
    print(os.readlink(f"/proc/self/fd/{fd}") == path)
    os.close(fd)
print(len({id for id, device in table.values()}) == len(table))
"""
    found = bench.inside(way, ["python3", "-c", script])
    assert found.stderr == ""
    assert [line for line in found.lines if "False" in line] == []
    assert len(found.lines) == 10


@harness.each_way(EVERY)
@pytest.mark.parametrize("program", ["at/sub/cat", "ro/cat", "tree/src/sub/cat"])
def test_mapped_files_have_the_names_and_numbers_of_the_view(bench: Bench, way: Way, program: str) -> None:
    bench.prepare = lay_every
    script = f"""
{program} /proc/self/maps
{program} /proc/self/smaps | grep -c '^Size'
{program} /proc/self/numa_maps
stat -c '%Hd %Ld %i' {program}
"""
    found = bench.inside(way, ["sh", "-c", script])
    assert found.stderr == ""
    path = f"{bench.work}/{program}"
    major, minor, inode = found.lines[-1].split()
    mappings = [line.split() for line in found.lines if line.endswith(path)]
    assert len(mappings) > 2
    assert {(line[3], line[4]) for line in mappings} == {(f"{int(major):02x}:{int(minor):02x}", inode)}
    assert sum(f"file={path} " in line for line in found.lines) > 2
    assert not any("memfd:" in line or f"{bench.work}/src" in line for line in found.lines)
    assert any(line.isdigit() and int(line) > 10 for line in found.lines)


@harness.each_way(EVERY)
def test_links_of_proc_have_the_names_by_which_things_were_opened(bench: Bench, way: Way) -> None:
    bench.prepare = lay_every
    script = """
import mmap, os
work = os.getcwd()
def name(fd):
    return os.readlink(f"/proc/self/fd/{fd}").replace(work + "/", "")
for path in ("at/sub/file", "at/new", "ro/file", "tree/src/sub/file", "src/sub/cat", "tree/src", "at"):
    made = os.O_CREAT | os.O_RDWR if path == "at/new" else os.O_RDONLY
    print(name(os.open(path, made)))
opened = os.open("at/new", os.O_RDWR)
os.ftruncate(opened, 4096)
mapped = mmap.mmap(opened, 4096)
os.unlink("at/new")
print(name(opened))
print([line.split(work + "/")[1].strip() for line in open("/proc/self/maps") if "at/new" in line])
os.chdir("at/sub")
print(os.readlink("/proc/self/cwd").replace(work + "/", ""), name(os.open("file", os.O_RDONLY)))
print(os.readlink("/proc/self/root"), os.path.basename(os.readlink("/proc/self/exe"))[:6])
for entry in os.scandir("/proc/self/map_files"):
    if os.getuid() == 0 and "/at/new" in os.readlink(entry.path):
        print("mapped")
print("mapped" if os.getuid() else "end")
"""
    found = bench.inside(way, ["python3", "-c", script])
    assert found.stderr == ""
    assert found.lines == [
        *("at/sub/file", "at/new", "ro/file", "tree/src/sub/file", "src/sub/cat", "tree/src", "at"),
        *("at/new (deleted)", "['at/new (deleted)']", "at/sub at/sub/file", "/ python", "mapped"),
        *(() if os.getuid() else ("end",)),
    ]


@pytest.mark.skipif(shutil.which("gdb") is None, reason="needs gdb")
@harness.each_way(EVERY)
def test_gdb_finds_what_is_mapped(bench: Bench, way: Way) -> None:
    if "guardians" in way.words:
        pytest.skip("a traced program cannot be traced by gdb")
    bench.prepare = lay_every
    script = """
mkfifo fifo
tree/src/sub/cat fifo &
exec 3>fifo
gdb -batch -nx -p $! -ex "info proc mappings" -ex "info proc exe" 2>/dev/null
kill $!
"""
    found = bench.inside(way, ["sh", "-c", script])
    path = f"{bench.work}/tree/src/sub/cat"
    assert any(line.endswith(path) and line.strip().startswith("0x") for line in found.lines)
    assert any("exe" in line and path in line for line in found.lines)


# -- sockets --------------------------------------------------------------------------------------

SOCKETS = """
import os, socket
def shown(name):
    return os.path.relpath(name) if name else name
for first in (os.path.abspath("at/stream"), "at/relative"):
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(first)
    server.listen()
    client.bind(first + "-client")
    client.connect(first)
    accepted, name = server.accept()
    print(*map(shown, [server.getsockname(), client.getpeername(), client.getsockname(), name]))
    print(*map(shown, [accepted.getsockname(), accepted.getpeername()]), first.startswith("/"))
    one, two = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    one.bind(first + "-one")
    two.bind(first + "-two")
    two.sendto(b"ask", first + "-one")
    data, back = one.recvfrom(10)
    one.sendto(b"answer", back)
    print(data, shown(back), *two.recvfrom(10)[:1], one.getsockname() == first + "-one")
    listed = {line.split()[-1] for line in open("/proc/net/unix")}
    print(sorted(shown(name) for name in listed if name.startswith(first)))
plain = socket.socket(socket.AF_UNIX)
plain.bind("plain")
print(plain.getsockname(), socket.socket(socket.AF_UNIX).getsockname() == "")
inet = socket.socket()
inet.bind(("127.0.0.1", 0))
print(inet.getsockname()[0])
"""


@harness.each_way(run_with("--mount", "src=at"))
def test_sockets_have_the_names_that_they_were_bound_to(bench: Bench, way: Way) -> None:
    bench.same(way, ["python3", "-c", SOCKETS])


# -- statmount ------------------------------------------------------------------------------------

STATMOUNT = """
import ctypes, errno, struct
libc = ctypes.CDLL(None, use_errno=True)
def request(id, param):
    return ctypes.create_string_buffer(struct.pack("<IIQQ", 24, 0, id, param), 32)
def result(value):
    return value if value >= 0 else errno.errorcode[ctypes.get_errno()]
def listed(id, last=0, count=1000, flags=0):
    ids = (ctypes.c_uint64 * count)()
    found = result(libc.syscall(458, request(id, last), ids, count, flags))
    return list(ids[:found]) if isinstance(found, int) else found
def told(id, mask=0x1FFF, size=8192):
    data = ctypes.create_string_buffer(size)
    found = result(libc.syscall(457, request(id, mask), data, size, 0))
    return data.raw if found == 0 else found
def text(data, at):
    start = 512 + int.from_bytes(data[at:at + 4], "little")
    return data[start:].split(b"\\0")[0].decode()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
@harness.each_way(run_with("--mount", "src=at", "--mount", "tar:a.tar=tree", "--mount", "/dev=at/sub"))
def test_mounts_tell_by_their_ids_what_the_table_tells(bench: Bench, way: Way) -> None:
    bench.prepare = lay_every
    script = STATMOUNT + """
everything = listed(2**64 - 1)
if everything == "ENOSYS":
    raise SystemExit("no listmount")
table = {}
for line in open("/proc/self/mountinfo"):
    id, parent, device, root, point = line.split()[:5]
    kind = line.split(" - ")[1].split()[0]
    table[int(id)] = (int(parent), device, root, point, kind)
found = {}
for id in everything:
    data = told(id)
    major, minor = struct.unpack_from("<II", data, 16)
    own, parent = struct.unpack_from("<II", data, 56)
    found[own] = parent, f"{major}:{minor}", text(data, 104), text(data, 108), text(data, 36)
    assert struct.unpack_from("<Q", data, 40)[0] == id
print(found == table, len(everything) == len(set(everything)), everything == sorted(everything))
by_point = {text(told(id), 108): id for id in everything}
at = by_point[[point for point in by_point if point.endswith("/at")][0]]
below = listed(at)
print(all("/at/sub" in text(told(id), 108) for id in below), len(below) > 0, at in below)
print(listed(2**64 - 1, count=3) + listed(2**64 - 1, last=everything[2]) == everything)
print(listed(2**64 - 1, flags=1) == everything[::-1], listed(2**64 - 1, count=0))
print(told(at + 1000), listed(at + 1000), told(5), listed(5), told(at, size=513), listed(at, flags=2))
print(len(told(at, mask=2, size=64)))
"""
    found = bench.inside(way, ["python3", "-c", script])
    if "no listmount" in found.stderr:
        pytest.skip("this kernel has no listmount")
    assert found.stderr == ""
    assert found.lines == [
        *("True True True", "True True False", "True", "True []"),
        *("ENOENT ENOENT EINVAL EINVAL EOVERFLOW EINVAL", "64"),
    ]


# -- the current directory ------------------------------------------------------------------------

CWD = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def getcwd(size=4096):
    buffer = ctypes.create_string_buffer(4096)
    found = libc.syscall(79 if os.uname().machine == "x86_64" else 17, buffer, size)
    return buffer.value.decode() if found > 0 else errno.errorcode[ctypes.get_errno()]
top = os.getcwd()
def shown():
    text = getcwd()
    return os.path.relpath(text, top) if text.startswith("/") else text
for name in ("at", "at/sub", "..", "../src", "."):
    os.chdir(name)
    print(shown(), shown() == os.path.relpath(os.readlink("/proc/self/cwd"), top), getcwd(5))
os.chdir(top + "/at")
os.mkdir("gone")
os.chdir("gone")
os.rmdir(top + "/at/gone")
print(shown(), os.readlink("/proc/self/cwd").replace(top, ""))
os.chdir(top + "/at/sub")
held = os.open(".", os.O_RDONLY)
os.chdir("/")
print(getcwd(1), getcwd(2), getcwd(0))
os.fchdir(held)
print(shown(), len(getcwd(len(getcwd()) + 1)) == len(getcwd()), getcwd(len(getcwd())))
"""


@harness.each_way(run_with("--mount", "src=at"))
def test_the_current_directory_is_told_as_by_the_kernel(bench: Bench, way: Way) -> None:
    def lay(place: Path) -> None:
        for name in ("src/sub", "at/sub"):
            (place / name).mkdir(parents=True)

    bench.prepare = lay
    bench.same(way, ["python3", "-c", CWD])
