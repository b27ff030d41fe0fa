"""Files of FUSE mounts that somebody has open: no handle is lost.

Python opens each file first here, so that it is Python that knows of it.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from behaviour.opening import Program
from behaviour.served import Handles, Served, refuse
from diorama.engine.told import Told
from diorama.fuse.flags import NOTIFY_INVAL_INODE
from diorama.fuse.notices import NotifyInvalInode

HOLD = "held = os.open('mnt/file', os.O_RDONLY)"


@pytest.fixture
def handles(served: Served) -> Handles:
    served.server.add(b"file", b"content")
    return Handles(served.server)


@pytest.fixture
def holder(served: Served, handles: Handles) -> Program:
    """Who has it open."""
    assert isinstance(served.filesystem.told, Told)
    served.filesystem.told.opens(0)
    program = Program(served)
    program.do(HOLD)
    assert program.opened == 1
    return program


def are_open(handles: Handles) -> list[int]:
    """The handles that were not released; none is released twice."""
    assert len(set(handles.released)) == len(handles.released)
    return [one for one in range(1, len(handles.flags) + 1) if one not in handles.released]


def test_what_the_server_has_opened_for_nothing_is_closed(
    served: Served, handles: Handles, holder: Program
) -> None:
    """Its attributes hold no more when it is open, and it tells none."""
    number = served.server.add(b"other", b"content")

    def opened(header: Any, body: bytes) -> bytes:
        served.server.override["GETATTR"] = refuse(errno.EIO)
        served.server.notify(NOTIFY_INVAL_INODE, NotifyInvalInode(number, -1, 0).encode())
        return handles.open(header, body)

    served.server.override["OPEN"] = opened
    assert holder.do("print(told(os.open, 'mnt/other', os.O_RDONLY))") == ["EIO"]
    served.wait(lambda: are_open(handles) == [1])
