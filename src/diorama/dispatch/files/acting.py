"""Acting: calls that change the tree, made by us in the program's stead.

Where the engine cannot change a call cheaply, making it ourselves costs a fifth.  It must come to the same:
only calls that work on names alone, with rights that are the program's own, and with its umask, which this
thread has meanwhile (the workers have a file system context of their own).  What we may not do the program is
left to try itself.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_EACCESS, AT_FDCWD
from diorama.catalogue.files import FAccessAt2, FChModAt2, FChOwnAt
from diorama.catalogue.model import Request
from diorama.catalogue.paths import LinkAt, MkDirAt, MkNodAt, RenameAt2, SymlinkAt, UnlinkAt
from diorama.engine.ourcall import OurMemory, make_call

if TYPE_CHECKING:
    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.answers import Outcome
    from diorama.dispatch.files.state import Files

__all__ = ["act", "assume_umask", "may_access", "perform"]

_BY_NAME: Final = (FAccessAt2, FChModAt2, FChOwnAt, LinkAt, MkDirAt, MkNodAt, RenameAt2, SymlinkAt, UnlinkAt)
_MASKED: Final = (MkDirAt, MkNodAt)
_RIGHTS: Final = (errno.EACCES, errno.EPERM)


def act(files: Files, call: Request, changed: Request) -> Outcome:
    """Make a call whose paths are all absolute ones of the host by now, or leave it to the program."""
    tracee = call.tracee
    if not (tracee.gives_at_once and isinstance(changed, _BY_NAME) and _is_absolute(changed)):
        return changed
    if not files.has_our_rights(tracee):
        return changed
    if isinstance(changed, _MASKED):
        assume_umask(tracee)
    # By hand: nothing in it points into the program's memory any more.
    ours = type(changed)(*changed.values())
    memory = OurMemory()
    number, args = ours.encode(Abi.native()[0], memory)
    try:
        return make_call(number, *args)
    except OSError as error:
        if error.errno in _RIGHTS:
            return changed
        raise


def perform(files: Files, call: Request, changed: Request) -> int:
    """As `act`, seen to its end: the result."""
    outcome = act(files, call, changed)
    return outcome if isinstance(outcome, int) else changed.run()


def assume_umask(tracee: Tracee) -> None:
    """Let this thread make files with the umask of the tracee (proc(5), since Linux 4.7)."""
    with open(f"/proc/{tracee.tid}/status", "rb") as status:
        text = status.read()
    at = text.index(b"\nUmask:") + 7
    os.umask(int(text[at : text.index(b"\n", at)], 8))


def may_access(files: Files, tracee: Tracee, path: bytes, mode: int) -> bool:
    """Whether a tracee may do what these R_OK, W_OK, X_OK bits say with what is at a host path.

    Asked of the kernel by us, or by the tracee itself where that is not the same.
    """
    if files.has_our_rights(tracee):
        return os.access(path, mode, effective_ids=True)
    try:
        tracee.syscall.faccessat2(AT_FDCWD, path, mode, AT_EACCESS)
    except OSError as error:
        if error.errno == errno.EACCES:
            return False
        raise
    return True


def _is_absolute(call: Request) -> bool:
    return all(getattr(call, rule.field).startswith(b"/") for rule in call.PATHS)
