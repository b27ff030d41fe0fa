"""CPUs: how many there are, as a view tells it.

They are numbered from 0.  Which of them a thread may use is remembered here and inherited.  The kernel is
told too, where it has any of them; where it has none, and what getcpu(2) tells, is its own affair.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from diorama.catalogue.scheduling import SchedGetAffinity, SchedSetAffinity
from diorama.dispatch.files.generated import Subject, SystemFile, makes
from diorama.dispatch.names.answers import Outcome, answers, fail
from diorama.dispatch.names.state import Names
from diorama.view.system import Cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task, Tasks

__all__ = ["cpu_files"]

_BITS: Final = 64
_SET: Final = 1024
_NUMBERED: Final = {b"processor": 0, b"core id": 0, b"apicid": 0, b"initial apicid": 0}
_PROCESSOR: Final = b"physical id"
_COUNTED: Final = (b"siblings", b"cpu cores")
_STATUS: Final = re.compile(rb"^(Cpus_allowed(?:_list)?):\t.*$", re.MULTILINE)
_IDLE: Final = 3


def _all(count: int) -> int:
    return (1 << count) - 1


@answers(SchedGetAffinity)
def get_affinity(names: Names, call: SchedGetAffinity) -> Outcome:
    """The mask of a thread, in the size that a kernel for so many CPUs has."""
    count = names.system.cpus
    if count is None:
        return None
    size = (count + _BITS - 1) // _BITS * 8
    if call.size * 8 < count or call.size % call.tracee.abi.word:
        raise fail(errno.EINVAL)
    cpus = _find(names, call).cpus
    mask = _all(count) if cpus is None else cpus.mask
    length = min(size, call.size)
    call.tracee.memory.write(call.mask.address, mask.to_bytes(size, "little")[:length])
    return length


@answers(SchedSetAffinity)
def set_affinity(names: Names, call: SchedSetAffinity) -> Outcome:
    """Remember a mask for a thread."""
    count = names.system.cpus
    if count is None:
        return None
    asked = int.from_bytes(call.mask.read(min(call.size, _SET)), "little")
    task = _find(names, call)
    _check_right(names, call, task)
    mask = asked & _all(count)
    if not mask:
        raise fail(errno.EINVAL)
    task.cpus = Cpus(count, mask)
    files = names.files
    files.on_change(task)
    if task.tid != task.pid or len(os.listdir(f"/proc/{task.pid}/task")) > 1:
        files.on_division(task)
    return None if asked & _ours() else 0


def _find(names: Names, call: SchedGetAffinity | SchedSetAffinity) -> Task:
    """The thread that is meant; ESRCH."""
    own = names.task(call.tracee)
    if call.pid in (0, own.tid):
        return own
    try:
        with open(f"/proc/{call.pid}/status", "rb") as file:
            text = file.read()
    except OSError:
        raise fail(errno.ESRCH) from None
    pid = int(text[text.index(b"\nTgid:") + 6 :].split(None, 1)[0])
    tasks = names.files.tasks
    task = tasks.find(call.pid)
    if task is None:
        task = tasks.foretell(call.pid, pid)
        mask = _ours(call.pid)  # of who has ended, the kernel alone still knows
        if task.cpus is tasks.cpus and mask != _ours() and mask & _all(names.system.cpus or 0):
            task.cpus = Cpus(names.system.cpus or 0, mask & _all(names.system.cpus or 0))
    return task


def _ours(tid: int | None = None) -> int:
    """The CPUs of the machine that we may use, or a thread; none if it is gone."""
    try:
        return sum(1 << cpu for cpu in os.sched_getaffinity(os.getpid() if tid is None else tid))
    except OSError:
        return 0


def _check_right(names: Names, call: SchedSetAffinity, task: Task) -> None:
    """EPERM unless it is the caller's own, or the caller may do all (sched_setaffinity(2))."""
    if names.files.tasks.identity is not None:
        _check_identity(names.files.tasks, names.task(call.tracee), task)
        return
    who = names.files.tasks.credentials(names.task(call.tracee))
    try:
        owner = os.stat(f"/proc/{task.tid}").st_uid
    except OSError:
        raise fail(errno.ESRCH) from None
    if owner != who.uid and not who.capabilities >> 23 & 1:  # CAP_SYS_NICE
        raise fail(errno.EPERM)


def _check_identity(tasks: Tasks, caller: Task, target: Task) -> None:
    """Where programs are users of the view."""
    who, other = caller.identity or tasks.identity, target.identity or tasks.identity
    if who is not None and other is not None and caller is not target and not who.may_schedule(other):
        raise fail(errno.EPERM)


# -- files ----------------------------------------------------------------------------------------


def cpu_files(names: Names) -> Iterator[tuple[bytes, SystemFile]]:
    """The files of /proc that tell how many CPUs there are (of /sys: `diorama.modules.filesystems.sysfs`)."""
    count = names.system.cpus
    if count is None:
        return
    yield b"/proc/cpuinfo", _made(lambda real: _cpuinfo(real, count))
    yield b"/proc/stat", _made(lambda real: _stat(real, count))


def _made(change: Callable[[bytes], bytes]) -> SystemFile:
    def read(files: Files, subject: Subject) -> bytes:
        return change(subject.real())

    return SystemFile(read)


def _cpuinfo(real: bytes, count: int) -> bytes:
    """The kernel's, a paragraph for each CPU: of more than there are, the last ones are like the first."""
    paragraphs = real.rstrip(b"\n").split(b"\n\n")
    own = [text for text in paragraphs if text.startswith(b"processor")]
    rest = [text for text in paragraphs if not text.startswith(b"processor")]
    told = [_numbered(own[number % len(own)], number, count) for number in range(count if own else 0)]
    return b"\n\n".join([*told, *rest]) + b"\n\n"


def _numbered(text: bytes, number: int, count: int) -> bytes:
    lines: list[bytes] = []
    for line in text.split(b"\n"):
        name, colon, _ = line.partition(b":")
        if name.rstrip() in _NUMBERED:
            line = b"%b: %d" % (name, number) if colon else line
        elif name.rstrip() == _PROCESSOR:
            line = b"%b: 0" % name
        elif name.rstrip() in _COUNTED:
            line = b"%b: %d" % (name, count)
        lines.append(line)
    return b"\n".join(lines)


def _stat(real: bytes, count: int) -> bytes:
    """The kernel's, with a line for each CPU: of more than there are, the last ones have always been idle."""
    lines = real.split(b"\n")
    own = [[int(word) for word in line.split()[1:]] for line in lines if re.match(rb"cpu\d", line)]
    spent = sum(own[0])
    idle = [spent if at == _IDLE else 0 for at in range(len(own[0]))]
    told = [own[number] if number < len(own) else idle for number in range(count)]
    total = b"cpu  " + b" ".join(b"%d" % sum(column) for column in zip(*told, strict=True))
    each = [b"cpu%d " % number + b" ".join(b"%d" % v for v in row) for number, row in enumerate(told)]
    return b"\n".join([total, *each, *[line for line in lines if not line.startswith(b"cpu")]])


@makes(rb"status", concerns=lambda task, name: task.cpus is not None)
def make_status(files: Files, subject: Subject) -> bytes:
    """/proc/PID/status with the CPUs that a task may use."""
    cpus = subject.task.cpus
    if cpus is None:
        return subject.real()
    words = {b"Cpus_allowed": cpus.as_words, b"Cpus_allowed_list": cpus.as_list}
    return _STATUS.sub(lambda match: match[1] + b":\t" + words[match[1]], subject.real())
