"""Stubs: code in a program's memory that lets signal handlers interrupt calls, and only those that can be.

A notified call waits for us, and until a worker has taken it a signal ends that wait; the kernel then makes
it EINTR, unless the handler has SA_RESTART. Natively most of these calls are never interrupted, and a shell
whose fork fails with EINTR gives up. So a handler without SA_RESTART is installed with it, and behind a stub:
the kernel restarts every interrupted call, and the stub, which runs first, turns back those that would have
been EINTR. It finds them in the interrupted context, where a call that is about to be restarted shows its
number, and the instruction that it will return to in rcx.

The page of stubs lies at a fixed address, and how it begins tells whether it is there: so a fork has it, an
exec does not, and nothing is to be remembered here. Only x86-64 loses the number of a call that was EINTR,
and only for it is there code.

    0    signature      16   a bit for each call that is to be EINTR
    128  common code    256  stubs, 16 bytes each: the handler's address into r11, jump to the common code
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS

if TYPE_CHECKING:
    from diorama.engine.tracee import Tracee

__all__ = ["ADDRESS", "find_handler", "has_stubs", "make_stub"]

ADDRESS: Final = 0x2D10_0000_0000
_SIZE: Final = 4096
_BITMAP: Final = 16
_COMMON: Final = 128
_FIRST: Final = 256
_STUB: Final = struct.Struct("<2sQBi")
_STEP: Final = 16
_SIGNATURE: Final = b"diorama:stubs:1\0"

_PROT_READ_EXEC: Final = 5
_MAP_PRIVATE_ANONYMOUS_NOREPLACE: Final = 0x100022

# mov 168(%rdx),%rax     the instruction pointer in the ucontext_t that is a handler's third argument
# lea 2(%rax),%rcx
# cmp 152(%rdx),%rcx     rcx: the instruction after a `syscall`
# jne out
# cmpw $0x050f,(%rax)    `syscall`
# jne out
# mov 144(%rdx),%rcx     rax: the number of a call that is to be restarted
# cmp $511,%rcx
# ja out
# bt %rcx,bitmap(%rip)
# jnc out
# cmp $202,%rcx          of the operations of futex(2) only FUTEX_WAIT and FUTEX_WAIT_BITSET
# jne yes
# mov 112(%rdx),%ecx
# and $0x7f,%ecx
# jz yes
# cmp $9,%ecx
# jne out
# yes: movq $-4,144(%rdx)
# addq $2,168(%rdx)
# out: xor %eax,%eax
# xor %ecx,%ecx
# jmp *%r11
_CODE: Final = bytes.fromhex(
    "488b82a8000000488d4802483b8a98000000754a6681380f057543488b8a900000004881f9ff0100007733480fa30d5dffffff"
    "73294881f9ca000000750d8b4a7083e17f740583f909751348c78290000000fcffffff488382a80000000231c031c941ffe3"
)

_INTERRUPTED: Final = (
    "accept", "accept4", "connect", "fcntl", "flock", "futex", "getrandom", "ioctl", "mq_timedreceive",
    "mq_timedsend", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readv",
    "recvfrom", "recvmmsg", "recvmsg", "sendfile", "sendmmsg", "sendmsg", "sendto", "splice", "tee",
    "vmsplice", "wait4", "waitid", "write", "writev",
)  # fmt: skip
"""What gives ERESTARTSYS while it waits, signal(7).  Not open(2), which waits for FIFOs alone."""

_lock: Final = threading.Lock()


def has_stubs(tracee: Tracee) -> bool:
    """Whether its memory has the page."""
    try:
        return tracee.memory.read(ADDRESS, len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def make_stub(tracee: Tracee, handler: int) -> int | None:
    """The address of a stub that leads to a handler; None if there can be none.

    While a call of the tracee is handled; calls are made in its place.
    """
    if tracee.abi is not Abi.X86_64:
        return None
    with _lock:
        try:
            if not has_stubs(tracee):
                tracee.syscall.mmap(
                    ADDRESS, _SIZE, _PROT_READ_EXEC, _MAP_PRIVATE_ANONYMOUS_NOREPLACE, (1 << 64) - 1, 0
                )
                tracee.memory.force(ADDRESS, _page())
            return _add(tracee, handler)
        except OSError:
            return None


def find_handler(tracee: Tracee, address: int) -> int | None:
    """The handler behind a stub; None for an address that is no stub's."""
    if not (ADDRESS + _FIRST <= address < ADDRESS + _SIZE and has_stubs(tracee)):
        return None
    _, handler, _, _ = _STUB.unpack(tracee.memory.read(address, _STUB.size))
    return int(handler)


def _add(tracee: Tracee, handler: int) -> int | None:
    page = tracee.memory.read(ADDRESS, _SIZE)
    for at in range(_FIRST, _SIZE - _STEP + 1, _STEP):
        stub = _STUB.pack(b"\x49\xbb", handler, 0xE9, _COMMON - (at + _STUB.size))
        there = page[at : at + _STUB.size]
        if there == stub:
            return ADDRESS + at
        if not any(there):
            tracee.memory.force(ADDRESS + at, stub)
            return ADDRESS + at
    return None


def _page() -> bytes:
    bits = 0
    for name in _INTERRUPTED:
        bits |= 1 << NUMBERS[Abi.X86_64.title][name]
    return (_SIGNATURE + bits.to_bytes(64, "little")).ljust(_COMMON, b"\0") + _CODE
