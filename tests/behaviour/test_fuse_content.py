"""Open files of FUSE mounts, as the server sees them: what it is asked when, and who is told of its errors.

Each test is run by a program of Python (`behaviour.served`).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from behaviour.served import Handles, Served, refuse
from diorama.dispatch.files import finishing
from diorama.fuse.flags import FOpen
from diorama.fuse.handles import CreateIn
from diorama.fuse.notices import NotifyInvalInode, NotifyRetrieve, NotifyRetrieveIn, NotifyStore
from modules.fuse_server import FOREVER, Node

# -- closing --------------------------------------------------------------------------------------

CLOSERS = {
    "close": "os.close(fd)",
    "dup2": "os.dup2(0, fd)",
    "dup3": "os.dup2(0, fd, inheritable=False)",
    "close_range": "os.closerange(fd, fd + 10)",
}


@pytest.mark.parametrize("closer", CLOSERS.values(), ids=CLOSERS)
def test_what_was_written_is_at_the_server_when_it_is_closed(served: Served, closer: str) -> None:
    script = f"""
        fd = os.open("mnt/file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"content")
        {closer}
        os.mkdir("mnt/after")
    """
    served.run(script)
    assert served.requests("WRITE", "FLUSH", "MKDIR")[-3:] == ["WRITE", "FLUSH", "MKDIR"]
    assert served.content(b"file") == b"content"


def test_a_server_that_cannot_set_sizes_is_not_asked_to_where_what_was_written_has_done_it(
    served: Served,
) -> None:
    served.server.add(b"file", b"old")
    served.server.override["SETATTR"] = refuse(errno.ENOSYS)
    script = """
        fd = os.open("mnt/file", os.O_WRONLY)
        print(os.write(fd, b"longer"), told(os.close, fd))
    """
    assert served.run(script) == ["6 None"]
    assert served.content(b"file") == b"longer"


def test_a_file_ends_in_a_hole(served: Served) -> None:
    served.server.add(b"file", b"old")
    script = """
        fd = os.open("mnt/file", os.O_WRONLY)
        print(os.write(fd, b"new!"), os.ftruncate(fd, 9), os.close(fd))
        fd = os.open("mnt/file", os.O_WRONLY)
        print(os.ftruncate(fd, 2), os.close(fd), os.stat("mnt/file").st_size)
        fd = os.open("mnt/file", os.O_WRONLY)
        print(os.ftruncate(fd, 5), os.close(fd), os.stat("mnt/file").st_size)
    """
    assert served.run(script) == ["4 None None", "None None 2", "None None 5"]
    assert served.content(b"file") == b"ne\0\0\0"


def test_who_closes_is_told_what_went_wrong_and_has_closed(served: Served) -> None:
    served.server.add(b"file", b"old")
    served.server.override["WRITE"] = refuse(errno.ENOSPC)
    script = """
        fd = os.open("mnt/file", os.O_WRONLY)
        os.write(fd, b"new")
        print(told(os.close, fd), told(os.fstat, fd))
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 10), told(os.close, fd))
    """
    assert served.run(script) == ["ENOSPC EBADF", "b'new' ENOSPC"], "what was not saved is tried again"
    served.server.override.clear()
    assert served.run('print(told(os.close, os.open("mnt/file", os.O_WRONLY)))') == ["None"]
    assert served.content(b"file") == b"new", "and so is not lost"


def test_an_error_of_flush_is_told_by_close(served: Served) -> None:
    served.server.add(b"file", b"old")
    served.server.override["FLUSH"] = refuse(errno.EDQUOT)
    script = """
        fd = os.open("mnt/file", os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"content")
        print(told(os.close, fd))
    """
    assert served.run(script) == ["EDQUOT"]
    assert served.content(b"file") == b"content"


def test_fsync_makes_the_file_lasting_and_tells_errors(served: Served) -> None:
    script = """
        fd = os.open("mnt/file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"content")
        print(told(os.fsync, fd))
    """
    assert served.run(script) == ["None"]
    assert served.requests("WRITE", "FSYNC") == ["WRITE", "FSYNC"]
    served.server.override["FSYNC"] = refuse(errno.EIO)
    assert served.run(script) == ["EIO"]


def test_what_nobody_closes_is_saved_all_the_same(served: Served) -> None:
    script = """
        pid = os.fork()
        if not pid:
            fd = os.open("mnt/file", os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"content")
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        fd = os.open("mnt/file", os.O_RDWR)
        print(os.read(fd, 10), told(os.fsync, fd))
    """
    assert served.run(script) == ["b'content' None"]
    assert served.content(b"file") == b"content"


def test_an_error_is_told_once_to_each_who_has_the_file_open(served: Served) -> None:
    """As Linux since 4.13 does: whoever opened it before, by whatever descriptor, and nobody later."""
    served.server.add(b"file", b"old")
    served.server.override["WRITE"] = refuse(errno.ENOSPC)
    served.server.override["MKDIR"] = lambda header, body: _mend(served, header, body)
    script = """
        mine, other, reading = (os.open("mnt/file", how) for how in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY))
        same = os.dup(other)
        turns, theirs = os.pipe(), os.pipe()
        if not os.fork():
            inherited = other
            os.read(turns[0], 1)
            os.write(theirs[1], str([told(os.fsync, inherited), told(os.fsync, inherited)]).encode())
            os._exit(0)
        os.write(mine, b"new")
        print(told(os.fsync, mine))
        os.mkdir("mnt/mend")
        late = os.open("mnt/file", os.O_RDWR)
        print(told(os.fsync, mine), told(os.fsync, late), told(os.fsync, reading), told(os.fsync, reading))
        os.write(turns[1], b"x")
        print(os.read(theirs[0], 99).decode(), told(os.fsync, same), told(os.fsync, other))
        print([told(os.close, fd) for fd in (mine, other, reading, same, late)])
    """
    assert served.run(script) == [
        "ENOSPC", "None None ENOSPC None", "['ENOSPC', None] None None", "[None, None, None, None, None]",
    ]  # fmt: skip
    assert served.content(b"file") == b"new"


def test_an_error_that_nobody_was_there_to_be_told_is_told_to_the_next(served: Served) -> None:
    served.server.add(b"file", b"old")
    served.server.override["WRITE"] = refuse(errno.EDQUOT)
    served.server.override["MKDIR"] = lambda header, body: _mend(served, header, body)
    script = """
        pid = os.fork()
        if not pid:
            os.write(os.open("mnt/file", os.O_RDWR), b"new")
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        sys.stdin.read()
        os.mkdir("mnt/mend")
        one, other = os.open("mnt/file", os.O_RDONLY), os.open("mnt/file", os.O_RDONLY)
        print(told(os.fsync, one), told(os.fsync, one), told(os.fsync, other))
    """
    program = served.start(script)
    mediator = served.view._mediator
    assert mediator is not None
    served.wait(lambda: any(content.failure for content in mediator.files.synthetic.contents))
    out, err = program.communicate(timeout=50)
    assert (out.decode().splitlines(), err) == (["EDQUOT None None"], b"")


def _mend(served: Served, header: Any, body: bytes) -> bytes:
    del served.server.override["WRITE"]
    return served.server.mkdir(header, body)


def test_what_a_program_wrote_is_saved_that_is_killed_in_the_call_in_which_it_opened(served: Served) -> None:
    """Whether the kernel has told that the file is closed or not."""
    script = """
        for number in range(10):
            pid = os.fork()
            if not pid:
                os.write(os.open(f"mnt/{number}", os.O_WRONLY | os.O_CREAT), b"content")
                os.kill(os.getpid(), 9)
            os.waitpid(pid, 0)
    """
    served.run(script)
    served.wait(lambda: all(served.content(b"%d" % number) == b"content" for number in range(10)))


# -- handles --------------------------------------------------------------------------------------


def test_each_open_is_one_for_the_server_with_the_flags_of_the_program(served: Served) -> None:
    handles = Handles(served.server)
    served.server.add(b"file", b"old")
    script = """
        for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_NONBLOCK, os.O_WRONLY | os.O_TRUNC):
            os.close(os.open("mnt/file", flags | os.O_CLOEXEC))
        fd = os.open("mnt/new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.close(os.open("mnt/file", os.O_WRONLY | os.O_CREAT))
        told(os.open, "mnt/none", os.O_RDONLY)
    """
    served.run(script)
    wanted = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_TRUNC | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    created = os.O_RDWR | os.O_CREAT | os.O_EXCL
    # Who writes by a handle that reads nothing needs another one to read what is there.
    assert [flags & wanted for flags in handles.flags if flags & os.O_ACCMODE] == [
        os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_NONBLOCK, os.O_WRONLY | os.O_TRUNC, created, os.O_WRONLY,
    ]  # fmt: skip
    served.wait(lambda: sorted(handles.released) == list(range(1, len(handles.flags) + 1)))


def test_a_handle_lasts_as_long_as_the_open_file(served: Served) -> None:
    handles = Handles(served.server)
    served.server.add(b"file", b"content")
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        other = os.dup(fd)
        os.close(fd)
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        os.mkdir("mnt/before")
        pid = os.fork()
        if not pid:
            os.mkdir("mnt/child")
            sys.stdin.read()
            os._exit(0)
        os.close(other)
        os.waitpid(pid, 0)
    """
    served.run(script)
    served.wait(lambda: handles.released)
    assert handles.released == [1]
    assert served.requests("MKDIR", "RELEASE") == ["MKDIR", "MKDIR", "RELEASE"]


def test_who_is_killed_lets_go_of_what_was_open(served: Served) -> None:
    handles = Handles(served.server)
    served.server.add(b"file", b"content")
    script = """
        pid = os.fork()
        if not pid:
            mode = os.O_RDWR
            kept = [os.open("mnt/file", mode) for mode in (os.O_RDONLY, os.O_RDONLY, os.O_RDWR)]
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
    """
    served.run(script)
    served.wait(lambda: sorted(handles.released) == [1, 2, 3])


def test_what_is_closed_is_not_open_when_it_is_removed(served: Served) -> None:
    handles, remove = Handles(served.server), served.server.unlink
    open_then: list[int] = []

    def note(header: Any, body: bytes) -> bytes:
        open_then.append(len(handles.flags) - len(handles.released))
        return remove(header, body)

    served.server.override["UNLINK"] = note
    script = """
        for _ in range(30):
            os.close(os.open("mnt/file", os.O_RDWR | os.O_CREAT, 0o644))
            os.close(os.open("mnt/file", os.O_RDONLY))
            os.unlink("mnt/file")
    """
    served.run(script)
    assert open_then == [0] * 30


def test_what_the_server_says_to_an_open_is_what_the_program_is_told(served: Served) -> None:
    served.server.add(b"file", b"content")
    script = """
        print(told(os.open, "mnt/file", os.O_RDONLY), told(os.open, "mnt/new", os.O_RDWR | os.O_CREAT))
    """
    served.server.override["OPEN"] = refuse(errno.EBUSY)
    served.server.override["CREATE"] = refuse(errno.EDQUOT)
    assert served.run(script) == ["EBUSY EDQUOT"]


def test_who_makes_a_file_looks_for_it_once(served: Served) -> None:
    served.server.log.clear()
    served.run("os.close(os.open('mnt/file', os.O_WRONLY | os.O_CREAT, 0o644))")
    assert served.requests("LOOKUP", "CREATE") == ["LOOKUP", "CREATE"]


def test_a_file_that_is_made_past_the_view_meanwhile_is_opened(served: Served) -> None:
    def made(_header: Any, body: bytes) -> bytes:
        served.server.add(body[CreateIn.width() : -1], b"content")
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    served.server.override["CREATE"] = made
    script = """
        for path, flags in ("mnt/file", os.O_EXCL), ("mnt/other", 0):
            fd = told(os.open, path, os.O_RDWR | os.O_CREAT | flags)
            print(fd if isinstance(fd, str) else os.read(fd, 100), os.path.exists(path))
    """
    assert served.run(script) == ["EEXIST True", "b'content' True"]


def test_a_server_without_handles_is_asked_for_one_once(served: Served) -> None:
    served.server.override["OPEN"] = refuse(errno.ENOSYS)
    served.server.add(b"file", b"content")
    script = """
        for _ in range(3):
            fd = os.open("mnt/file", os.O_RDWR)
            os.write(fd, os.read(fd, 3))
            os.close(fd)
    """
    served.run(script)
    assert served.content(b"file") == b"conconconcon"[:6] + b"t"
    assert served.requests("OPEN", "RELEASE") == ["OPEN"]


def test_truncation_is_at_the_server_at_once(served: Served) -> None:
    Handles(served.server)
    served.server.add(b"file", b"content")
    script = """
        fd = os.open("mnt/file", os.O_RDWR | os.O_TRUNC)
        print(os.stat("mnt/file").st_size)
        os.mkdir("mnt/after")
        os.write(fd, b"more")
        os.close(fd)
        os.truncate("mnt/file", 2)
    """
    served.server.override["MKDIR"] = lambda header, body: _empty(served, header, body)
    assert served.run(script) == ["0"]
    assert served.content(b"file") == b"mo"


def test_a_truncation_that_is_refused_changes_nothing(served: Served) -> None:
    Handles(served.server)
    served.server.add(b"file", b"content")
    script = """
        fd = os.open("mnt/file", os.O_RDWR)
        os.write(fd, b"CON")
        print(told(os.truncate, "mnt/file", 1 << 50), os.stat("mnt/file").st_size, os.pread(fd, 99, 0))
        print(told(os.truncate, "mnt/file", 2), os.fstat(fd).st_size, os.close(fd))
    """
    served.server.override["SETATTR"] = refuse(errno.EFBIG)
    assert served.run(script) == ["EFBIG 7 b'CONtent'", "EFBIG 7 None"]
    assert served.content(b"file") == b"CONtent"


def _empty(served: Served, header: Any, body: bytes) -> bytes:
    assert served.content(b"file") == b""
    return served.server.mkdir(header, body)


# -- what is cached -------------------------------------------------------------------------------

LOOK = """
    fd = os.open("mnt/file", os.O_RDONLY)
    print(os.read(fd, 10))
    os.mkdir("mnt/change")
    print(os.read(os.open("mnt/file", os.O_RDONLY), 10), os.pread(fd, 10, 0))
"""


@pytest.mark.parametrize(
    ("how", "second"), [(0, b"new"), (FOpen.KEEP_CACHE, b"old")], ids=["dropped", "kept"]
)
def test_the_cache_is_kept_if_the_server_says_so(served: Served, how: int, second: bytes) -> None:
    Handles(served.server, how)
    number = served.server.add(b"file", b"old")

    def change(header: Any, body: bytes) -> bytes:
        served.server.nodes[number].content = b"new"
        return served.server.mkdir(header, body)

    served.server.override["MKDIR"] = change
    assert served.run(LOOK) == ["b'old'", f"{second!r} {second!r}"]


def test_another_size_or_time_drops_what_is_cached(served: Served) -> None:
    Handles(served.server, FOpen.KEEP_CACHE)
    number = served.server.add(b"file", b"old")

    def change(header: Any, body: bytes) -> bytes:
        served.server.nodes[number].content = b"new"
        served.server.nodes[number].mtime = 12
        return served.server.mkdir(header, body)

    served.server.override["MKDIR"] = change
    assert served.run(LOOK) == ["b'old'", "b'new' b'new'"]


WATCHING = """
    fd = os.open("mnt/file", os.O_RDONLY)
    print(os.read(fd, 10))
    os.mkdir("mnt/change")
    while os.pread(fd, 10, 0) == b"old":
        pass
    print(os.pread(fd, 10, 0))
"""


@pytest.mark.parametrize("stored", [False, True], ids=["inval", "store"])
def test_what_a_server_tells_of_content_is_seen_by_who_has_it_open(served: Served, stored: bool) -> None:
    Handles(served.server, FOpen.KEEP_CACHE)
    served.server.valid = FOREVER
    number = served.server.add(b"file", b"old")

    def change(header: Any, body: bytes) -> bytes:
        if stored:
            served.server.notify(4, NotifyStore(number, 0, 5).encode() + b"newer")
        else:
            served.server.nodes[number].content = b"newer"
            served.server.notify(2, NotifyInvalInode(ino=number).encode())
        return served.server.mkdir(header, body)

    served.server.override["MKDIR"] = change
    assert served.run(WATCHING) == ["b'old'", "b'newer'"]
    assert "WRITE" not in served.server.log, "what comes from the server is not written back"


@pytest.mark.parametrize("stored", [False, True], ids=["inval", "store"])
def test_what_it_tells_while_it_is_read_is_seen_too(served: Served, *, stored: bool) -> None:
    """By who opens the file just then: what is read may be from before."""
    Handles(served.server, FOpen.KEEP_CACHE)
    served.server.valid = FOREVER
    number = served.server.add(b"file", b"old")

    def read(header: Any, body: bytes) -> bytes:
        before = served.server.read(header, body)
        if before == b"old" and not stored:
            served.server.nodes[number].content = b"new"
            served.server.notify(2, NotifyInvalInode(ino=number).encode())
        elif stored:
            served.server.notify(4, NotifyStore(number, 0, 3).encode() + b"new")
        # As long as it takes until that is read, and worked on.
        served.wait(lambda: len(heard) > 0)
        return before

    heard: list[int] = []
    notices = served.filesystem._notices
    really = notices.put

    def put(work: Any, *, needed: bool = False) -> None:
        really(work, needed=needed)
        heard.append(1)

    notices.put = put  # type: ignore[method-assign]
    served.server.override["READ"] = read
    script = """
        fd = os.open("mnt/file", os.O_RDONLY)
        while os.pread(fd, 10, 0) == b"old":
            pass
        print(os.pread(fd, 10, 0))
    """
    assert served.run(script) == ["b'new'"]


def test_a_server_gets_what_is_cached(served: Served) -> None:
    Handles(served.server, FOpen.KEEP_CACHE)
    number = served.server.add(b"file", b"0123456789")
    told: list[tuple[int, int, bytes]] = []

    def ask(header: Any, body: bytes) -> bytes:
        for node in (number, 99):
            served.server.notify(5, NotifyRetrieve(4242, node, 3, 4).encode())
        return served.server.mkdir(header, body)

    def take(header: Any, body: bytes) -> None:
        reply = NotifyRetrieveIn.decode(body)
        told.append((header.unique, reply.offset, body[NotifyRetrieveIn.width() :]))

    served.server.override |= {"MKDIR": ask, "NOTIFY_REPLY": take}
    served.run('fd = os.open("mnt/file", os.O_RDONLY); os.mkdir("mnt/ask")')
    served.wait(lambda: len(told) == 2)
    assert told == [(4242, 3, b"3456"), (4242, 3, b"")]


# -- without a name -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [0, FOpen.DIRECT_IO], ids=["cached", "direct"])
def test_a_file_is_made_without_a_name(served: Served, how: int) -> None:
    """It is the server's, by one request, and gone with the last who has it."""
    handles = Handles(served.server, how)
    made: list[int] = []

    def make(header: Any, body: bytes) -> bytes:
        asked = CreateIn.decode(body)
        assert asked.flags & os.O_TMPFILE == os.O_TMPFILE
        number = max(served.server.nodes) + 1
        served.server.nodes[number] = Node(asked.mode)
        made.append(number)
        return served.server.entry(number) + handles.give(asked.flags)

    served.server.override["TMPFILE"] = make
    served.filesystem._channel.connection.minor = 37
    script = """
        fd = os.open("mnt", os.O_TMPFILE | os.O_RDWR, 0o600)
        print(os.write(fd, b"content"), os.pread(fd, 9, 3), os.fstat(fd).st_nlink, os.listdir("mnt"))
    """
    assert served.run(script) == ["7 b'tent' 0 []"]
    served.wait(lambda: served.server.forgotten if not how else handles.released)
    assert served.requests("TMPFILE", "CREATE", "OPEN") == ["TMPFILE"]
    assert handles.released == [1]


def test_a_file_that_was_made_without_a_name_gets_one(served: Served) -> None:
    handles = Handles(served.server)

    def make(header: Any, body: bytes) -> bytes:
        number = max(served.server.nodes) + 1
        asked = CreateIn.decode(body)
        served.server.nodes[number] = Node(asked.mode)
        return served.server.entry(number) + handles.give(asked.flags)

    served.server.override["TMPFILE"] = make
    served.filesystem._channel.connection.minor = 37
    script = """
        fd = os.open("mnt", os.O_TMPFILE | os.O_WRONLY, 0o600)
        os.write(fd, b"content")
        link = lambda name: told(lambda: os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd))
        link("mnt/named")
        os.close(fd)
        print(open("mnt/named").read(), os.stat("mnt/named").st_nlink)
        fd = os.open("mnt", os.O_TMPFILE | os.O_WRONLY | os.O_EXCL, 0o600)
        print(link("mnt/other"))
    """
    assert served.run(script) == ["content 1", "ENOENT"]
    assert served.content(b"named") == b"content"


def test_a_server_that_makes_no_files_without_names(served: Served) -> None:
    script = 'print(told(os.open, "mnt", os.O_TMPFILE | os.O_RDWR, 0o600))'
    assert served.run(script) == ["ENOTSUP"]


# -- the end --------------------------------------------------------------------------------------


def test_a_server_that_does_not_answer_at_the_end_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "PATIENCE", 0.5)
    served.server.add(b"file", b"old")
    served.server.override["WRITE"] = lambda header, body: None
    served.run('fd = os.open("mnt/file", os.O_WRONLY); os.write(fd, b"new"); os._exit(0)')
    served.view.close()
    (line,) = served.view.unsaved
    told, _, copy = line.partition("; its content is in ")
    assert told.endswith("mnt/file could not be saved: connection timed out")
    assert Path(copy).read_bytes() == b"new"
    shutil.rmtree(Path(copy).parent)
