"""Status: who a task is by /proc/PID/status, proc(5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from diorama.dispatch.files.generated import Subject, makes

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.identity import Identity
    from diorama.view.task import Task

_LINE: Final = re.compile(
    rb"^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):\t.*$", re.MULTILINE
)


def _concerns(task: Task, name: bytes) -> bool:
    return task.identity is not None


@makes(rb"status", _concerns)
def make_status(files: Files, subject: Subject) -> bytes:
    """The kernel's lines, with those about identity as the view has them."""
    task = files.tasks.find(subject.tid)
    who = files.tasks.identity if task is None else task.identity
    real = subject.real()
    if who is None:
        return real
    told = _lines(who)
    return _LINE.sub(lambda found: b"%b:\t%b" % (found[1], told[found[1]]), real)


def _lines(who: Identity) -> dict[bytes, bytes]:
    return {
        b"Uid": b"%d\t%d\t%d\t%d" % (who.uid, who.euid, who.suid, who.fsuid),
        b"Gid": b"%d\t%d\t%d\t%d" % (who.gid, who.egid, who.sgid, who.fsgid),
        b"Groups": b" ".join(b"%d" % group for group in who.groups) + b" ",
        b"CapInh": b"%016x" % who.inheritable,
        b"CapPrm": b"%016x" % who.permitted,
        b"CapEff": b"%016x" % who.effective,
        b"CapBnd": b"%016x" % who.bounding,
        b"CapAmb": b"%016x" % who.ambient,
        b"NoNewPrivs": b"%d" % who.no_new_privs,
    }
