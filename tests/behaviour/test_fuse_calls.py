"""Calls in FUSE mounts are judged where the kernel's FUSE has them judged: by the server, or by the kernel.

Each test is run by a program of Python (`behaviour.served`).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

import pytest

from behaviour.harness import Bench, Way
from behaviour.served import Handles, Served, refuse
from behaviour.test_fuse import each_engine
from behaviour.test_fuse import serve as serve_in_view
from diorama.abi.fcntl import RENAME_NOREPLACE
from diorama.fuse.attributes import AccessIn, SetAttrIn, SetXattrIn
from diorama.fuse.flags import FAttr, FOpen
from diorama.fuse.naming import MknodIn, Rename2In
from diorama.fuse.wire import Attr
from modules.fuse_server import REGULAR

# A list as acl(5) has it: version, then tag, permissions and id of each entry.
ACL = bytes.fromhex(
    "02000000 01000600ffffffff 02000400e8030000 04000400ffffffff 10000400ffffffff 20000000ffffffff"
)

RENAMING = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    def rename(old, new, flags):
        done = libc.renameat2(-100, old, -100, new, flags)
        return errno.errorcode[ctypes.get_errno()] if done else done
"""


# -- names ----------------------------------------------------------------------------------------


def test_a_server_that_keeps_what_is_there_is_asked_to(served: Served) -> None:
    """Others of the server may have made the name since: then it is EEXIST, and nothing is lost."""
    served.server.add(b"file", b"content")
    asked: list[tuple[int, bytes]] = []

    def rename2(header: Any, body: bytes) -> bytes:
        asked.append((Rename2In.decode(body).flags, body[Rename2In.width() :]))
        if asked[-1][1].endswith(b"taken\0"):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        served.server.nodes[1].children[b"free"] = served.server.nodes[1].children.pop(b"file")
        return b""

    served.server.override["RENAME2"] = rename2
    script = RENAMING + """
    print(rename(b"mnt/file", b"mnt/taken", 1), rename(b"mnt/file", b"mnt/free", 1), os.listdir("mnt"))
    """
    assert served.run(script) == ["EEXIST 0 ['free']"]
    assert asked == [(RENAME_NOREPLACE, b"file\0taken\0"), (RENAME_NOREPLACE, b"file\0free\0")]
    assert served.requests("RENAME") == []


def test_a_server_that_cannot_keep_what_is_there_is_not_asked_to_rename(served: Served) -> None:
    served.server.add(b"file", b"content")
    script = RENAMING + """
    print(rename(b"mnt/file", b"mnt/free", 1), os.listdir("mnt"))
    """
    assert served.run(script) == ["EINVAL ['file']"]
    assert served.requests("RENAME") == []


def test_what_a_directory_inherits_is_for_the_server(served: Served) -> None:
    served.server.add(b"shared", mode=stat.S_IFDIR | 0o2777)
    script = """
        os.umask(0o022)
        os.mkdir("mnt/shared/directory")
        print(oct(os.stat("mnt/shared/directory").st_mode))
    """
    assert served.run(script) == ["0o40755"]


def test_what_is_made_as_something_else_is_an_error(served: Served) -> None:
    """Some servers make a regular file of all but directories."""

    def make(header: Any, body: bytes) -> bytes:
        return served.server.entry(served.server.add(body[MknodIn.width() : -1], parent=header.nodeid))

    served.server.override["MKNOD"] = make
    script = """
        print(told(os.mkfifo, "mnt/fifo"), oct(os.stat("mnt/fifo").st_mode))
    """
    assert served.run(script) == [f"EIO {oct(REGULAR)}"]


# -- permissions ----------------------------------------------------------------------------------


def test_access_is_for_the_server(served: Served) -> None:
    served.server.add(b"file", mode=stat.S_IFREG)
    served.server.add(b"directory", mode=stat.S_IFDIR | 0o777)
    asked: list[int] = []

    def judge(header: Any, body: bytes) -> bytes:
        asked.append(AccessIn.decode(body).mask)
        if asked[-1] & ~os.R_OK:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return b""

    served.server.override["ACCESS"] = judge
    script = """
        print([os.access("mnt/file", mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.R_OK | os.W_OK)])
        print(told(os.chdir, "mnt/directory"), told(os.fchdir, os.open("mnt/directory", os.O_RDONLY)))
    """
    assert served.run(script) == ["[True, True, False, False]", "EACCES EACCES"]
    assert asked == [os.R_OK, os.W_OK, os.R_OK | os.W_OK, os.X_OK, os.X_OK]


def test_a_server_that_knows_no_access_has_nothing_against_it(served: Served) -> None:
    served.server.add(b"file", mode=stat.S_IFREG)
    script = """
        print(os.access("mnt/file", os.W_OK), os.access("mnt/file", os.X_OK), told(os.chdir, "mnt"))
    """
    assert served.run(script) == ["True True None"]
    assert served.requests("ACCESS") == ["ACCESS"]


# -- attributes -----------------------------------------------------------------------------------


def test_only_a_device_has_a_number(served: Served) -> None:
    """Some servers tell any for others."""
    served.server.add(b"file")
    served.server.add(b"device", mode=stat.S_IFCHR | 0o600)

    def tell(number: int) -> Attr:
        return Attr(ino=number, mode=served.server.nodes[number].mode, nlink=1, rdev=0x103)

    served.server.attr = tell  # type: ignore[method-assign]
    script = """
        for name in ("mnt/file", "mnt/file", "mnt/device", "mnt/device"):
            print(os.stat(name).st_rdev)
    """
    assert served.run(script) == ["0", "0", "259", "259"]


def test_who_may_give_a_file_away_is_for_the_server(served: Served) -> None:
    served.server.add(b"file")
    asked: list[tuple[int, int, int]] = []

    def set_owner(header: Any, body: bytes) -> bytes:
        wanted = SetAttrIn.decode(body)
        asked.append((wanted.valid & (FAttr.UID | FAttr.GID), wanted.uid, wanted.gid))
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    served.server.override["SETATTR"] = set_owner
    assert served.run('print(told(os.chown, "mnt/file", 12345, 54321))') == ["EROFS"]
    assert asked == [(FAttr.UID | FAttr.GID, 12345, 54321)]


def test_times_are_those_that_the_server_keeps(served: Served) -> None:
    """This one keeps no fractions, and tells so."""
    script = """
        with open("mnt/file", "w") as file:
            file.write("content")
        print(os.stat("mnt/file").st_mtime_ns % 10**9)
        os.utime("mnt/file", ns=(10**18, 10**18 + 7))
        print(os.stat("mnt/file").st_mtime_ns)
        with open("mnt/file", "a") as file:
            file.write(" and more")
            file.flush()
            print(os.stat("mnt/file").st_size)
        print(os.stat("mnt/file").st_mtime_ns % 10**9, os.stat("mnt/file").st_size)
    """
    assert served.run(script) == ["0", str(10**18), "16", "0 16"]


# -- extended attributes --------------------------------------------------------------------------


def test_a_server_without_extended_attributes_has_no_list_of_them(served: Served) -> None:
    served.server.add(b"file")
    served.server.override |= {"LISTXATTR": refuse(errno.EOPNOTSUPP), "GETXATTR": refuse(errno.ENOSYS)}
    script = """
        print(told(os.listxattr, "mnt/file"), told(os.getxattr, "mnt/file", "user.a"))
        print(told(os.getxattr, "mnt/file", "system.posix_acl_access"))
    """
    assert served.run(script) == ["ENOTSUP ENOTSUP", "ENODATA"]


def test_a_server_that_supports_no_access_control_lists_is_heard(served: Served) -> None:
    served.server.add(b"file")
    served.server.override["GETXATTR"] = refuse(errno.EOPNOTSUPP)
    script = 'print(told(os.getxattr, "mnt/file", "system.posix_acl_access"))'
    assert served.run(script) == ["ENOTSUP"]


def test_access_control_lists_are_for_the_server(served: Served) -> None:
    nodes = served.server.nodes
    served.server.attr = lambda number: Attr(  # type: ignore[method-assign]
        ino=number, mode=nodes[number].mode, nlink=1, uid=os.getuid()
    )
    served.server.add(b"file")
    served.server.add(b"directory", mode=stat.S_IFDIR | 0o777)
    lists: dict[bytes, bytes] = {}

    def set_one(header: Any, body: bytes) -> bytes:
        name, _, value = body[SetXattrIn.width("short") :].partition(b"\0")
        lists[name] = value
        return b""

    def get_one(header: Any, body: bytes) -> bytes:
        value = lists.get(body[8:-1])
        if value is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return value

    def remove_one(header: Any, body: bytes) -> bytes:
        del lists[body[:-1]]
        return b""

    served.server.override |= {"SETXATTR": set_one, "GETXATTR": get_one, "REMOVEXATTR": remove_one}
    script = f"""
        acl, access, default = {ACL!r}, "system.posix_acl_access", "system.posix_acl_default"
        print(told(os.getxattr, "mnt/file", access))
        print(told(os.setxattr, "mnt/file", access, acl), os.getxattr("mnt/file", access) == acl)
        print(told(os.removexattr, "mnt/file", access), told(os.getxattr, "mnt/file", access))
        print(told(os.setxattr, "mnt/file", default, acl), told(os.removexattr, "mnt/file", default))
        print([told(os.setxattr, "mnt/file", access, wrong) for wrong in (acl[:-2], acl[:12])])
        print(told(os.setxattr, "mnt/directory", default, acl), os.getxattr("mnt/directory", default) == acl)
    """
    assert served.run(script) == [
        "ENODATA", "None True", "None ENODATA", "EACCES None", "['EINVAL', 'EINVAL']", "None True",
    ]  # fmt: skip
    assert lists == {b"system.posix_acl_default": ACL}


# -- what the kernel answers by itself ------------------------------------------------------------

ASKING = """
    import array
    def left(fd):
        found = array.array("i", [-1])
        fcntl.ioctl(fd, 0x541B, found)  # FIONREAD
        return found[0]
    fd = os.open("mnt/file", os.O_RDONLY)
    os.read(fd, 3)
    print(left(fd))
"""


@pytest.mark.parametrize("how", [0, FOpen.DIRECT_IO], ids=["cached", "direct"])
def test_what_is_left_to_read_is_not_asked_of_the_server(served: Served, how: int) -> None:
    served.server.add(b"file", b"0123456789")
    Handles(served.server, how)
    served.server.override["IOCTL"] = refuse(errno.EIO)
    assert served.run(ASKING) == ["7"]
    assert served.requests("IOCTL") == []


@each_engine
def test_what_a_mount_does_not_let_do_is_told(bench: Bench, way: Way) -> None:
    """As fusermount3(1) mounts it, and with an option of mount(8)."""
    script = """
        python3 -c 'import os; flags = os.statvfs("mnt").f_flag; print(flags & 6, flags & 1024, flags & 4096)'
    """
    assert serve_in_view(bench, way, "bindfs -f source mnt", script).stdout == "6 0 4096\n"
    assert serve_in_view(bench, way, "bindfs -f -o noatime source mnt", script).stdout == "6 1024 0\n"


def test_what_cannot_be_written_since_it_is_run_is_not_open_at_the_server(served: Served) -> None:
    """Who has tried ends without another call that is seen, and others go on."""
    handles = Handles(served.server)
    script = """
        subprocess.run(["cp", "/bin/sleep", "mnt/program"])
        program = subprocess.Popen(["mnt/program", "1000"])
        print(subprocess.run(["sh", "-c", "echo >> mnt/program"], stderr=subprocess.PIPE).returncode)
        os.unlink("mnt/program")
        program.kill()
        program.wait()
        os.mkdir("mnt/ended")
        sys.stdin.read()
    """
    program = served.start(script)
    served.wait(lambda: b"ended" in served.server.nodes[1].children)
    served.wait(lambda: len(handles.released) == len(handles.flags))
    assert program.communicate(timeout=50) == (b"2\n", b"")
