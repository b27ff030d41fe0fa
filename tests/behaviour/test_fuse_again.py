"""Files of FUSE mounts that are opened: without the interpreter.

Each test has a program open a file until that is so; what is seen then is what is seen when Python opens it.
"""

from __future__ import annotations

import errno
import socket
import stat
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from behaviour.harness import Bench
from behaviour.opening import READ, REPEATED, Program
from behaviour.served import Handles, Served, refuse, serve
from diorama.fuse.flags import FOpen
from diorama.fuse.handles import OpenOut
from modules.fuse_server import FOREVER

both = pytest.mark.parametrize("again", ["notify", "guardians"], indirect=True)


@pytest.fixture
def again(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Served]:
    """A server, and a view whose programs are given descriptors; with guardians they open ours."""
    yield from serve(getattr(request, "param", "notify"), bench)


@pytest.fixture
def handles(again: Served) -> Handles:
    again.server.add(b"file", b"content")
    return Handles(again.server)


@pytest.fixture
def program(again: Served, handles: Handles) -> Iterator[Program]:
    found = Program(again)
    yield found
    found.end()


def all_released(handles: Handles) -> bool:
    return sorted(handles.released) == list(range(1, len(handles.flags) + 1))


@both
@pytest.mark.parametrize("valid", [0, FOREVER], ids=["asked", "told"])
def test_each_open_is_still_one_for_the_server(
    again: Served, handles: Handles, program: Program, valid: int
) -> None:
    again.server.valid = valid
    program.warm()
    before = len(handles.flags)
    for _ in range(10):
        assert program.do(READ) == ["b'content'"]
    assert len(handles.flags) == before + 10
    again.wait(lambda: all_released(handles))


@both
def test_what_it_holds_now_is_what_is_read(again: Served, handles: Handles, program: Program) -> None:
    program.warm()
    (node,) = (node for number, node in again.server.nodes.items() if number != 1)
    for content in (b"CONTENT", b"longer content", b"", b"end"):
        node.content = content
        assert program.do(READ) == [repr(content)]
    again.wait(lambda: all_released(handles))


def test_another_time_drops_what_is_cached(again: Served, handles: Handles, program: Program) -> None:
    handles.how = FOpen.KEEP_CACHE
    program.warm()
    (node,) = (node for number, node in again.server.nodes.items() if number != 1)
    node.content = b"CONTENT"
    assert program.do(READ) == ["b'content'"]
    node.mtime = 12
    assert program.do(READ) == ["b'CONTENT'"]


def test_what_the_server_says_to_an_open_is_told(again: Served, handles: Handles, program: Program) -> None:
    program.warm()
    again.server.override["OPEN"] = refuse(errno.EBUSY)
    assert program.do("print(told(os.open, 'mnt/file', os.O_RDONLY))") == ["EBUSY"]


def test_a_server_that_wants_each_read_itself_gets_it(
    again: Served, handles: Handles, program: Program
) -> None:
    program.warm()
    handles.how = FOpen.DIRECT_IO
    before = again.requests("READ")
    assert program.do(READ) == ["b'content'"]
    assert len(again.requests("READ")) > len(before)
    again.wait(lambda: all_released(handles))


@both
def test_a_handle_lasts_as_long_as_the_open_file(again: Served, handles: Handles, program: Program) -> None:
    program.warm()
    again.wait(lambda: all_released(handles))
    program.do("a = os.open('mnt/file', os.O_RDONLY); b = os.dup(a); c = os.open('mnt/file', os.O_RDONLY)")
    program.do("os.close(a)")
    ours = len(handles.flags)
    program.do("os.mkdir('mnt/after'); os.rmdir('mnt/after')")
    assert len(handles.released) == ours - 2
    program.do("os.close(b)")
    again.wait(lambda: len(handles.released) == ours - 1)
    program.do("os.close(c)")
    again.wait(lambda: all_released(handles))


@both
def test_who_is_killed_lets_go_of_what_was_open(again: Served, handles: Handles, program: Program) -> None:
    program.warm()
    program.do(
        "pid = os.fork(); pid or (os.open('mnt/file', os.O_RDONLY), os.kill(os.getpid(), 9));"
        " os.waitpid(pid, 0)"
    )
    again.wait(lambda: all_released(handles))


@pytest.mark.parametrize(
    "other",
    [
        "os.write(os.open('mnt/file', os.O_WRONLY), b'new')",
        "told(fcntl.flock, fd, fcntl.LOCK_EX)",
        "os.unlink('mnt/file')",
        "os.close(os.open('/proc/self/fd/%d' % fd, os.O_RDONLY))",
        "print(os.fstat(fd).st_size, os.readlink('/proc/self/fd/%d' % fd)[-8:])",
        "os.rename('mnt/file', 'mnt/other')",
        "os.chmod('mnt/file', 0o600)",
        "os.truncate('mnt/file', 0)",
        "subprocess.run(['cat'], stdin=fd, check=True, stdout=subprocess.DEVNULL)",
    ],
    ids=["write", "lock", "unlink", "reopen", "status", "rename", "mode", "truncate", "pass"],
)
def test_whatever_else_is_done_with_it_meanwhile(
    again: Served, handles: Handles, program: Program, other: str
) -> None:
    program.warm()
    program.do(f"fd = os.open('mnt/file', os.O_RDONLY); {other}; os.close(fd)")
    program.do("os.path.exists('mnt/file') and os.close(os.open('mnt/file', os.O_RDONLY))")
    program.do("os.closerange(3, 100)")
    again.wait(lambda: all_released(handles))


@both
def test_who_has_no_room_for_it_has_not_opened_it(
    again: Served, handles: Handles, program: Program
) -> None:
    program.warm()
    program.do("import resource; limits = resource.getrlimit(resource.RLIMIT_NOFILE)")
    program.do("fd = os.dup(0); os.close(fd); resource.setrlimit(resource.RLIMIT_NOFILE, (fd, limits[1]))")
    assert program.do("print(told(os.open, 'mnt/file', os.O_RDONLY))") == ["EMFILE"]
    again.wait(lambda: all_released(handles))
    program.do("resource.setrlimit(resource.RLIMIT_NOFILE, limits)")
    assert program.do(READ) == ["b'content'"]
    again.wait(lambda: all_released(handles))


@both
def test_it_may_say_not_to_follow_a_link(again: Served, handles: Handles, program: Program) -> None:
    program.warm()
    how = "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC"
    for _ in range(REPEATED):  # Python opens it when its server takes long
        before = program.opened
        said = program.do(
            f"fd = os.open('mnt/file', {how}); print(os.read(fd, 100), os.get_inheritable(fd),"
            " bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK)); os.close(fd)"
        )
        assert said == ["b'content' False True"]
        if program.opened == before:
            break
        program.warm()
    else:
        raise AssertionError("it is always opened by Python")
    again.wait(lambda: all_released(handles))


@both
def test_a_removed_file_is_read_by_who_has_it_open_and_closed_before_it_is_forgotten(
    again: Served, handles: Handles, program: Program
) -> None:
    program.warm()
    said = program.do(
        "fd = os.open('mnt/file', os.O_RDONLY); os.unlink('mnt/file'); print(os.read(fd, 100));"
        " print(told(os.open, 'mnt/file', os.O_RDONLY)); os.close(fd)"
    )
    assert said == ["b'content'", "ENOENT"]
    again.wait(lambda: again.server.forgotten)
    assert all_released(handles)


@pytest.mark.parametrize("slow", ["OPEN", "READ"])
def test_a_slow_server_is_asked_once(again: Served, handles: Handles, program: Program, slow: str) -> None:
    program.warm()
    really = again.server.override.get(slow, again.server.read)
    before = len(handles.flags)

    def later(header: Any, body: bytes) -> Any:
        def answer() -> None:
            again.server.answer(header.unique, really(header, body) or b"")

        threading.Timer(0.15, answer).start()

    again.server.override[slow] = later
    assert program.do(READ) == ["b'content'"]
    assert len(handles.flags) == before + 1
    again.wait(lambda: all_released(handles))


@both
def test_programs_at_once(again: Served, handles: Handles, program: Program) -> None:
    program.warm()
    script = """
        for _ in range(4):
            pid = os.fork()
            if not pid:
                for _ in range(50):
                    fd = os.open("mnt/file", os.O_RDONLY)
                    assert os.read(fd, 100) == b"content"
                    os.close(fd)
                os._exit(0)
        print([os.wait()[1] for _ in range(4)])
    """
    before = len(handles.flags)
    assert again.run(script) == ["[0, 0, 0, 0]"]
    assert len(handles.flags) == before + 200
    again.wait(lambda: all_released(handles))


@pytest.mark.parametrize("start", ["mnt/", "mnt/above/", ""], ids=["root", "directory", "outside"])
def test_what_the_server_moves_itself_has_its_new_path(
    again: Served, handles: Handles, program: Program, start: str
) -> None:
    above = again.server.add(b"above", mode=stat.S_IFDIR | 0o755)
    before = again.server.add(b"before", mode=stat.S_IFDIR | 0o755, parent=above)
    again.server.add(b"file", b"content", parent=before)
    program.do("here = os.getcwd()")

    def path(name: str) -> tuple[list[str], int]:
        known, relative = program.opened, f"mnt/above/{name}/file".removeprefix(start)
        said = program.do(
            f"os.chdir({start or '.'!r}); fd = os.open({relative!r}, 0);"
            " print(os.readlink('/proc/self/fd/%d' % fd)[len(here):]); os.close(fd); os.chdir(here)"
        )
        return said, program.opened - known

    for _ in range(REPEATED):
        if path("before") == (["/mnt/above/before/file"], 0):
            break
    else:
        raise AssertionError("it is always opened by Python")
    names = again.server.nodes[above].children
    names[b"after"] = names.pop(b"before")
    for _ in range(3):
        assert path("after")[0] == ["/mnt/above/after/file"]


def test_a_server_that_is_gone(again: Served, handles: Handles, program: Program) -> None:
    program.warm()

    def go(header: Any, body: bytes) -> bytes:
        again.server.socket.shutdown(socket.SHUT_RDWR)
        raise OSError(errno.EIO, "gone")

    again.server.override["OPEN"] = go
    script = "print(told(os.open, 'mnt/file', os.O_RDONLY), told(os.stat, 'mnt/file'))"
    assert program.do(script) == ["ECONNABORTED ENOTCONN"]


def test_who_lists_a_directory_again_asks_for_no_names(served: Served) -> None:
    above = served.server.add(b"above", mode=stat.S_IFDIR | 0o755)
    served.server.add(b"below", mode=stat.S_IFDIR | 0o755, parent=above)
    script = """
        fd = os.open("mnt/above/below", os.O_RDONLY | os.O_DIRECTORY)
        os.listdir(fd)
        os.mkdir("mnt/mark")
        print(os.listdir(fd))
    """
    assert served.run(script) == ["[]"]
    since = served.server.log[served.server.log.index("MKDIR") :]
    assert since.count("OPENDIR") == 1
    assert "LOOKUP" not in since
    assert since.count("GETATTR") <= 1  # fstat(2)


@pytest.mark.parametrize("how", ["open", "listdir"])
def test_what_is_opened_for_who_is_killed_meanwhile_is_closed(served: Served, how: str) -> None:
    served.server.add(b"file", b"content")
    asked: list[int] = []
    name, closing = {"open": ("OPEN", "RELEASE"), "listdir": ("OPENDIR", "RELEASEDIR")}[how]
    served.server.override |= {name: lambda header, _body: asked.append(header.unique)}
    begun: list[int] = []
    really = served.filesystem.open_file

    def open_file(inode: int, flags: int) -> Any:
        begun.append(inode)
        return really(inode, flags)

    served.filesystem.open_file = open_file  # type: ignore[method-assign]
    program = served.start({"open": "os.open('mnt/file', os.O_RDONLY)", "listdir": "os.listdir('mnt')"}[how])
    served.wait(lambda: asked and (begun or how != "open"))
    program.kill()
    program.communicate(timeout=40)
    served.wait(lambda: "INTERRUPT" in served.server.log)
    served.server.answer(asked[0], OpenOut(fh=7).encode())
    served.wait(lambda: closing in served.server.log)
