"""Memory: the address space of the process."""

from typing import Annotated

from diorama.abi import memory
from diorama.catalogue.kinds import Address, Choice, Fd, Flags, Int, Offset, Shown, Size, Text, UInt, ULong
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names

_SHARING = {1: "MAP_SHARED", 2: "MAP_PRIVATE", 3: "MAP_SHARED_VALIDATE"}
_SHARING_MASK = 3


class MapFlagsKind(Flags):
    """Flags of mmap(2): a sharing type and bits."""

    __slots__ = ()

    def text(self, value: int, shown: Shown) -> str:
        """The sharing type, then the bits."""
        sharing, rest = value & _SHARING_MASK, value & ~_SHARING_MASK
        parts = [_SHARING[sharing]] if sharing else []
        return "|".join([*parts, self.names.many(rest)] if rest or not parts else parts)


Protection = Annotated[int, Flags(Names(memory, "PROT_"))]
MapFlags = Annotated[
    int, MapFlagsKind(Names(memory, "MAP_", without=("MAP_SHARED", "MAP_PRIVATE", "MAP_SHARED_VALIDATE")))
]
RemapFlags = Annotated[int, Flags(Names(memory, "MREMAP_"))]
SyncFlags = Annotated[int, Flags(Names(memory, "MS_"))]
LockFlags = Annotated[int, Flags(Names(memory, "MCL_"))]
MemoryAdvice = Annotated[int, Choice(Names(memory, "MADV_"))]
MemFdFlags = Annotated[int, Flags(Names(memory, "MFD_"))]
NodePolicy = Annotated[int, Choice(Names(memory, "MPOL_"))]


@request(man="mmap(2)", classes="memory", returns="address", forms={
    "mmap(address, length, protection, flags, fd, offset)": {},
    "mmap@i386*(address, length, protection, flags, fd, offset)": {},
    "mmap2(address, length, protection, flags, fd, offset:pages)": {},
})
class MMap(Request):
    """Map a file, or new memory."""

    address: Address
    length: Size
    protection: Protection
    flags: MapFlags
    fd: Fd
    offset: Offset


@request(man="mmap(2)", classes="memory", forms={"munmap(address, length)": {}})
class MUnmap(Request):
    """Unmap a range."""

    address: Address
    length: Size


@request(man="mremap(2)", classes="memory", returns="address", forms={
    "mremap(address, length, new_length, flags, new_address)": {},
})
class MRemap(Request):
    """Resize or move a mapping."""

    address: Address
    length: Size
    new_length: Size
    flags: RemapFlags
    new_address: Address


@request(man="mprotect(2)", classes="memory", forms={"mprotect(address, length, protection)": {}})
class MProtect(Request):
    """Set the protection of a range."""

    address: Address
    length: Size
    protection: Protection


@request(man="mprotect(2)", classes="memory", forms={
    "pkey_mprotect(address, length, protection, key)": {},
})
class PKeyMProtect(Request):
    """Set the protection and the protection key of a range."""

    address: Address
    length: Size
    protection: Protection
    key: Int


@request(man="pkey_alloc(2)", forms={"pkey_alloc(flags, rights)": {}})
class PKeyAlloc(Request):
    """Allocate a protection key."""

    flags: ULong
    rights: ULong


@request(man="pkey_alloc(2)", forms={"pkey_free(key)": {}})
class PKeyFree(Request):
    """Free a protection key."""

    key: Int


@request(man="brk(2)", classes="memory", returns="address", forms={"brk(address)": {}})
class Brk(Request):
    """Move the end of the heap."""

    address: Address


@request(man="madvise(2)", classes="memory", forms={"madvise(address, length, advice)": {}})
class MAdvise(Request):
    """Give advice about a range."""

    address: Address
    length: Size
    advice: MemoryAdvice


@request(man="mseal(2)", classes="memory", forms={"mseal(address, length, flags)": {}})
class MSeal(Request):
    """Forbid further changes of a range."""

    address: Address
    length: Size
    flags: ULong


@request(man="msync(2)", classes="memory", forms={"msync(address, length, flags)": {}})
class MSync(Request):
    """Write a mapped file back."""

    address: Address
    length: Size
    flags: SyncFlags


@request(man="mincore(2)", classes="memory", forms={"mincore(address, length, vector)": {}})
class MInCore(Request):
    """Ask which pages are in memory."""

    address: Address
    length: Size
    vector: Address


@request(man="mlock(2)", classes="memory", forms={
    "mlock2(address, length, flags)": {},
    "mlock(address, length)": {"flags": 0},
})
class MLock2(Request):
    """Keep a range in memory."""

    address: Address
    length: Size
    flags: UInt


@request(man="mlock(2)", classes="memory", forms={"munlock(address, length)": {}})
class MUnlock(Request):
    """Keep a range in memory no longer."""

    address: Address
    length: Size


@request(man="mlock(2)", classes="memory", forms={"mlockall(flags)": {}})
class MLockAll(Request):
    """Keep the whole address space in memory."""

    flags: LockFlags


@request(man="mlock(2)", classes="memory", forms={"munlockall()": {}})
class MUnlockAll(Request):
    """Keep the address space in memory no longer."""


@request(man="remap_file_pages(2)", classes="memory", forms={
    "remap_file_pages(address, size, protection, page, flags)": {},
})
class RemapFilePages(Request):
    """Rearrange the pages of a shared mapping."""

    address: Address
    size: Size
    protection: Protection
    page: Size
    flags: MapFlags


@request(man="memfd_create(2)", classes="desc", returns="fd", forms={"memfd_create(name, flags)": {}})
class MemFdCreate(Request):
    """Make a file that lives in memory."""

    name: Text
    flags: MemFdFlags


@request(man="memfd_secret(2)", classes="desc", returns="fd", forms={"memfd_secret(flags)": {}})
class MemFdSecret(Request):
    """Make a file that lives in memory which even the kernel does not see."""

    flags: UInt


@request(man="userfaultfd(2)", classes="desc", returns="fd", forms={"userfaultfd(flags)": {}})
class UserFaultFd(Request):
    """Make a descriptor that reports page faults."""

    flags: UInt


@request(man="mbind(2)", classes="memory", forms={
    "mbind(address, length, policy, nodes, count, flags)": {},
})
class MBind(Request):
    """Set the memory policy of a range."""

    address: Address
    length: Size
    policy: NodePolicy
    nodes: Address
    count: Size
    flags: UInt


@request(man="set_mempolicy(2)", classes="memory", forms={"set_mempolicy(policy, nodes, count)": {}})
class SetMemPolicy(Request):
    """Set the memory policy of the thread."""

    policy: NodePolicy
    nodes: Address
    count: Size


@request(man="get_mempolicy(2)", classes="memory", forms={
    "get_mempolicy(policy, nodes, count, address, flags)": {},
})
class GetMemPolicy(Request):
    """Get a memory policy."""

    policy: Address
    nodes: Address
    count: Size
    address: Address
    flags: ULong


@request(man="set_mempolicy_home_node(2)", classes="memory", forms={
    "set_mempolicy_home_node(address, length, node, flags)": {},
})
class SetMemPolicyHomeNode(Request):
    """Set the node that the memory policy of a range prefers."""

    address: Address
    length: Size
    node: ULong
    flags: ULong


@request(man="membarrier(2)", forms={"membarrier(command, flags, cpu)": {}})
class MemBarrier(Request):
    """Order the memory accesses of all threads."""

    command: Int
    flags: UInt
    cpu: Int


