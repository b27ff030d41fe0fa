"""Xattrs: extended attributes of files."""

from typing import Annotated

from diorama.abi import fcntl
from diorama.catalogue.kinds import AtFlags, AtPath, DirFd, Fd, Flags, LinkPath, Path, Size, Text, always
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, OutBuffer

XattrFlags = Annotated[int, Flags(Names(fcntl, "XATTR_"))]


@request(man="setxattr(2)", writes=always, forms={"setxattr(path, name, value, size, flags)": {}})
class SetXattr(Request):
    """Set an attribute of a file."""

    path: Path
    name: Text
    value: InBuffer
    size: Size
    flags: XattrFlags


@request(man="setxattr(2)", writes=always, forms={"lsetxattr(path, name, value, size, flags)": {}})
class LSetXattr(Request):
    """Set an attribute of a file, or of a symbolic link itself."""

    path: LinkPath
    name: Text
    value: InBuffer
    size: Size
    flags: XattrFlags


@request(man="setxattr(2)", writes=always, forms={"fsetxattr(fd, name, value, size, flags)": {}})
class FSetXattr(Request):
    """Set an attribute of an open file."""

    fd: Fd
    name: Text
    value: InBuffer
    size: Size
    flags: XattrFlags


@request(man="setxattrat(2)", writes=always, forms={
    "setxattrat(dirfd, path, flags, name, arguments, size)": {},
})
class SetXattrAt(Request):
    """Set an attribute of a file; the value stands in a `struct xattr_args`."""

    dirfd: DirFd
    path: AtPath
    flags: AtFlags
    name: Text
    arguments: InBuffer
    size: Size


@request(man="getxattr(2)", forms={"getxattr(path, name, value, size)": {}})
class GetXattr(Request):
    """Get an attribute of a file."""

    path: Path
    name: Text
    value: OutBuffer
    size: Size


@request(man="getxattr(2)", forms={"lgetxattr(path, name, value, size)": {}})
class LGetXattr(Request):
    """Get an attribute of a file, or of a symbolic link itself."""

    path: LinkPath
    name: Text
    value: OutBuffer
    size: Size


@request(man="getxattr(2)", forms={"fgetxattr(fd, name, value, size)": {}})
class FGetXattr(Request):
    """Get an attribute of an open file."""

    fd: Fd
    name: Text
    value: OutBuffer
    size: Size


@request(man="getxattrat(2)", forms={"getxattrat(dirfd, path, flags, name, arguments, size)": {}})
class GetXattrAt(Request):
    """Get an attribute of a file; the buffer stands in a `struct xattr_args`."""

    dirfd: DirFd
    path: AtPath
    flags: AtFlags
    name: Text
    arguments: InBuffer
    size: Size


@request(man="listxattr(2)", forms={"listxattr(path, names, size)": {}})
class ListXattr(Request):
    """List the attributes of a file."""

    path: Path
    names: OutBuffer
    size: Size


@request(man="listxattr(2)", forms={"llistxattr(path, names, size)": {}})
class LListXattr(Request):
    """List the attributes of a file, or of a symbolic link itself."""

    path: LinkPath
    names: OutBuffer
    size: Size


@request(man="listxattr(2)", forms={"flistxattr(fd, names, size)": {}})
class FListXattr(Request):
    """List the attributes of an open file."""

    fd: Fd
    names: OutBuffer
    size: Size


@request(man="listxattrat(2)", forms={"listxattrat(dirfd, path, flags, names, size)": {}})
class ListXattrAt(Request):
    """List the attributes of a file."""

    dirfd: DirFd
    path: AtPath
    flags: AtFlags
    names: OutBuffer
    size: Size


@request(man="removexattr(2)", writes=always, forms={"removexattr(path, name)": {}})
class RemoveXattr(Request):
    """Remove an attribute of a file."""

    path: Path
    name: Text


@request(man="removexattr(2)", writes=always, forms={"lremovexattr(path, name)": {}})
class LRemoveXattr(Request):
    """Remove an attribute of a file, or of a symbolic link itself."""

    path: LinkPath
    name: Text


@request(man="removexattr(2)", writes=always, forms={"fremovexattr(fd, name)": {}})
class FRemoveXattr(Request):
    """Remove an attribute of an open file."""

    fd: Fd
    name: Text


@request(man="removexattrat(2)", writes=always, forms={"removexattrat(dirfd, path, flags, name)": {}})
class RemoveXattrAt(Request):
    """Remove an attribute of a file."""

    dirfd: DirFd
    path: AtPath
    flags: AtFlags
    name: Text
