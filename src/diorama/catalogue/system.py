"""System: its name and state, its modules, and what only its administrator does."""

from typing import Annotated

from diorama.abi import io
from diorama.abi.system import SysInfo, UtsName
from diorama.catalogue.handles import Out
from diorama.catalogue.kinds import Address, Fd, Flags, Int, Pid, Size, Text, UInt, ULong
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, OutBuffer

RandomFlags = Annotated[int, Flags(Names(io, "GRND_"))]


@request(man="uname(2)", forms={
    "uname(names)": {},
    "olduname(names:old_utsname)": {},
    "oldolduname(names:oldold_utsname)": {},
})
class Uname(Request):
    """Get the names of the system."""

    names: Out[UtsName]


@request(man="gethostname(2)", forms={"sethostname(name, size)": {}})
class SetHostName(Request):
    """Set the name of the system in the network."""

    name: InBuffer
    size: Int


@request(man="getdomainname(2)", forms={"setdomainname(name, size)": {}})
class SetDomainName(Request):
    """Set the NIS domain name of the system."""

    name: InBuffer
    size: Int


@request(man="sysinfo(2)", forms={"sysinfo(info)": {}})
class Sysinfo(Request):
    """Get the memory, load and uptime of the system."""

    info: Out[SysInfo]


@request(man="syslog(2)", forms={"syslog(type, buffer, size)": {}})
class SysLog(Request):
    """Read or control the kernel's log."""

    type: Int
    buffer: OutBuffer
    size: Int


@request(man="getrandom(2)", forms={"getrandom(buffer, size, flags)": {}})
class GetRandom(Request):
    """Get random bytes; newer C libraries get them from the vDSO, without the kernel."""

    buffer: OutBuffer
    size: Size
    flags: RandomFlags


@request(man="reboot(2)", forms={"reboot(magic, magic2, command, argument)": {}})
class Reboot(Request):
    """Stop or restart the system."""

    magic: UInt
    magic2: UInt
    command: UInt
    argument: Address


@request(man="vhangup(2)", forms={"vhangup()": {}})
class VHangUp(Request):
    """Hang up the controlling terminal."""


@request(man="init_module(2)", forms={"init_module(image, size, parameters)": {}})
class InitModule(Request):
    """Load a kernel module from memory."""

    image: InBuffer
    size: Size
    parameters: Text


@request(man="init_module(2)", forms={"finit_module(fd, parameters, flags)": {}})
class FInitModule(Request):
    """Load a kernel module from a file."""

    fd: Fd
    parameters: Text
    flags: Int


@request(man="delete_module(2)", forms={"delete_module(name, flags)": {}})
class DeleteModule(Request):
    """Unload a kernel module."""

    name: Text
    flags: UInt


@request(man="kexec_load(2)", forms={"kexec_load(entry, count, segments, flags)": {}})
class KexecLoad(Request):
    """Load another kernel from memory."""

    entry: Address
    count: Size
    segments: Address
    flags: ULong


@request(man="kexec_load(2)", forms={"kexec_file_load(kernel_fd, initrd_fd, size, command_line, flags)": {}})
class KexecFileLoad(Request):
    """Load another kernel from files."""

    kernel_fd: Fd
    initrd_fd: Fd
    size: Size
    command_line: Address
    flags: ULong


@request(man="bpf(2)", classes="desc", forms={"bpf(command, attributes, size)": {}})
class Bpf(Request):
    """Make and use eBPF maps and programs; a `union bpf_attr`."""

    command: Int
    attributes: InBuffer
    size: UInt


@request(man="perf_event_open(2)", returns="fd", forms={
    "perf_event_open(attributes, pid, cpu, group_fd, flags)": {},
})
class PerfEventOpen(Request):
    """Make a descriptor that counts or samples events."""

    attributes: Address
    pid: Pid
    cpu: Int
    group_fd: Fd
    flags: ULong


@request(man="ioperm(2)", forms={"ioperm(port, count, enable)": {}})
class IoPerm(Request):
    """Ask for access to I/O ports."""

    port: ULong
    count: ULong
    enable: Int


@request(man="iopl(2)", forms={"iopl(level)": {}})
class IoPl(Request):
    """Ask for access to all I/O ports."""

    level: UInt
