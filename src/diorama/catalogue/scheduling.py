"""Scheduling: which processor time a task gets, and where."""

from typing import Annotated

from diorama.abi import process
from diorama.abi.io import Number
from diorama.abi.time import Timespec
from diorama.catalogue.handles import In, Out
from diorama.catalogue.kinds import Address, Choice, Int, Pid, Size, UInt
from diorama.catalogue.model import Request, request
from diorama.catalogue.names import Names
from diorama.catalogue.pointers import InBuffer, OutBuffer

Policy = Annotated[int, Choice(Names(process, "SCHED_"))]


@request(man="sched_setscheduler(2)", forms={"sched_setscheduler(pid, policy, priority)": {}})
class SchedSetScheduler(Request):
    """Set the policy and the real-time priority of a thread."""

    pid: Pid
    policy: Policy
    priority: In[Number]


@request(man="sched_setscheduler(2)", forms={"sched_getscheduler(pid)": {}})
class SchedGetScheduler(Request):
    """Get the policy of a thread."""

    pid: Pid


@request(man="sched_setparam(2)", forms={"sched_setparam(pid, priority)": {}})
class SchedSetParam(Request):
    """Set the real-time priority of a thread."""

    pid: Pid
    priority: In[Number]


@request(man="sched_setparam(2)", forms={"sched_getparam(pid, priority)": {}})
class SchedGetParam(Request):
    """Get the real-time priority of a thread."""

    pid: Pid
    priority: Out[Number]


@request(man="sched_setattr(2)", forms={"sched_setattr(pid, attributes, flags)": {}})
class SchedSetAttr(Request):
    """Set the policy of a thread with all that belongs to it; a `struct sched_attr`."""

    pid: Pid
    attributes: Address
    flags: UInt


@request(man="sched_setattr(2)", forms={"sched_getattr(pid, attributes, size, flags)": {}})
class SchedGetAttr(Request):
    """Get the policy of a thread with all that belongs to it; a `struct sched_attr`."""

    pid: Pid
    attributes: OutBuffer
    size: UInt
    flags: UInt


@request(man="sched_setaffinity(2)", forms={"sched_setaffinity(pid, size, mask)": {}})
class SchedSetAffinity(Request):
    """Set the CPUs on which a thread may run."""

    pid: Pid
    size: UInt
    mask: InBuffer


@request(man="sched_setaffinity(2)", forms={"sched_getaffinity(pid, size, mask)": {}})
class SchedGetAffinity(Request):
    """Get the CPUs on which a thread may run; the result is the size of the kernel's mask."""

    pid: Pid
    size: UInt
    mask: OutBuffer


@request(man="sched_rr_get_interval(2)", forms={
    "sched_rr_get_interval(pid, interval)": {},
    "sched_rr_get_interval_time64(pid, interval:timespec64)": {},
})
class SchedRrGetInterval(Request):
    """Get the time slice of a thread."""

    pid: Pid
    interval: Out[Timespec]


@request(man="sched_get_priority_max(2)", classes="pure", forms={"sched_get_priority_max(policy)": {}})
class SchedGetPriorityMax(Request):
    """Get the highest priority of a policy."""

    policy: Policy


@request(man="sched_get_priority_max(2)", classes="pure", forms={"sched_get_priority_min(policy)": {}})
class SchedGetPriorityMin(Request):
    """Get the lowest priority of a policy."""

    policy: Policy


@request(man="sched_yield(2)", forms={"sched_yield()": {}})
class SchedYield(Request):
    """Let others run."""


@request(man="getcpu(2)", forms={"getcpu(cpu:u32, node:u32, _)": {}})
class GetCpu(Request):
    """Get the CPU and the node on which the thread runs."""

    cpu: Out[Number]
    node: Out[Number]


@request(man="ioprio_set(2)", forms={"ioprio_set(which, who, priority)": {}})
class IoPrioSet(Request):
    """Set an I/O priority."""

    which: Int
    who: Pid
    priority: Int


@request(man="ioprio_set(2)", forms={"ioprio_get(which, who)": {}})
class IoPrioGet(Request):
    """Get an I/O priority."""

    which: Int
    who: Pid


@request(man="migrate_pages(2)", classes="memory", forms={
    "migrate_pages(pid, count, from_nodes, to_nodes)": {},
})
class MigratePages(Request):
    """Move all pages of a process to other nodes."""

    pid: Pid
    count: Size
    from_nodes: Address
    to_nodes: Address


@request(man="move_pages(2)", classes="memory", forms={
    "move_pages(pid, count, pages, nodes, status, flags)": {},
})
class MovePages(Request):
    """Move certain pages of a process to other nodes."""

    pid: Pid
    count: Size
    pages: Address
    nodes: Address
    status: Address
    flags: Int
