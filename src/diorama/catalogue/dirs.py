"""Directories: reading their entries, in the layouts of `diorama.abi.dirent`."""

from diorama.catalogue.kinds import Fd, Size
from diorama.catalogue.model import Request, request
from diorama.catalogue.pointers import OutBuffer


@request(man="getdents64(2)", forms={"getdents64(fd, buffer, size)": {}})
class GetDents64(Request):
    """Read directory entries, laid out as `struct linux_dirent64`."""

    fd: Fd
    buffer: OutBuffer
    size: Size


@request(man="getdents(2)", forms={"getdents(fd, buffer, size)": {}})
class GetDents(Request):
    """Read directory entries, laid out as `struct linux_dirent`."""

    fd: Fd
    buffer: OutBuffer
    size: Size


@request(man="readdir(2)", forms={"readdir(fd, buffer, size)": {}})
class ReadDir(Request):
    """Read one directory entry, laid out as `struct old_linux_dirent`; `size` is ignored. i386 only."""

    fd: Fd
    buffer: OutBuffer
    size: Size
