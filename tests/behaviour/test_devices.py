"""Devices in a view: what programs make of them, by `--mount` and by `diorama mount`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Way, each_way, run_with
from modules.imaging import needs, run

INSIDE = " ".join(DIORAMA)
PATH = f"PATH=$PATH:{os.environ['PATH']}:/usr/sbin:/sbin; export LC_ALL=C.UTF-8; "
SIMPLE = run_with(
    "--mount", "null:=/dev/n2", "--mount", "zero:=/dev/z2", "--mount", "full:=/dev/f2",
    "--mount", "random:=/dev/r2:seed=7", "--mount", "random:=/dev/u2",
)  # fmt: skip
RAMDISK = run_with("--mount", "ramdisk:1M=/dev/rd:mode=0644,uid=12,gid=34,major=42,minor=7")
DISK = run_with("--mount", "disk:disk=/dev/hda")
READ_ONLY = run_with("--mount", "disk:disk=/dev/hda:ro")
GROWING = run_with("--grow")


def sh(script: str) -> list[str]:
    return ["sh", "-c", PATH + script]


def lay(work: Path) -> None:
    with (work / "disk").open("wb") as file:
        file.truncate(64 << 20)


@each_way(SIMPLE)
def test_the_simple_ones_are_as_those_of_linux(bench: Bench, way: Way) -> None:
    script = """
    echo x >$1; wc -c <$1; head -c 3 $2 | od -An -tx1; head -c 2 $3 | od -An -tx1; echo x >$3
    stat -c '%F %t:%T' $1 $2 $3; dd if=/dev/zero of=$1 bs=1k count=3 2>&1 | head -2
    """
    mine = bench.inside(way, [*sh(script), "sh", "/dev/n2", "/dev/z2", "/dev/f2"])
    theirs = bench.native([*sh(script), "sh", "/dev/null", "/dev/zero", "/dev/full"])
    assert (mine.stdout, mine.stderr) == (theirs.stdout, theirs.stderr)


@each_way(SIMPLE)
def test_what_is_random_with_a_seed_is_the_same_each_time(bench: Bench, way: Way) -> None:
    script = sh("for one in r2 r2 u2; do head -c 8 /dev/$one | od -An -tx1; done")
    one, other = bench.inside(way, script).lines, bench.inside(way, script).lines
    assert one[:2] == other[:2]
    assert one[0] != one[1]
    assert one[2] != other[2]


@each_way(RAMDISK)
def test_a_ramdisk_is_a_block_device(bench: Bench, way: Way) -> None:
    script = """
    ls -ln /dev/rd; ls /dev | grep -x rd; stat -c '%F %t:%T %s' /dev/rd; test -b /dev/rd && echo block
    blockdev --getsize64 --getss --getro /dev/rd
    """
    found = bench.inside(way, sh(script))
    assert found.lines[0].startswith("brw-r--r-- 1 12 34 42, 7 ")
    assert found.lines[1:] == ["rd", "block special file 2a:7 0", "block", "1048576", "512", "0"]


RAM = run_with("--mount", "ramdisk:1M=/dev/rd")


@each_way(RAM)
def test_what_is_written_to_a_ramdisk_is_read_by_others(bench: Bench, way: Way) -> None:
    script = """
    printf abc | dd of=/dev/rd bs=1 seek=10 2>/dev/null; dd if=/dev/rd bs=1 skip=10 count=3 2>/dev/null; echo
    dd if=/dev/zero of=/dev/rd bs=64k 2>&1 | head -3; head -c 20 /dev/rd | od -An -tx1 -w20
    truncate -s 5 /dev/rd; echo $?; cp /dev/rd copy; stat -c %s copy
    """
    found = bench.inside(way, sh(script))
    assert found.lines == [
        "abc", "dd: error writing '/dev/rd': No space left on device", "17+0 records in", "16+0 records out",
        " 00" * 20, "1", "1048576",
    ]  # fmt: skip
    assert "Invalid argument" in found.stderr


MAPPING = """
import mmap, os
one = os.open("/dev/rd", os.O_RDWR)
other = os.open("/dev/rd", os.O_RDONLY)
with mmap.mmap(one, 8192) as mapped:
    mapped[5000:5005] = b"first"
    print(os.pread(other, 5, 5000))
    os.pwrite(one, b"again", 5000)
    print(mapped[5000:5005])
with mmap.mmap(other, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=4096) as mapped:
    mapped[904:909] = b"alone"
    print(mapped[904:909], os.pread(other, 5, 5000))
for change in (lambda: mmap.mmap(other, 4096), lambda: os.ftruncate(one, 4096), lambda: os.lseek(one, 1, 2)):
    try:
        change()
    except OSError as error:
        print(error.strerror)
os.fsync(one)
print(os.lseek(one, 0, 2))
"""


@each_way(RAM)
def test_a_ramdisk_is_mapped(bench: Bench, way: Way) -> None:
    found = bench.inside(way, ["python3", "-c", MAPPING])
    assert found.lines == [
        "b'first'", "b'again'", "b'alone' b'again'", "Permission denied", "Invalid argument",
        "Invalid argument", "1048576",
    ], found.stderr  # fmt: skip


ASYNCHRONOUS = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_ulong(0)
assert libc.syscall(206, 8, ctypes.byref(context)) == 0  # io_setup
fd = os.open("/dev/rd", os.O_RDWR)
data = ctypes.create_string_buffer(b"lost?", 512)
pwrite = 1
block = struct.pack("<QIIHhIQQqQII", 1, 0, 0, pwrite, 0, fd, ctypes.addressof(data), 512, 0, 0, 0, 0)
held = ctypes.create_string_buffer(block)
pointer = ctypes.c_void_p(ctypes.addressof(held))
print(libc.syscall(209, context, 1, ctypes.byref(pointer)), os.strerror(ctypes.get_errno()))  # io_submit
print(os.pread(fd, 5, 0))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are those of x86-64")
@each_way(RAM)
def test_asynchronous_operations_are_refused_and_not_lost(bench: Bench, way: Way) -> None:
    found = bench.inside(way, ["python3", "-c", ASYNCHRONOUS])
    assert found.lines == ["-1 Invalid argument", r"b'\x00\x00\x00\x00\x00'"], found.stderr
    assert "io_submit: not supported for devices" in found.stderr


PARTITIONING = """
printf 'o\\nn\\np\\n1\\n\\n+20M\\nn\\ne\\n2\\n\\n\\nn\\n\\n+10M\\nn\\n\\n\\nw\\n' | fdisk /dev/hda >log
stat -c '%n %F %T' /dev/hda*; ls /dev | grep hda
fdisk -l /dev/hda | grep ^/dev/hda | sed 's/ \\+/ /g'
sfdisk --delete /dev/hda 6 >/dev/null; ls /dev | grep hda6
mkfs.ext4 -q /dev/hda1; mkfs.vfat /dev/hda5 >/dev/null; blkid -p -o value -s TYPE /dev/hda1 /dev/hda5
"""


@each_way(DISK)
def test_a_disk_is_partitioned(bench: Bench, way: Way) -> None:
    needs("fdisk", "sfdisk", "mkfs.ext4", "mkfs.vfat", "blkid")
    bench.prepare = lay
    found = bench.inside(way, sh(PARTITIONING))
    names = ["hda", "hda1", "hda2", "hda5", "hda6"]
    first = int(found.lines[0].split()[-1], 16)
    minors = [first + number for number in (0, 1, 2, 5, 6)]
    assert found.lines == [
        *(f"/dev/{name} block special file {minor:x}" for name, minor in zip(names, minors, strict=True)),
        *names,
        "/dev/hda1 2048 43007 40960 20M 83 Linux", "/dev/hda2 43008 131071 88064 43M 5 Extended",
        "/dev/hda5 45056 65535 20480 10M 83 Linux", "/dev/hda6 67584 131071 63488 31M 83 Linux",
        "ext4", "vfat",
    ], found.stderr  # fmt: skip


LONG = """
set -e
printf 'n\\n1\\n\\n+32M\\n\\nn\\n2\\n\\n\\n\\nw\\ny\\n' | gdisk /dev/hda >gdisk.log
ls /dev | grep hda; mkfs.ext4 -q /dev/hda1; mkdir mnt
fuse2fs -o rw,fakeroot /dev/hda1 mnt; echo ciao >mnt/h; cat mnt/h
mkfs.ext4 -q /dev/hda1 2>&1 | grep -o 'apparently in use'
umount mnt; ls mnt
"""


@each_way(run_with("--grow", "--mount", "disk:disk=/dev/hda"))
def test_a_file_system_is_made_and_mounted_in_the_view_and_clean_outside(bench: Bench, way: Way) -> None:
    needs("gdisk", "mkfs.ext4", "fuse2fs", "e2fsck", "debugfs")
    bench.prepare = lay
    found = bench.inside(way, sh(LONG), limit=100)
    assert found.lines == ["hda", "hda1", "hda2", "ciao", "apparently in use"], found.stderr
    image, part = bench.work / "disk", bench.work / "part"
    with image.open("rb") as file:
        file.seek(1 << 20)
        part.write_bytes(file.read(32 << 20))
    assert run("e2fsck", "-fn", part)
    assert run("debugfs", "-R", "cat /h", part) == "ciao\n"


@each_way(READ_ONLY)
def test_a_disk_that_is_read_only_is_not_written(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    script = "blockdev --getro /dev/hda; echo x >/dev/hda; head -c 1 /dev/hda | od -An -tx1"
    found = bench.inside(way, sh(script))
    assert found.lines == ["1", " 00"]
    assert "Read-only file system" in found.stderr
    assert not any((bench.work / "disk").read_bytes()[:512])


WITHIN = """
import ctypes, fcntl, mmap, os, struct
fd = os.open("/dev/hda1", os.O_RDWR)
with mmap.mmap(fd, 1 << 20) as mapped:
    mapped[-4:] = b"last"
for end in (4096, 1):
    try:
        mmap.mmap(fd, (1 << 20) + end)
    except OSError as error:
        print(error.strerror)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
address, size, word = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
libc.mmap.argtypes = [address, size, word, word, word, ctypes.c_long]
libc.mremap.argtypes = [address, size, size, word]
libc.remap_file_pages.argtypes = [address, size, word, size, word]
at = libc.mmap(None, 1 << 20, 3, mmap.MAP_SHARED, fd, 0)
for length in (1 << 20, 0):
    print(libc.mremap(at, length, (1 << 20) + 4096, 1) == 2**64 - 1, os.strerror(ctypes.get_errno()))
print(libc.remap_file_pages(at, 4096, 0, 512, 0), os.strerror(ctypes.get_errno()))
print(libc.mremap(at, 1 << 20, 4096, 1) == at)
print(os.pread(fd, 5, (1 << 20) - 4))
print(os.write(os.open("/dev/hda1", os.O_WRONLY | os.O_APPEND), b"first"), os.pread(fd, 5, 0))
whole = os.open("/dev/hda", os.O_RDONLY)
fcntl.ioctl(whole, 0x125D, struct.pack("i", 1))  # BLKROSET
for change in (lambda: os.write(fd, b"x"), lambda: os.open("/dev/hda2", os.O_RDWR)):
    try:
        change()
    except OSError as error:
        print(error.strerror)
fcntl.ioctl(whole, 0x125D, struct.pack("i", 0))
print(os.write(fd, b"again"), os.pread(fd, 5, 0))
"""


@each_way(DISK)
def test_a_partition_ends_where_it_does_and_a_disk_protects_it(bench: Bench, way: Way) -> None:
    needs("sfdisk")

    def prepare(work: Path) -> None:
        lay(work)
        run("sfdisk", "-q", work / "disk", stdin=",1M\n,\n")

    bench.prepare = prepare
    found = bench.inside(way, ["python3", "-c", WITHIN])
    assert found.lines == [
        "No such device", "No such device",
        "True Bad address", "True Bad address", "-1 Invalid argument", "True",
        "b'last'", "5 b'first'", "Operation not permitted", "Read-only file system", "5 b'again'",
    ], found.stderr  # fmt: skip


CLASS = """
import os, select, struct
from diorama.interfaces.device import BlockDevice, CharacterDevice

class Counter(CharacterDevice):
    major, minor = 61, 5

    def __init__(self, start=0):
        self.count = start

    def read(self, offset, size):
        self.count += 1
        return b"%d\\n" % self.count

    def ioctl(self, command, argument):
        if command == 0x4301:
            was = self.count
            (self.count,) = argument.unpack("<i")
            argument.pack("<i", was)
            return 5
        return super().ioctl(command, argument)

class Raises(CharacterDevice):
    def read(self, offset, size):
        raise KeyError("of its author")

class Queue(CharacterDevice):
    def __init__(self):
        self.data = b""

    def write(self, offset, data):
        self.data += data
        self.changed()
        return len(data)

    def read(self, offset, size):
        if not self.data:
            raise BlockingIOError
        found, self.data = self.data[:size], self.data[size:]
        return found

    def poll(self):
        return select.POLLOUT | (select.POLLIN if self.data else 0)

class Mirror(BlockDevice):
    def __init__(self, *paths):
        self.files = [open(path, "r+b", buffering=0) for path in paths]
        self.size = os.path.getsize(paths[0])

    def read(self, offset, size):
        return os.pread(self.files[0].fileno(), size, offset)

    def write(self, offset, data):
        for file in self.files:
            os.pwrite(file.fileno(), data, offset)
"""


def lay_class(work: Path) -> None:
    lay(work)
    shutil.copy(work / "disk", work / "other")
    (work / "own.py").write_text(CLASS)


OWN = run_with(
    "--mount", "py:./own.py:Counter(40)=/dev/counter", "--mount", "py:./own.py:Queue=/dev/queue",
    "--mount", "py:./own.py:Mirror('disk','other')=/dev/mirror",
)  # fmt: skip
CONTROLLING = """
import errno, fcntl, os, struct
with open("/dev/counter", "rb", buffering=0) as file:
    data = bytearray(struct.pack("<i", 6))
    print(fcntl.ioctl(file, 0x4301, data), data, file.read(9))
    try:
        fcntl.ioctl(file, 0x4302, data)
    except OSError as error:
        print(error.strerror)
    try:
        file.seek(0)
    except OSError as error:
        print(error.strerror)
    print(os.fstat(file.fileno()).st_rdev == os.makedev(61, 5), os.isatty(file.fileno()))
"""


@each_way(OWN)
def test_a_class_of_the_users_own_answers(bench: Bench, way: Way) -> None:
    bench.prepare = lay_class
    found = bench.inside(way, [*sh('head -c 3 /dev/counter; exec python3 -c "$1"'), "sh", CONTROLLING])
    assert found.lines == [
        "41", "5 bytearray(b')\\x00\\x00\\x00') b'7\\n'", "Inappropriate ioctl for device", "Illegal seek",
        "True False",
    ], found.stderr  # fmt: skip


WAITING = """
import os, select, threading
one, other = os.open("/dev/queue", os.O_RDWR | os.O_NONBLOCK), os.open("/dev/queue", os.O_RDWR)
print(select.select([one], [one], [], 0) == ([], [one], []))
try:
    os.read(one, 1)
except BlockingIOError:
    print("nothing")
reader = threading.Thread(target=lambda: print(os.read(other, 9)))
reader.start()
os.write(one, b"woken")
reader.join()
while select.select([one], [], [], 0)[0]:
    pass
poll = select.poll()
poll.register(one, select.POLLIN)
threading.Thread(target=lambda: os.write(other, b"polled")).start()
print(poll.poll(60000) == [(one, select.POLLIN)], os.read(one, 9))
"""


@each_way(OWN)
def test_who_waits_for_a_class_is_woken(bench: Bench, way: Way) -> None:
    bench.prepare = lay_class
    found = bench.inside(way, ["python3", "-c", WAITING])
    assert found.lines == ["True", "nothing", "b'woken'", "True b'polled'"], found.stderr


SIGNALLED = """
import os, signal, subprocess, sys

def heard(number, frame):
    print("heard", flush=True)
    raise KeyError(number)

def state(pid):
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0]

signal.signal(signal.SIGUSR1, heard)
child = os.fork()
if not child:
    try:
        os.read(os.open("/dev/queue", os.O_RDONLY), 1)
    except KeyError:
        os._exit(7)
reader = subprocess.Popen(["cat", "/dev/queue"])
for pid in (child, reader.pid):
    while state(pid) != "0":  # read(2)
        pass
os.kill(child, signal.SIGUSR1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
reader.kill()
print(reader.wait())
"""


@each_way(OWN)
def test_a_signal_ends_a_wait(bench: Bench, way: Way) -> None:
    bench.prepare = lay_class
    found = bench.inside(way, ["python3", "-c", SIGNALLED])
    assert found.lines == ["heard", "7", "-9"], found.stderr


@each_way(OWN)
def test_a_block_device_of_the_users_own_has_partitions(bench: Bench, way: Way) -> None:
    needs("sfdisk", "mkfs.ext4")
    bench.prepare = lay_class
    script = """
    printf ',20M\\n,\\n' | sfdisk -q /dev/mirror; ls /dev | grep mirror; mkfs.ext4 -q /dev/mirror2
    cmp disk other && echo same
    """
    assert bench.inside(way, sh(script)).lines == ["mirror", "mirror1", "mirror2", "same"]


@pytest.mark.parametrize("engine", ["guardians", "notify"])
def test_a_class_that_raises_is_an_error_and_a_traceback(bench: Bench, engine: str) -> None:
    bench.prepare = lay_class
    way = run_with("--mount", "py:./own.py:Raises=/dev/raises").on(engine)
    found = bench.inside(way, sh("cat /dev/raises; echo $?; echo on"))
    assert found.lines == ["1", "on"]
    assert "Input/output error" in found.stderr
    assert "KeyError: 'of its author'" in found.stderr


@each_way(GROWING)
def test_devices_are_mounted_from_inside(bench: Bench, way: Way) -> None:
    needs("sfdisk")
    bench.prepare = lay
    script = f"""
    {INSIDE} mount ramdisk:8M /dev/rd && blockdev --getsize64 /dev/rd
    {INSIDE} mount -o mode=0640 disk:disk /dev/hda
    printf ',20M\\n,\\n' | sfdisk -q /dev/hda; ls /dev | grep hda
    sleep 60 </dev/hda1 & sleeper=$!
    until [ -b /proc/$sleeper/fd/0 ]; do :; done
    {INSIDE} umount /dev/hda 2>&1; kill $sleeper; wait $sleeper; {INSIDE} umount /dev/hda; ls /dev | grep hda
    """
    found = bench.inside(way, sh(script))
    assert found.lines[:4] == ["8388608", "hda", "hda1", "hda2"], found.stderr
    assert "in use" in found.lines[4]
    assert len(found.lines) == 5


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ramdisk:0", "multiple of 512"), ("ramdisk:1X", "multiple of 512"),
        ("ramdisk:100", "multiple of 512"), ("ramdisk:99999999T", "multiple of 512"),
        ("null:x", "nothing behind the colon"),
        ("disk:none", "no such file"), ("disk:.", "no regular file"), ("disk:empty", "it is empty"),
        ("disk:short", "no whole sector"),
    ],
)  # fmt: skip
def test_what_is_no_device_is_told_in_one_line(bench: Bench, source: str, said: str) -> None:
    def prepare(work: Path) -> None:
        (work / "empty").write_bytes(b"")
        (work / "short").write_bytes(b"x" * 100)

    bench.prepare = prepare
    found = bench.inside(run_with("--mount", f"{source}=/dev/x"), ["true"])
    assert found.status == 125
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", ["mode=9", "major=x", "minor=9999999", "uid=-1", "other", "seed=1"])
def test_options_that_are_none_are_told_in_one_line(bench: Bench, option: str) -> None:
    found = bench.inside(run_with("--mount", f"null:=/dev/x:{option}"), ["true"])
    assert (found.status, len(found.stderr.splitlines())) == (125, 1)
