"""A mounted archive answers as the unpacked one does."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path

import pytest

from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, O_PATH, O_TMPFILE, OpenHow
from diorama.abi.stat import Stat
from diorama.catalogue.files import FChMod, FChModAt2, FStatAt, OpenAt2, Truncate
from diorama.catalogue.mounts import Mount
from diorama.catalogue.paths import LinkAt, MkDirAt, RenameAt2, SymlinkAt, UnlinkAt
from diorama.catalogue.polling import InotifyAddWatch
from diorama.catalogue.rings import IoUringSetup
from diorama.catalogue.xattr import FListXattr, GetXattr, ListXattr, SetXattr
from diorama.errors import Unsupported
from dispatch.support import Inside
from dispatch.support import errno_of as code

ALL = ["", "sub", "sub/deep", "sub/deep/file", "readme", "large", "second", "empty", "link", "sub/../readme"]


@pytest.fixture
def mnt(tmp_path: Path) -> Path:
    return tmp_path / "mnt"


def shown(status: Stat | os.stat_result) -> tuple[int, ...]:
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return status.st_mode, status.st_nlink, status.st_uid, status.st_gid, size, int(status.st_mtime)


# -- content --------------------------------------------------------------------------------------


def test_files_are_read(inside: Inside, unpacked: Path, mnt: Path) -> None:
    for name in ("readme", "large", "sub/deep/file", "link"):
        assert inside.read(mnt / name) == (unpacked / name).read_bytes()


def test_each_open_has_its_own_offset_and_content_can_be_mapped(inside: Inside, mnt: Path) -> None:
    first, second = inside.open(mnt / "large"), inside.open(mnt / "large")
    assert os.read(first, 10) == bytes(range(10))
    assert os.read(second, 10) == bytes(range(10))
    assert os.lseek(first, 0, os.SEEK_END) == 256_000
    with mmap.mmap(second, 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[256:266] == bytes(range(10))
    os.close(first)
    os.close(second)


def test_a_file_cannot_be_changed_through_its_descriptor(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "readme")
    assert code(os.write, fd, b"x") == errno.EBADF
    assert code(inside.open, f"/proc/self/fd/{fd}", os.O_RDWR) == errno.EROFS
    os.close(fd)


def test_a_descriptor_outlives_the_cache(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "readme")
    inside.mediator.files.standins.close()
    assert os.read(fd, 100) == b"hello\n"
    assert inside.fstat(fd).st_size == 6
    assert inside.read(mnt / "readme") == b"hello\n"
    os.close(fd)


# -- status ---------------------------------------------------------------------------------------


def test_status_is_that_of_the_unpacked_files(inside: Inside, unpacked: Path, mnt: Path) -> None:
    for name in [*ALL, "dangling", "absolute", "loop"]:
        assert shown(inside.lstat(mnt / name)) == shown((unpacked / name).lstat()), name
        if name not in ("dangling", "loop"):
            assert shown(inside.stat(mnt / name)) == shown((unpacked / name).stat()), name


def test_status_by_descriptor_is_that_by_path(inside: Inside, mnt: Path) -> None:
    for name in ("readme", "sub", "link"):
        fd = inside.open(mnt / name)
        assert inside.fstat(fd) == inside.stat(mnt / name)
        assert inside.stat("", AT_EMPTY_PATH, fd) == inside.stat(mnt / name)
        duplicate = os.dup(fd)
        os.close(fd)
        assert inside.fstat(duplicate) == inside.stat(mnt / name)
        os.close(duplicate)


def test_hard_links_share_an_inode_and_devices_tell_mounts_apart(inside: Inside, mnt: Path) -> None:
    assert inside.stat(mnt / "readme").st_ino == inside.stat(mnt / "second").st_ino
    assert inside.stat(mnt).st_dev == inside.stat(mnt / "sub").st_dev
    assert inside.stat(mnt).st_dev != mnt.parent.stat().st_dev


def test_statx_and_statfs(inside: Inside, mnt: Path) -> None:
    assert inside.statx(mnt / "readme").stx_size == 6
    assert inside.statx(mnt / "readme").stx_ino == inside.stat(mnt / "readme").st_ino
    assert inside.statfs(mnt / "sub").f_flags & os.ST_RDONLY
    assert inside.statfs(mnt).f_files > 5


def test_access(inside: Inside, mnt: Path) -> None:
    assert inside.access(mnt / "readme", os.R_OK) == 0
    assert inside.access(mnt / "sub/program", os.X_OK) == 0
    assert code(inside.access, mnt / "readme", os.X_OK) == errno.EACCES
    assert code(inside.access, mnt / "readme", os.W_OK) == errno.EROFS
    assert code(inside.access, mnt / "none", os.F_OK) == errno.ENOENT


def test_what_leads_nowhere(inside: Inside, mnt: Path) -> None:
    assert code(inside.stat, mnt / "none") == errno.ENOENT
    assert code(inside.stat, mnt / "none/x") == errno.ENOENT
    assert code(inside.stat, mnt / "readme/x") == errno.ENOTDIR
    assert code(inside.stat, mnt / "loop") == errno.ELOOP
    assert code(inside.stat, mnt / "dangling") == errno.ENOENT
    assert code(inside.stat, f"{mnt}/readme/") == errno.ENOTDIR
    assert code(inside.stat, mnt / "readme", 0x8000) == errno.EINVAL


def test_a_bad_address_is_a_fault(inside: Inside, mnt: Path) -> None:
    out = inside.tracee.out(Stat)
    out.address = 16
    assert code(inside.ask, FStatAt(AT_FDCWD, os.fsencode(mnt), out, 0)) == errno.EFAULT


# -- directories ----------------------------------------------------------------------------------


def test_listings_are_those_of_the_unpacked_directories(inside: Inside, unpacked: Path, mnt: Path) -> None:
    for name in ("", "sub", "empty"):
        found = inside.listdir(mnt / name)
        assert sorted(entry.name for entry in found) == sorted(
            [b".", b"..", *map(os.fsencode, os.listdir(unpacked / name))]
        )
        for entry in found:
            if entry.name != b"..":
                status = inside.lstat(mnt / name / os.fsdecode(entry.name))
                assert (entry.ino, entry.type) == (status.st_ino, status.st_mode >> 12)


def test_a_listing_goes_on_where_it_was(inside: Inside, mnt: Path) -> None:
    whole = inside.listdir(mnt)
    assert inside.listdir(mnt, size=60) == whole
    fd = inside.open(mnt, os.O_RDONLY | os.O_DIRECTORY)
    assert code(inside.entries, fd, 20) == errno.EINVAL
    first = inside.entries(fd, 80)
    os.lseek(fd, first[0].off, os.SEEK_SET)
    assert inside.entries(fd)[0] == whole[1]
    os.lseek(fd, 0, os.SEEK_SET)
    assert inside.entries(fd) == whole
    assert inside.entries(fd) == []
    os.close(fd)


def test_the_current_directory(inside: Inside, mnt: Path) -> None:
    inside.chdir(mnt / "sub")
    assert inside.getcwd() == os.fsencode(mnt / "sub")
    assert inside.read("deep/file") == b"deep"
    assert inside.read("../readme") == b"hello\n"
    assert inside.readlink("/proc/self/cwd") == os.fsencode(mnt / "sub")
    assert code(inside.getcwd, 4) == errno.ERANGE
    inside.chdir("deep")
    assert inside.getcwd() == os.fsencode(mnt / "sub/deep")
    inside.chdir("../../..")
    assert inside.getcwd() == os.fsencode(mnt.parent)
    assert inside.stat("mnt") == inside.stat(mnt)


def test_a_directory_descriptor_can_become_the_current_directory(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "sub", os.O_RDONLY | os.O_DIRECTORY)
    inside.fchdir(fd)
    assert inside.getcwd() == os.fsencode(mnt / "sub")
    home = os.open(mnt.parent, os.O_RDONLY)
    inside.fchdir(home)
    assert inside.getcwd() == os.fsencode(mnt.parent)
    assert code(inside.chdir, mnt / "readme") == errno.ENOTDIR
    assert code(inside.chdir, mnt / "none") == errno.ENOENT
    os.close(fd)
    os.close(home)


def test_paths_begin_at_directory_descriptors(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "sub", O_PATH | os.O_DIRECTORY)
    assert inside.stat("deep/file", 0, fd) == inside.stat(mnt / "sub/deep/file")
    inner = inside.open("deep/../../readme", dirfd=fd)
    assert os.read(inner, 10) == b"hello\n"
    assert inside.readlink(f"/proc/self/fd/{fd}") == os.fsencode(mnt / "sub")
    assert inside.readlink(f"/proc/self/fd/{inner}") == os.fsencode(mnt / "readme")
    assert code(inside.stat, "x", 0, inner) == errno.ENOTDIR
    os.close(fd)
    os.close(inner)


# -- links ----------------------------------------------------------------------------------------


def test_links_are_read(inside: Inside, mnt: Path) -> None:
    assert inside.readlink(mnt / "link") == b"sub/deep/file"
    assert inside.readlink(mnt / "link", 3) == b"sub"
    assert code(inside.readlink, mnt / "readme") == errno.EINVAL
    assert code(inside.readlink, mnt / "none") == errno.ENOENT
    assert inside.read(mnt / "absolute") == Path("/etc/passwd").read_bytes()


def test_a_link_can_be_opened_as_a_path(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "link", O_PATH | os.O_NOFOLLOW)
    assert inside.fstat(fd).st_ino == inside.lstat(mnt / "link").st_ino
    assert inside.readlink("", dirfd=fd) == b"sub/deep/file"
    assert code(inside.open, mnt / "link", os.O_NOFOLLOW) == errno.ELOOP
    os.close(fd)


# -- writing and what is not supported ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("readme", os.O_WRONLY, errno.EROFS),
        ("readme", os.O_RDWR, errno.EROFS),
        ("readme", os.O_TRUNC, errno.EROFS),
        ("new", os.O_CREAT | os.O_WRONLY, errno.EROFS),
        ("readme", os.O_CREAT | os.O_EXCL, errno.EEXIST),
        ("sub", os.O_WRONLY, errno.EISDIR),
        ("sub", O_TMPFILE | os.O_RDWR, errno.EROFS),
        ("readme", os.O_DIRECTORY, errno.ENOTDIR),
    ],
)
def test_opening_to_write_fails(inside: Inside, mnt: Path, name: str, flags: int, expected: int) -> None:
    assert code(inside.open, mnt / name, flags) == expected


def test_what_need_not_be_made_can_be_opened_with_o_creat(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "readme", os.O_RDONLY | os.O_CREAT)
    assert os.read(fd, 3) == b"hel"
    os.close(fd)


def test_changes_are_refused(inside: Inside, mnt: Path) -> None:
    at = os.fsencode(mnt) + b"/"
    here = AT_FDCWD
    other = os.fsencode(mnt.parent / "new")
    assert code(inside.ask, MkDirAt(here, at + b"new", 0o755)) == errno.EROFS
    assert code(inside.ask, MkDirAt(here, at + b"sub", 0o755)) == errno.EEXIST
    assert code(inside.ask, MkDirAt(here, os.fsencode(mnt), 0o755)) == errno.EEXIST
    assert code(inside.ask, UnlinkAt(here, at + b"readme", 0)) == errno.EROFS
    assert code(inside.ask, UnlinkAt(here, os.fsencode(mnt), 0)) == errno.EISDIR
    assert code(inside.ask, UnlinkAt(here, os.fsencode(mnt), AT_REMOVEDIR)) == errno.EBUSY
    assert code(inside.ask, SymlinkAt(b"x", here, at + b"new")) == errno.EROFS
    assert code(inside.ask, RenameAt2(here, at + b"readme", here, at + b"new", 0)) == errno.EROFS
    assert code(inside.ask, RenameAt2(here, at + b"readme", here, other, 0)) == errno.EXDEV
    assert code(inside.ask, LinkAt(here, at + b"readme", here, other, 0)) == errno.EXDEV
    assert code(inside.ask, FChModAt2(here, at + b"readme", 0o600, 0)) == errno.EROFS
    assert code(inside.ask, FChModAt2(here, at + b"none", 0o600, 0)) == errno.ENOENT
    assert code(inside.ask, Truncate(at + b"readme", 0)) == errno.EROFS
    fd = inside.open(mnt / "readme")
    assert code(inside.ask, FChMod(fd, 0o600)) == errno.EROFS
    os.close(fd)


def test_there_are_no_extended_attributes(inside: Inside, mnt: Path) -> None:
    path, buffer = os.fsencode(mnt / "readme"), inside.tracee.buffer(10)
    assert code(inside.ask, GetXattr(path, b"user.x", buffer, 10)) == errno.EOPNOTSUPP
    assert inside.ask(ListXattr(path, buffer, 10)) == 0
    assert code(inside.ask, SetXattr(path, b"user.x", buffer, 10, 0)) == errno.EROFS
    fd = inside.open(mnt / "readme")
    assert inside.ask(FListXattr(fd, buffer, 10)) == 0
    os.close(fd)


def test_what_the_view_cannot_do_is_refused_with_a_warning(inside: Inside, mnt: Path) -> None:
    with pytest.raises(Unsupported) as caught:
        inside.ask(IoUringSetup(8, inside.tracee.buffer(120)))  # type: ignore[arg-type]
    assert caught.value.errno == errno.ENOSYS
    with pytest.raises(Unsupported) as caught:
        inside.ask(Mount(b"none", os.fsencode(mnt), b"tmpfs", 0, 0))
    assert caught.value.errno == errno.EPERM


def test_a_watch_is_accepted(inside: Inside, mnt: Path) -> None:
    outcome = inside.outcome(InotifyAddWatch(3, os.fsencode(mnt / "sub"), 1))
    assert b"diorama-" in outcome.path


def test_openat2_restricts_the_way(inside: Inside, mnt: Path) -> None:
    fd = inside.open(mnt / "sub", O_PATH)

    def open2(path: bytes, resolve: int) -> int:
        how = OpenHow(os.O_RDONLY, 0, resolve)
        memory = inside.tracee.memory
        pointer = type(inside.tracee.out(OpenHow))(
            memory.place(how.pack(inside.tracee.abi)), OpenHow, inside.tracee.abi, "", memory
        )
        return inside.ask(OpenAt2(fd, path, pointer, 24))  # type: ignore[arg-type]

    inner = open2(b"deep/file", 0x08)
    assert os.read(inner, 10) == b"deep"
    os.close(inner)
    assert code(open2, b"../readme", 0x08) == errno.EXDEV
    os.close(fd)
