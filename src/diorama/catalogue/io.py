"""Input and output: moving bytes through descriptors."""

from typing import Annotated

from diorama.abi import fcntl, io
from diorama.abi.io import FdPair, Number
from diorama.catalogue.commands import FcntlArgument, IoctlArgument, IoctlRequest
from diorama.catalogue.handles import InOut, Out
from diorama.catalogue.kinds import Address, Choice, Fd, Flags, Offset, Size, UInt, always
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, InIoVecs, OutBuffer, OutIoVecs

Whence = Annotated[int, Choice(Names(fcntl, "SEEK_"))]
TransferFlags = Annotated[int, Flags(Names(io, "RWF_"))]
SpliceFlags = Annotated[int, Flags(Names(io, "SPLICE_F_"))]
AllocateMode = Annotated[int, Flags(Names(fcntl, "FALLOC_FL_"))]
Advice = Annotated[int, Choice(Names(fcntl, "POSIX_FADV_"))]
LockOperation = Annotated[int, Flags(Names(fcntl, "LOCK_"))]
SyncRangeFlags = Annotated[int, Flags(Names(fcntl, "SYNC_FILE_RANGE_"))]
PipeFlags = Annotated[
    int, Flags(Names(fcntl, "O_CLOEXEC", "O_DIRECT", "O_NONBLOCK", without=("O_DIRECTORY",)))
]
FcntlCommand = Annotated[
    int, Choice(Names(fcntl, "F_", without=("F_OK", "F_RDLCK", "F_WRLCK", "F_UNLCK", "F_SEAL_SEAL")))
]


@request(man="read(2)", forms={"read(fd, buffer, size)": {}})
class Read(Request):
    """Read bytes."""

    fd: Fd
    buffer: OutBuffer
    size: Size


@request(man="write(2)", forms={"write(fd, buffer, size)": {}})
class Write(Request):
    """Write bytes."""

    fd: Fd
    buffer: InBuffer
    size: Size


@request(man="pread(2)", forms={"pread64(fd, buffer, size, offset:64)": {}})
class PRead64(Request):
    """Read bytes at an offset, leaving the file's own alone."""

    fd: Fd
    buffer: OutBuffer
    size: Size
    offset: Offset


@request(man="pwrite(2)", forms={"pwrite64(fd, buffer, size, offset:64)": {}})
class PWrite64(Request):
    """Write bytes at an offset, leaving the file's own alone."""

    fd: Fd
    buffer: InBuffer
    size: Size
    offset: Offset


@request(man="readv(2)", forms={"readv(fd, pieces, count)": {}})
class ReadV(Request):
    """Read bytes into several pieces of memory."""

    fd: Fd
    pieces: OutIoVecs
    count: Size


@request(man="readv(2)", forms={"writev(fd, pieces, count)": {}})
class WriteV(Request):
    """Write bytes from several pieces of memory."""

    fd: Fd
    pieces: InIoVecs
    count: Size


@request(man="readv(2)", forms={
    "preadv2(fd, pieces, count, offset:pair, flags)": {},
    "preadv(fd, pieces, count, offset:pair)": {"flags": 0},
})
class PReadV2(Request):
    """Read bytes at an offset into several pieces of memory; with preadv2, -1 is the file's own offset."""

    fd: Fd
    pieces: OutIoVecs
    count: Size
    offset: Offset
    flags: TransferFlags


@request(man="readv(2)", forms={
    "pwritev2(fd, pieces, count, offset:pair, flags)": {},
    "pwritev(fd, pieces, count, offset:pair)": {"flags": 0},
})
class PWriteV2(Request):
    """Write bytes at an offset from several pieces of memory; with pwritev2, -1 is the file's own offset."""

    fd: Fd
    pieces: InIoVecs
    count: Size
    offset: Offset
    flags: TransferFlags


@request(man="lseek(2)", forms={"lseek(fd, offset, whence)": {}})
class LSeek(Request):
    """Set the offset of a file; the result is the new one."""

    fd: Fd
    offset: Offset
    whence: Whence


@request(man="_llseek(2)", forms={"_llseek(fd, high, low, position, whence)": {}})
class LLSeek(Request):
    """Set the offset of a file, given in two halves; the new one is written to memory. i386 only."""

    fd: Fd
    high: UInt
    low: UInt
    position: Out[Number]
    whence: Whence


@request(man="sendfile(2)", forms={
    "sendfile(out_fd, in_fd, offset:long, size)": {},
    "sendfile64(out_fd, in_fd, offset:s64, size)": {},
})
class SendFile(Request):
    """Copy bytes from one descriptor to another."""

    out_fd: Fd
    in_fd: Fd
    offset: InOut[Number]
    size: Size


@request(man="copy_file_range(2)", forms={
    "copy_file_range(in_fd, in_offset:s64, out_fd, out_offset:s64, size, flags)": {},
})
class CopyFileRange(Request):
    """Copy bytes from one file to another."""

    in_fd: Fd
    in_offset: InOut[Number]
    out_fd: Fd
    out_offset: InOut[Number]
    size: Size
    flags: UInt


@request(man="splice(2)", forms={
    "splice(in_fd, in_offset:s64, out_fd, out_offset:s64, size, flags)": {},
})
class Splice(Request):
    """Move bytes between a pipe and another descriptor."""

    in_fd: Fd
    in_offset: InOut[Number]
    out_fd: Fd
    out_offset: InOut[Number]
    size: Size
    flags: SpliceFlags


@request(man="tee(2)", forms={"tee(in_fd, out_fd, size, flags)": {}})
class Tee(Request):
    """Copy bytes from one pipe to another without taking them."""

    in_fd: Fd
    out_fd: Fd
    size: Size
    flags: SpliceFlags


@request(man="vmsplice(2)", forms={"vmsplice(fd, pieces, count, flags)": {}})
class VmSplice(Request):
    """Move bytes between memory and a pipe."""

    fd: Fd
    pieces: InIoVecs
    count: Size
    flags: SpliceFlags


@request(man="fcntl(2)", forms={
    "fcntl(fd, command, argument)": {},
    "fcntl64(fd, command, argument)": {},
})
class Fcntl(Request):
    """Ask or tell something about a descriptor; what the argument is depends on the command."""

    fd: Fd
    command: FcntlCommand
    argument: FcntlArgument


@request(man="ioctl(2)", forms={"ioctl(fd, command, argument)": {}})
class Ioctl(Request):
    """Control a device or a special file; what the argument is depends on the command."""

    fd: Fd
    command: IoctlRequest
    argument: IoctlArgument


@request(man="flock(2)", forms={"flock(fd, operation)": {}})
class Flock(Request):
    """Lock or unlock an open file."""

    fd: Fd
    operation: LockOperation


@request(man="pipe(2)", classes="desc", forms={"pipe2(fds, flags)": {}, "pipe(fds)": {"flags": 0}})
class Pipe2(Request):
    """Make a pipe."""

    fds: Out[FdPair]
    flags: PipeFlags


@request(man="fsync(2)", forms={"fsync(fd)": {}})
class FSync(Request):
    """Write a file's data and metadata to the device."""

    fd: Fd


@request(man="fsync(2)", forms={"fdatasync(fd)": {}})
class FDataSync(Request):
    """Write a file's data to the device."""

    fd: Fd


@request(man="sync(2)", forms={"sync()": {}})
class Sync(Request):
    """Write all file systems to their devices."""


@request(man="sync(2)", forms={"syncfs(fd)": {}})
class SyncFs(Request):
    """Write the file system of a file to its device."""

    fd: Fd


@request(man="sync_file_range(2)", forms={"sync_file_range(fd, offset:64, length:64, flags)": {}})
class SyncFileRange(Request):
    """Write a range of a file to the device."""

    fd: Fd
    offset: Offset
    length: Offset
    flags: SyncRangeFlags


@request(man="fallocate(2)", writes=always, forms={"fallocate(fd, mode, offset:64, length:64)": {}})
class FAllocate(Request):
    """Allocate or free room in a file."""

    fd: Fd
    mode: AllocateMode
    offset: Offset
    length: Offset


@request(man="posix_fadvise(2)", forms={
    "fadvise64(fd, offset:64, length, advice)": {},
    "fadvise64_64(fd, offset:64, length:64, advice)": {},
})
class FAdvise64(Request):
    """Tell how a file will be used."""

    fd: Fd
    offset: Offset
    length: Offset
    advice: Advice


@request(man="readahead(2)", forms={"readahead(fd, offset:64, size)": {}})
class ReadAhead(Request):
    """Read a range of a file into the page cache."""

    fd: Fd
    offset: Offset
    size: Size


@request(man="cachestat(2)", forms={"cachestat(fd, range, status, flags)": {}})
class CacheStat(Request):
    """Ask how much of a file is in the page cache."""

    fd: Fd
    range: Address
    status: Address
    flags: UInt
