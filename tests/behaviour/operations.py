"""Operations: a program that does to files what it is told, line by line, and tells what came of it.

Each line of the standard input is a list of operations as JSON, `[who, name, argument...]`; each line of
the output the list of their results: a value, or the name of an errno.  `who` is 0 for this process, 1 for a
second one that it starts.  All names are relative to a new directory, made by the operation `begin`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
LONG_AGO = 1_500_000_000
SLOTS = 4

descriptors: dict[int, int] = {}
maps: dict[int, mmap.mmap] = {}


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def digest(data: bytes) -> str:
    return f"{len(data)}:{hashlib.md5(data).hexdigest()[:8]}"


def fd_of(slot: int) -> int:
    return descriptors.get(slot, -1)


def data_of(length: int, byte: int) -> bytes:
    return bytes((byte + i // 7) % 251 for i in range(length))


def described(status: os.stat_result) -> list[Any]:
    """What of a status is the same on every file system."""
    kind = stat.S_IFMT(status.st_mode)
    old = status.st_mtime_ns if status.st_mtime < LONG_AGO else "recent"
    size = None if kind == stat.S_IFDIR else status.st_size
    return [oct(status.st_mode), status.st_nlink, size, old, status.st_uid, status.st_gid]


# -- operations: the functions by their names ------------------------------------------------------


def begin(directory: str) -> None:
    end()
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)


def end() -> None:
    for slot in list(maps):
        unmap(slot)
    for slot in list(descriptors):
        os.close(descriptors.pop(slot))


def leave(directory: str) -> None:
    end()
    os.chdir(os.path.dirname(directory))
    shutil.rmtree(directory)


def open_(slot: int, name: str, flags: int, mode: int) -> None:
    fd = os.open(name, flags | os.O_NONBLOCK, mode)  # there are FIFOs
    if slot in descriptors:
        os.close(descriptors[slot])
    descriptors[slot] = fd


def close(slot: int) -> None:
    os.close(descriptors.pop(slot, -1))


def dup(slot: int, other: int) -> None:
    fd = os.dup(fd_of(slot))
    if other in descriptors:
        os.close(descriptors[other])
    descriptors[other] = fd


def pread(slot: int, offset: int, length: int) -> str:
    return digest(os.pread(fd_of(slot), length, offset))


def pwrite(slot: int, offset: int, length: int, byte: int) -> int:
    return os.pwrite(fd_of(slot), data_of(length, byte), offset)


def read(slot: int, length: int) -> str:
    return digest(os.read(fd_of(slot), length))


def write(slot: int, length: int, byte: int) -> int:
    return os.write(fd_of(slot), data_of(length, byte))


def lseek(slot: int, offset: int, whence: int) -> int:
    # Each file system has its own idea of holes in directories, and of their end (tmpfs: none).
    if whence >= os.SEEK_END and not stat.S_ISREG(os.fstat(fd_of(slot)).st_mode):
        return -1
    if whence in (os.SEEK_DATA, os.SEEK_HOLE):
        os.fdatasync(fd_of(slot))  # what is written decides, and not what has been written back by now
    return os.lseek(fd_of(slot), offset, whence)


def resize(status: os.stat_result, change: Callable[[], None], size: int) -> str | None:
    """Truncate or extend what has another size, or may not be changed."""
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return "has it"
    return change()


def fallocate(slot: int, mode: int, offset: int, length: int) -> int:
    LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    return checked(LIBC.fallocate(fd_of(slot), mode, offset, length))


def copy_range(source: int, target: int, from_: int, to: int, length: int) -> int:
    return os.copy_file_range(fd_of(source), fd_of(target), length, from_, to)


def sendfile(source: int, target: int, offset: int, length: int) -> int:
    # What a file gets from itself while it is read depends on the file system (ext4, tmpfs).
    if os.path.sameopenfile(fd_of(source), fd_of(target)):
        return -1
    return os.sendfile(fd_of(target), fd_of(source), offset, length)


def map_(slot: int, length: int, private: bool) -> None:
    flags = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
    new = mmap.mmap(fd_of(slot), length, flags)
    unmap(slot)
    maps[slot] = new


def unmap(slot: int) -> None:
    found = maps.pop(slot, None)
    if found is not None:
        found.close()


def poke(slot: int, offset: int, length: int, byte: int) -> None:
    """Write into a map, as far as the file reaches: beyond is SIGBUS."""
    end = within(slot, offset, length)
    maps[slot][offset:end] = data_of(end - offset, byte)
    maps[slot].flush()


def poke_stamped(slot: int, offset: int, length: int, byte: int) -> None:
    poke(slot, offset, length, byte)
    os.utime(fd_of(slot))


def peek(slot: int, offset: int, length: int) -> str:
    end = within(slot, offset, length)
    return digest(maps[slot][offset:end])


def within(slot: int, offset: int, length: int) -> int:
    if slot not in maps or slot not in descriptors:
        raise OSError(errno.EBADF, "no map")
    # Of the file that is mapped, which may be open in this slot no longer.
    size = min(maps[slot].size(), len(maps[slot]))
    return max(offset, min(offset + length, size))


def lock(slot: int, kind: int, start: int, length: int) -> None:
    data = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
    fcntl.fcntl(fd_of(slot), fcntl.F_SETLK, data)


def flock(slot: int, kind: int) -> None:
    fcntl.flock(fd_of(slot), kind | fcntl.LOCK_NB)


def rename(old: str, new: str, flags: int) -> int:
    if not flags:
        os.rename(old, new)
        return 0
    return checked(LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags))


def utimens(name: str, seconds: int, nanoseconds: int) -> None:
    moment = seconds * 10**9 + nanoseconds
    os.utime(name, ns=(moment, moment), follow_symlinks=False)


def listdir(name: str) -> list[str]:
    return sorted(os.listdir(name))


def scan(name: str) -> list[list[Any]]:
    with os.scandir(name) as entries:
        return sorted([e.name, e.is_dir(follow_symlinks=False), e.is_symlink()] for e in entries)


def get_xattr(name: str, key: str) -> str:
    return os.getxattr(name, key, follow_symlinks=False).hex()


def set_xattr(name: str, key: str, value: str, flags: int) -> None:
    os.setxattr(name, key, value.encode(), flags, follow_symlinks=False)


def remove_xattr(name: str, key: str) -> None:
    os.removexattr(name, key, follow_symlinks=False)


def list_xattrs(name: str) -> list[str]:
    found = os.listxattr(name, follow_symlinks=False)
    return sorted(key for key in found if key.startswith("user."))


def same_file(one: str, other: str) -> bool:
    return os.path.samefile(one, other)


def tree() -> dict[str, Any]:
    """All that is there."""
    found: dict[str, Any] = {}
    for top, directories, files in os.walk("."):
        for name in directories + files:
            path = os.path.join(top, name)
            status = os.lstat(path)
            content: Any = None
            if stat.S_ISREG(status.st_mode):
                content = content_of(path)
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[path] = [described(status), content]
    return found


def content_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return digest(file.read())
    except OSError as error:
        return errno.errorcode[error.errno or 0]


OPERATIONS: dict[str, Any] = {
    "access": os.access,
    "begin": begin,
    "chmod": os.chmod,
    "close": close,
    "copy": copy_range,
    "dup": dup,
    "end": end,
    "fallocate": fallocate,
    "fchmod": lambda slot, mode: os.fchmod(fd_of(slot), mode),
    "fdatasync": lambda slot: os.fdatasync(fd_of(slot)),
    "flock": flock,
    "fstat": lambda slot: described(os.fstat(fd_of(slot))),
    "fsync": lambda slot: os.fsync(fd_of(slot)),
    "ftruncate": lambda slot, size: os.ftruncate(fd_of(slot), size),
    "getxattr": get_xattr,
    "leave": leave,
    "link": lambda old, new: os.link(old, new, follow_symlinks=False),
    "listdir": listdir,
    "listxattr": list_xattrs,
    "lock": lock,
    "lseek": lseek,
    "lstat": lambda name: described(os.lstat(name)),
    "map": map_,
    "mkdir": os.mkdir,
    "mkfifo": os.mkfifo,
    "open": open_,
    "peek": peek,
    "poke": poke,
    "poke_stamped": poke_stamped,
    "pread": pread,
    "pwrite": pwrite,
    "read": read,
    "readlink": os.readlink,
    "removexattr": remove_xattr,
    "rename": rename,
    "resize": lambda name, size: resize(os.stat(name), lambda: os.truncate(name, size), size),
    "resize_open": lambda slot, size: resize(
        os.fstat(fd_of(slot)), lambda: os.ftruncate(fd_of(slot), size), size
    ),
    "rmdir": os.rmdir,
    "same": same_file,
    "scan": scan,
    "sendfile": sendfile,
    "setxattr": set_xattr,
    "stat": lambda name: described(os.stat(name)),
    "symlink": os.symlink,
    "tree": tree,
    "truncate": os.truncate,
    "unlink": os.unlink,
    "unmap": unmap,
    "utimens": utimens,
    "write": write,
}


def perform(name: str, arguments: list[Any]) -> Any:
    try:
        return OPERATIONS[name](*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError as error:  # of mmap: too long for the file, or no length
        return f"ValueError {error}"


class Other:
    """A second process, which does what is meant for it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def perform(self, operation: list[Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([[0, *operation]]).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())[0]

    def close(self) -> None:
        self.process.communicate()


def main() -> None:
    other: Other | None = None
    os.umask(0o022)
    for line in sys.stdin.buffer:
        results: list[Any] = []
        for who, name, *arguments in json.loads(line):
            if who and other is None:
                other = Other()
            results.append(other.perform([name, *arguments]) if who and other else perform(name, arguments))
        sys.stdout.write(json.dumps(results) + "\n")
        sys.stdout.flush()
    if other is not None:
        other.close()


if __name__ == "__main__":
    main()
