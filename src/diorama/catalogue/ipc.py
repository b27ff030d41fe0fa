"""Inter-process communication: System V's, direct and behind the `ipc` of i386, message queues, futexes."""

from typing import Annotated

from diorama.abi import futex, ipc
from diorama.abi.time import Timespec
from diorama.catalogue.handles import In
from diorama.catalogue.kinds import (
    Address,
    Choice,
    Fd,
    Flags,
    Int,
    Long,
    Mode,
    OpenFlags,
    Shown,
    Size,
    Text,
    UInt,
    ULong,
)
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, OutBuffer

_GET = Names(ipc, "IPC_CREAT", "IPC_EXCL", "IPC_NOWAIT")


class IpcFlagsKind(Flags):
    """Flags of the get calls, with permission bits."""

    __slots__ = ()

    def text(self, value: int, shown: Shown) -> str:
        """The flags, then the permission bits in octal."""
        flags, mode = value & ~0o777, f"{value & 0o777:#o}".replace("0o", "0")
        return f"{self.names.many(flags)}|{mode}" if flags else mode


class FutexOperationKind(Choice):
    """An operation of futex(2), with its options."""

    __slots__ = ()

    def text(self, value: int, shown: Shown) -> str:
        """The operation; the private form by its own name, as in the header."""
        options = futex.FUTEX_PRIVATE_FLAG | futex.FUTEX_CLOCK_REALTIME
        name = self.names.one(value & ~options)
        private = "_PRIVATE" if value & futex.FUTEX_PRIVATE_FLAG else ""
        real_time = "|FUTEX_CLOCK_REALTIME" if value & futex.FUTEX_CLOCK_REALTIME else ""
        return f"{name}{private}{real_time}"


IpcFlags = Annotated[int, IpcFlagsKind(_GET)]
IpcCommand = Annotated[int, Choice(Names(ipc, "IPC_", without=("IPC_CREAT", "IPC_EXCL", "IPC_NOWAIT")))]
ShmFlags = Annotated[int, Flags(Names(ipc, "SHM_"))]
MsgFlags = Annotated[int, Flags(Names(ipc, "MSG_", "IPC_NOWAIT"))]
FutexOperation = Annotated[int, FutexOperationKind(Names(futex, "FUTEX_"))]


@request(man="shmget(2)", classes="ipc", forms={
    "shmget(key, size, flags)": {},
    "ipc:23(key, size, flags)": {},
})
class ShmGet(Request):
    """Find or make a shared memory segment."""

    key: Int
    size: Size
    flags: IpcFlags


@request(man="shmop(2)", classes="ipc memory", returns="address", forms={"shmat(id, address, flags)": {}})
class ShmAt(Request):
    """Attach a shared memory segment. Through `ipc` it is an `Ipc`, for there the address goes to memory."""

    id: Int
    address: Address
    flags: ShmFlags


@request(man="shmop(2)", classes="ipc memory", forms={"shmdt(address)": {}, "ipc:22(_, _, _, address)": {}})
class ShmDt(Request):
    """Detach a shared memory segment."""

    address: Address


@request(man="shmctl(2)", classes="ipc", forms={
    "shmctl(id, command, buffer)": {},
    "ipc:24(id, command, _, buffer)": {},
})
class ShmCtl(Request):
    """Control a shared memory segment."""

    id: Int
    command: IpcCommand
    buffer: Address


@request(man="semget(2)", classes="ipc", forms={
    "semget(key, count, flags)": {},
    "ipc:2(key, count, flags)": {},
})
class SemGet(Request):
    """Find or make a set of semaphores."""

    key: Int
    count: Int
    flags: IpcFlags


@request(man="semop(2)", classes="ipc", forms={
    "semtimedop(id, operations, count, timeout)": {},
    "semtimedop_time64(id, operations, count, timeout:timespec64)": {},
    "semop(id, operations, count)": {"timeout": None},
    "ipc:4(id, count, _, operations, timeout)": {},
    "ipc:1(id, count, _, operations)": {"timeout": None},
})
class SemTimedOp(Request):
    """Operate on semaphores, waiting at most for the timeout."""

    id: Int
    operations: Address
    count: Size
    timeout: In[Timespec]


@request(man="semctl(2)", classes="ipc", forms={
    "semctl(id, number, command, argument)": {},
    "ipc:3(id, number, command, argument:at)": {},
})
class SemCtl(Request):
    """Control a set of semaphores."""

    id: Int
    number: Int
    command: IpcCommand
    argument: ULong


@request(man="msgget(2)", classes="ipc", forms={"msgget(key, flags)": {}, "ipc:13(key, flags)": {}})
class MsgGet(Request):
    """Find or make a message queue."""

    key: Int
    flags: IpcFlags


@request(man="msgop(2)", classes="ipc", forms={
    "msgsnd(id, message, size, flags)": {},
    "ipc:11(id, size, flags, message)": {},
})
class MsgSnd(Request):
    """Send a message; `message` begins with its type, which `size` does not count."""

    id: Int
    message: Address
    size: Size
    flags: MsgFlags


@request(man="msgop(2)", classes="ipc", forms={
    "msgrcv(id, message, size, type, flags)": {},
    "ipc:0x1000c(id, size, flags, message, type)": {},
})
class MsgRcv(Request):
    """Receive a message. The older form behind `ipc` is an `Ipc`: it has a vector of its own."""

    id: Int
    message: Address
    size: Size
    type: Long
    flags: MsgFlags


@request(man="msgctl(2)", classes="ipc", forms={
    "msgctl(id, command, buffer)": {},
    "ipc:14(id, command, _, buffer)": {},
})
class MsgCtl(Request):
    """Control a message queue."""

    id: Int
    command: IpcCommand
    buffer: Address


@request(man="ipc(2)", classes="ipc", forms={"ipc(call, first, second, third, address, fifth)": {}})
class Ipc(Request):
    """A call of System V IPC on i386 that is none of the known ones."""

    call: UInt
    first: Int
    second: ULong
    third: ULong
    address: Address
    fifth: Long


@request(man="mq_open(2)", classes="desc", returns="fd", forms={"mq_open(name, flags, mode, attributes)": {}})
class MqOpen(Request):
    """Open a POSIX message queue; its name is not a path."""

    name: Text
    flags: OpenFlags
    mode: Mode
    attributes: Address


@request(man="mq_unlink(2)", forms={"mq_unlink(name)": {}})
class MqUnlink(Request):
    """Remove a POSIX message queue."""

    name: Text


@request(man="mq_send(2)", forms={
    "mq_timedsend(fd, buffer, size, priority, timeout)": {},
    "mq_timedsend_time64(fd, buffer, size, priority, timeout:timespec64)": {},
})
class MqTimedSend(Request):
    """Send a message to a POSIX message queue."""

    fd: Fd
    buffer: InBuffer
    size: Size
    priority: UInt
    timeout: In[Timespec]


@request(man="mq_receive(2)", forms={
    "mq_timedreceive(fd, buffer, size, priority, timeout)": {},
    "mq_timedreceive_time64(fd, buffer, size, priority, timeout:timespec64)": {},
})
class MqTimedReceive(Request):
    """Receive a message from a POSIX message queue."""

    fd: Fd
    buffer: OutBuffer
    size: Size
    priority: Address
    timeout: In[Timespec]


@request(man="mq_notify(2)", forms={"mq_notify(fd, event)": {}})
class MqNotify(Request):
    """Ask to be told of a message; the event is a `struct sigevent`."""

    fd: Fd
    event: Address


@request(man="mq_getsetattr(2)", forms={"mq_getsetattr(fd, new, old)": {}})
class MqGetSetAttr(Request):
    """Get and set the attributes of a POSIX message queue."""

    fd: Fd
    new: Address
    old: Address


@request(man="futex(2)", forms={
    "futex(word, operation, value, timeout, second, third)": {},
    "futex_time64(word, operation, value, timeout, second, third)": {},
})
class Futex(Request):
    """Wait for a word in memory or wake those that wait; `timeout` is a number in some operations."""

    word: Address
    operation: FutexOperation
    value: UInt
    timeout: Address
    second: Address
    third: UInt


@request(man="futex_waitv(2)", forms={"futex_waitv(waiters, count, flags, timeout:timespec64, clock)": {}})
class FutexWaitV(Request):
    """Wait for one of several words in memory."""

    waiters: Address
    count: UInt
    flags: UInt
    timeout: In[Timespec]
    clock: Int


@request(man="futex_wait(2)", forms={
    "futex_wait(word, value, mask, flags, timeout:timespec64, clock)": {},
})
class FutexWait(Request):
    """Wait for a word in memory."""

    word: Address
    value: ULong
    mask: ULong
    flags: UInt
    timeout: In[Timespec]
    clock: Int


@request(man="futex_wake(2)", forms={"futex_wake(word, mask, count, flags)": {}})
class FutexWake(Request):
    """Wake those that wait for a word in memory."""

    word: Address
    mask: ULong
    count: Int
    flags: UInt


@request(man="futex_requeue(2)", forms={"futex_requeue(waiters, flags, wake, requeue)": {}})
class FutexRequeue(Request):
    """Let those that wait for one word wait for another."""

    waiters: Address
    flags: UInt
    wake: Int
    requeue: Int


