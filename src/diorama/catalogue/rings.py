"""Rings: asynchronous I/O, whose operations the kernel does without further system calls."""

from diorama.abi.io import Number
from diorama.abi.time import Timespec
from diorama.catalogue.handles import In, Out
from diorama.catalogue.kinds import Address, Fd, Long, Size, UInt, ULong
from diorama.catalogue.model import Request, request


@request(man="io_uring_setup(2)", classes="desc", returns="fd", forms={
    "io_uring_setup(entries, parameters)": {},
})
class IoUringSetup(Request):
    """Make a pair of rings; what is put into them is never seen by a tracer."""

    entries: UInt
    parameters: Address


@request(man="io_uring_enter(2)", forms={
    "io_uring_enter(fd, submitted, wanted, flags, argument, size)": {},
})
class IoUringEnter(Request):
    """Submit operations to a ring and wait for results."""

    fd: Fd
    submitted: UInt
    wanted: UInt
    flags: UInt
    argument: Address
    size: Size


@request(man="io_uring_register(2)", forms={"io_uring_register(fd, operation, argument, count)": {}})
class IoUringRegister(Request):
    """Register files or memory with a ring."""

    fd: Fd
    operation: UInt
    argument: Address
    count: UInt


@request(man="io_setup(2)", forms={"io_setup(events, context:long)": {}})
class IoSetup(Request):
    """Make a context for asynchronous I/O."""

    events: UInt
    context: Out[Number]


@request(man="io_destroy(2)", forms={"io_destroy(context)": {}})
class IoDestroy(Request):
    """Destroy a context of asynchronous I/O."""

    context: ULong


@request(man="io_submit(2)", forms={"io_submit(context, count, operations)": {}})
class IoSubmit(Request):
    """Submit operations; their descriptors stand in memory."""

    context: ULong
    count: Long
    operations: Address


@request(man="io_cancel(2)", forms={"io_cancel(context, operation, result)": {}})
class IoCancel(Request):
    """Cancel an operation."""

    context: ULong
    operation: Address
    result: Address


@request(man="io_getevents(2)", forms={
    "io_getevents(context, least, count, events, timeout)": {},
})
class IoGetEvents(Request):
    """Wait for operations to end."""

    context: ULong
    least: Long
    count: Long
    events: Address
    timeout: In[Timespec]


@request(man="io_getevents(2)", forms={
    "io_pgetevents(context, least, count, events, timeout, mask)": {},
    "io_pgetevents_time64(context, least, count, events, timeout:timespec64, mask)": {},
})
class IoPGetEvents(Request):
    """Wait for operations to end, with another signal mask."""

    context: ULong
    least: Long
    count: Long
    events: Address
    timeout: In[Timespec]
    mask: Address
