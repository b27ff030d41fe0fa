"""What a FUSE server lends (FUSE_PASSTHROUGH): files of its own that have the content of those it serves.

The program is the server, on a thread of its own, so that each knows what the other does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, finish, run_with
from diorama.engine.choice import GUARDIANS, NOTIFY
from engines import needs_notify

GROWING = run_with("--grow")
each_engine = pytest.mark.parametrize(
    "way",
    [GROWING.on(GUARDIANS), pytest.param(GROWING.on(NOTIFY), marks=needs_notify)],
    ids=[GUARDIANS, NOTIFY],
)

LENDING = r"""
import ctypes, errno, mmap, os, socket, struct, sys
from diorama.fuse.flags import DEV_IOC_BACKING_CLOSE, DEV_IOC_BACKING_OPEN, FOpen, Init
from diorama.fuse.handles import OpenOut
from diorama.fuse.wire import Attr
from modules.fuse_server import Server, unknown

libc = ctypes.CDLL(None, use_errno=True)
source, path = "source/file", "mnt/file"

def ask(command, data):
    result = libc.ioctl(device, ctypes.c_ulong(command), ctypes.c_char_p(data))
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]

def lend(fd, flags=0):
    return ask(DEV_IOC_BACKING_OPEN, struct.pack("iIQ", fd, flags, 0))

def take_back(number):
    return ask(DEV_IOC_BACKING_CLOSE, struct.pack("i", number))

def told(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

device = os.open("/dev/fuse", os.O_RDWR)
class Device:
    recv = staticmethod(lambda size: os.read(device, size))
    send = staticmethod(lambda data: os.write(device, data))
    shutdown = staticmethod(lambda how: None)

server = Server(Device, minor=45)
server.features, server.stack_depth = Init.PASSTHROUGH, 1
how, number = FOpen.PASSTHROUGH, 0
server.override["OPEN"] = lambda header, body: OpenOut(7, how, number).encode()
server.override["GETXATTR"] = unknown
server.add(b"file", b"is not here")
attr = server.attr
def attributes(of):
    found = attr(of)
    return found if of == 1 else Attr(ino=of, size=os.stat(source).st_size, mode=found.mode, nlink=1)
server.attr = attributes

options = b"fd=%d,rootmode=40000,user_id=%d,group_id=%d" % (device, os.getuid(), os.getgid())
assert not libc.mount(b"test", b"mnt", b"fuse", 0, options)
server.start()
os.listdir("mnt")
"""

USING = """
fd = os.open(source, os.O_RDONLY)
directory, pipe = os.open("source", os.O_RDONLY), os.pipe()[0]
print(lend(99), lend(directory), lend(pipe), lend(fd, 1), take_back(0), take_back(99))
number = lend(fd)
os.close(fd)
with open(path) as file:
    print(number, repr(file.read()), os.fstat(file.fileno()).st_ino)
with open(path, "r+b") as file:
    file.write(b"WRITTEN")
    file.flush()
    os.fsync(file.fileno())
    print(open(source).read())
    mapped = mmap.mmap(file.fileno(), 0)
    mapped[:2] = b"mm"
    os.fsync(file.fileno())  # msync(2) would keep the interpreter, and the server with it
    print(open(source).read())
    del mapped
with open(path, "ab") as file:
    file.write(b" and more")
print(open(source).read(), os.stat(path).st_size)
held = open(path)
print(take_back(number), take_back(number), held.read())
print(told(open, path), server.log.count("OPEN") - server.log.count("RELEASE") > 0)
how = FOpen.PASSTHROUGH | FOpen.KEEP_CACHE
number = lend(os.open(source, os.O_RDONLY))
print(told(open, path))
print({"READ", "WRITE"} & set(server.log))
held.close()
libc.umount2(b"mnt", 2)
"""

GUARDED = """
MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
options = b"lowerdir=layered,upperdir=upper,workdir=work"
assert not libc.mount(b"overlay", b"layered", b"overlay", 0, options)
assert not libc.mount(b"locked", b"locked", None, MS_BIND, None)
assert not libc.mount(b"locked", b"locked", None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)
how = 0
print(lend(os.open("layered/file", os.O_RDONLY)), lend(os.open(path, os.O_PATH)))
how, source = FOpen.PASSTHROUGH, "locked/file"
number = lend(os.open(source, os.O_RDONLY))
print(open(path).read(), told(open, path, "r+"), open(source).read())
libc.umount2(b"mnt", 2)
"""

UNPERMITTED = """
from diorama.fuse.handles import CreateIn
how = FOpen.PASSTHROUGH
def create(header, body):
    wanted, name = CreateIn.decode(body), body[CreateIn.width() : -1]
    fd = os.open(source, wanted.flags & os.O_ACCMODE | os.O_CREAT, wanted.mode)
    return server.entry(server.add(name, mode=wanted.mode)) + OpenOut(7, how, lend(fd)).encode()
server.override["CREATE"] = create
for flags, mode in ((os.O_RDONLY, 0o200), (os.O_WRONLY, 0o400), (os.O_RDWR, 0)):
    source, path = f"source/{mode:o}", f"mnt/{mode:o}"
    fd = os.open(path, flags | os.O_CREAT, mode)
    told_of = (told(os.write, fd, b"content"), told(os.pread, fd, 9, 0))
    os.close(fd)
    os.chmod(source, 0o600)
    print(*told_of, open(source).read())
libc.umount2(b"mnt", 2)
"""


def lay(work: Path) -> None:
    (work / "mnt").mkdir()
    for name in ("upper", "work"):
        (work / name).mkdir()
    for name in ("source", "layered", "locked"):
        (work / name).mkdir()
        (work / name / "file").write_text("content of it")
        (work / name / "file").chmod(0o644)


def program(script: str) -> list[str]:
    paths = f"import sys; sys.path[:0] = {[*sys.path, str(Path(__file__).parents[1])]!r}\n"
    return [sys.executable, "-P", "-c", paths + LENDING + script]


@each_engine
def test_what_is_lent_is_read_and_written_in_the_place_of_the_server(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    out = bench.inside(way, program(USING))
    assert out.stderr == ""
    assert out.stdout.splitlines() == [
        "EBADF EISDIR EINVAL EINVAL EINVAL ENOENT",
        "1 'content of it' 2",
        "WRITTEN of it",
        "mmITTEN of it",
        "mmITTEN of it and more 22",
        "0 ENOENT mmITTEN of it and more",
        "EIO True",
        "EIO",
        "set()",
    ]


@each_engine
def test_what_is_lent_is_not_written_behind_layers_and_mounts(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    out = bench.inside(way, program(GUARDED))
    assert out.stderr == ""
    assert out.stdout.splitlines() == ["ELOOP ELOOP", "content of it EIO content of it"]


@each_engine
def test_what_is_made_without_permission_is_lent_as_the_server_has_it_open(bench: Bench, way: Way) -> None:
    """By who has no rights besides, as in a view of an ordinary user."""
    bench.prepare = lay
    bench.fresh()
    without = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]
    out = finish(bench.start([*without, *way(program(UNPERMITTED))]))
    assert out.stderr == ""
    assert out.stdout.splitlines() == ["EBADF b'' ", "7 EBADF content", "7 b'content' content"]
