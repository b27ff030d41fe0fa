"""Files of FUSE mounts that somebody has open: who reads them too is not asked about, and no handle is lost.

Python opens each file first here, so that it is Python that knows of it.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from behaviour.opening import READ, REPEATED, Program
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


@pytest.fixture
def program(served: Served, holder: Program) -> Program:
    """Who opens it too."""
    return Program(served)


def open_natively(program: Program, content: bytes = b"content") -> None:
    """Open and close it until Python is not asked, which goes on with what takes long."""
    for _ in range(REPEATED):
        before = program.opened
        assert program.do(READ) == [repr(content)]
        if program.opened == before:
            return
    raise AssertionError("it is always opened by Python")


def are_open(handles: Handles) -> list[int]:
    """The handles that were not released; none is released twice."""
    assert len(set(handles.released)) == len(handles.released)
    return [one for one in range(1, len(handles.flags) + 1) if one not in handles.released]


def test_what_somebody_has_open_is_opened_without_python(
    served: Served, handles: Handles, holder: Program, program: Program
) -> None:
    open_natively(program)
    before = len(handles.flags)
    for _ in range(10):
        assert program.do(READ) == ["b'content'"]
    assert len(handles.flags) == before + 10
    served.wait(lambda: len(are_open(handles)) == 1)
    assert holder.do("print(os.read(held, 100)); os.close(held)") == ["b'content'"]
    served.wait(lambda: not are_open(handles))


def test_as_many_as_have_it_open_have_a_handle(
    served: Served, handles: Handles, holder: Program, program: Program
) -> None:
    open_natively(program)
    program.do("fds = [os.open('mnt/file', os.O_RDONLY) for _ in range(40)]")
    served.wait(lambda: len(are_open(handles)) == 41)
    for left in (30, 16, 15, 5, 0):
        program.do(f"while len(fds) > {left}: os.close(fds.pop())")
        assert len(are_open(handles)) > left  # or more, since the kernel tells of some together
    program.do("os.chdir('mnt'); os.chdir('..')")  # then it is known that it has opened the last
    holder.do("os.close(held)")
    served.wait(lambda: not are_open(handles))
    holder.do(HOLD)
    open_natively(program)
    holder.do("os.close(held)")
    served.wait(lambda: not are_open(handles))


@pytest.mark.parametrize(
    "other",
    [
        "os.write(os.open('mnt/file', os.O_WRONLY), b'CONTENT')",
        "told(fcntl.flock, held, fcntl.LOCK_EX)",
        "told(fcntl.lockf, held, fcntl.LOCK_SH)",
        "os.close(os.open('/proc/self/fd/%d' % held, os.O_RDONLY))",
        "os.link('mnt/file', 'mnt/link')",
        "os.unlink('mnt/file')",
        "os.rename('mnt/file', 'mnt/other')",
        "os.chmod('mnt/file', 0o600)",
        "mmap.mmap(held, 7, mmap.MAP_PRIVATE, mmap.PROT_READ)",
        "told(fcntl.ioctl, held, 0x6601, bytes(8))",
    ],
    ids=["write", "flock", "lock", "reopen", "link", "unlink", "rename", "mode", "map", "ioctl"],
)
def test_whatever_else_is_done_with_it(
    served: Served, handles: Handles, holder: Program, program: Program, other: str
) -> None:
    open_natively(program)
    holder.do(other)
    content = b"CONTENT" if "CONTENT" in other else b"content"
    assert holder.do("print(os.pread(held, 100, 0))") == [repr(content)]
    program.do("os.path.exists('mnt/file') and os.close(os.open('mnt/file', os.O_RDONLY))")
    holder.do("other = os.dup(held); os.close(held)")
    program.do("os.path.exists('mnt/file') and os.close(os.open('mnt/file', os.O_RDONLY))")
    assert are_open(handles)
    holder.do("os.closerange(3, 100)")
    holder.end()
    served.wait(lambda: not are_open(handles))


def test_who_writes_meanwhile_is_seen_by_all(
    served: Served, handles: Handles, holder: Program, program: Program
) -> None:
    open_natively(program)
    holder.do("w = os.open('mnt/file', os.O_RDWR); os.write(w, b'CON')")
    assert program.do(READ) == ["b'CONtent'"]
    assert holder.do("os.close(w); print(os.read(held, 100))") == ["b'CONtent'"]
    assert served.content(b"file") == b"CONtent"
    open_natively(program, b"CONtent")
    holder.do("os.close(held)")
    served.wait(lambda: not are_open(handles))


def test_what_the_server_has_is_seen_by_all(
    served: Served, handles: Handles, holder: Program, program: Program
) -> None:
    open_natively(program)
    (node,) = (node for number, node in served.server.nodes.items() if number != 1)
    for content in (b"CONTENT", b"longer content", b"", b"end"):
        node.content = content
        assert program.do(READ) == [repr(content)]
        assert holder.do("print(os.pread(held, 100, 0))") == [repr(content)]
        open_natively(program, content)
    holder.do("os.close(held)")
    served.wait(lambda: not are_open(handles))


def test_who_is_killed_lets_go_of_what_was_open(
    served: Served, handles: Handles, holder: Program, program: Program
) -> None:
    open_natively(program)
    holder.popen.kill()
    served.wait(lambda: not are_open(handles))
    open_natively(program)
    served.wait(lambda: not are_open(handles))


def test_programs_at_once(served: Served, handles: Handles, holder: Program) -> None:
    script = """
        for number in range(3):
            pid = os.fork()
            if not pid:
                for turn in range(40):
                    fd = os.open("mnt/file", os.O_RDONLY)
                    assert os.read(fd, 100) == b"content"
                    if not number and not turn % 4:
                        os.close(os.open("mnt/file", os.O_RDWR))
                    os.close(fd)
                os._exit(0)
        print([os.wait()[1] for _ in range(3)])
    """
    before = len(handles.flags)
    assert served.run(script) == ["[0, 0, 0]"]
    assert len(handles.flags) == before + 130
    assert are_open(handles)
    assert holder.do("print(os.read(held, 100)); os.close(held)") == ["b'content'"]
    served.wait(lambda: not are_open(handles))


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
