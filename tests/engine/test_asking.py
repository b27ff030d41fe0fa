"""A FUSE server is asked without the interpreter: as Python would, with the same inodes, and whatever goes
wrong is for Python."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from typing import Any

import pytest

from diorama.abi.fcntl import AT_FDCWD
from diorama.engine.decider import Verdict, VerdictKind
from diorama.fuse.notices import NotifyInvalInode
from diorama.fuse.wire import Attr, EntryOut
from engine.test_told import Told, told, wait_until
from modules.fuse_server import FOREVER

__all__ = ["told"]

ASK, RUN, VALUE, GIVE, _ = VerdictKind
PATH = "/directory/inside"
INVAL_INODE = 2


@pytest.fixture
def asking(told: Told) -> Told:
    """Where all the time in the world is for answers, and nobody else reads them."""
    told.filesystem.told.open(may_ask=True)
    told.filesystem._channel._askers += 1
    patience(told, 60)
    told.server.log.clear()
    return told


def patience(asking: Told, seconds: float) -> None:
    """How long an answer is waited for before Python is asked."""
    length = struct.pack("@ll", int(seconds), int(seconds % 1 * 10**6))
    asking.filesystem._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, length)


def log(asking: Told) -> list[str]:
    """What was asked since the last time."""
    found = list(asking.server.log)
    asking.server.log.clear()
    return found


def test_what_is_not_known_is_asked_for_and_kept(asking: Told) -> None:
    verdict, found = asking.stat(PATH)
    assert verdict == Verdict(VALUE)
    assert (found["number"], found["size"]) == (3, 7)
    assert log(asking) == ["GETATTR", "LOOKUP", "LOOKUP"]
    assert asking.stat(PATH) == (verdict, found)
    assert log(asking) == []


def test_what_holds_for_no_time_is_asked_for_each_time(asking: Told) -> None:
    asking.server.valid = 0
    for size in (7, 8):
        asking.server.nodes[3].content = bytes(size)
        assert asking.stat(PATH)[1]["size"] == size
        assert log(asking) == ["GETATTR", "LOOKUP", "GETATTR", "LOOKUP", "GETATTR"]


def test_python_knows_the_same_inodes_and_gives_all_references_back(asking: Told) -> None:
    asking.server.valid = 0
    asking.stat(PATH)
    asking.stat(PATH)
    place = asking.look(PATH)
    asking.stat(PATH)
    assert asking.look(PATH).inode == place.inode
    assert asking.filesystem.attributes(place.inode).number == 3
    lookups = asking.server.nodes[3].lookups
    assert lookups >= 5
    asking.filesystem.forget(place.inode)
    asking.filesystem.statistics()
    assert asking.server.forgotten == [(3, lookups)]
    # It is another inode now, although the server uses its number again.
    asking.stat(PATH)
    assert asking.look(PATH).inode != place.inode


def test_what_is_not_there_is_missing(asking: Told) -> None:
    assert asking.stat("/directory/none")[0] == Verdict(VALUE, -errno.ENOENT)
    assert asking.stat("/none/below")[0] == Verdict(VALUE, -errno.ENOENT)
    log(asking)
    assert asking.stat("/none")[0] == Verdict(VALUE, -errno.ENOENT)
    assert log(asking) == ["LOOKUP"]
    nothing = EntryOut(entry_valid=FOREVER).encode() + Attr().encode()
    asking.server.override["LOOKUP"] = lambda header, body: nothing
    for _ in range(2):
        assert asking.stat("/none")[0] == Verdict(VALUE, -errno.ENOENT)
    assert log(asking) == ["LOOKUP"]


def test_a_directory_with_a_slash_is_asked_for_its_status_too(asking: Told) -> None:
    asking.server.valid = 0
    assert asking.stat("/directory/.")[1]["number"] == 2
    assert log(asking) == ["GETATTR", "LOOKUP", "GETATTR"]
    assert asking.stat("/directory/")[1]["number"] == 2
    assert asking.kind(PATH + "/") is ASK  # which is no directory


def test_opening_asks_only_for_what_python_will_find(asking: Told) -> None:
    path = os.fsencode(asking.point + PATH)
    asking.server.valid = 0
    asking.stat("")
    asking.stat("/directory")
    log(asking)
    assert asking.ask("openat", AT_FDCWD, path, os.O_RDONLY).kind is ASK
    assert log(asking) == []
    asking.server.valid = FOREVER
    asking.stat("/directory")
    log(asking)
    assert asking.ask("openat", AT_FDCWD, path, os.O_RDONLY).kind is ASK
    assert log(asking) == ["LOOKUP"]
    place = asking.look(PATH)
    assert asking.filesystem.attributes(place.inode).size == 7
    assert log(asking) == []
    assert asking.ask("faccessat", AT_FDCWD, path, os.R_OK).kind is VALUE


def test_what_was_told_here_is_known_in_python(asking: Told) -> None:
    asking.server.nodes[3].mtime = (1 << 64) - 7
    asking.stat(PATH)
    log(asking)
    place = asking.look(PATH)
    native = asking.filesystem.attributes(place.inode)
    assert log(asking) == []
    asking.filesystem._known.changed(place.inode)
    assert asking.filesystem.attributes(place.inode) == native
    assert log(asking) == ["GETATTR"]
    assert asking.stat("/directory/none")[0].value == -errno.ENOENT


def test_a_name_that_was_found_here_is_renamed_and_removed(asking: Told) -> None:
    inode = asking.look(PATH).inode
    directory = asking.look("/directory").inode
    asking.filesystem._known._names.clear()
    asking.stat(PATH)
    asking.filesystem.rename(directory, b"inside", directory, b"moved")
    asking.server.nodes[3].mode = 0o100600
    assert asking.stat(PATH)[0] == Verdict(VALUE, -errno.ENOENT)
    assert asking.stat("/directory/moved")[1]["mode"] == 0o100600
    asking.filesystem.remove(directory, b"moved")
    assert asking.stat("/directory/moved")[0] == Verdict(VALUE, -errno.ENOENT)
    assert asking.filesystem.attributes(inode).number == 3


def test_what_changes_while_it_is_asked_for_is_not_kept(asking: Told) -> None:
    asking.stat("/directory")

    def answer(header: Any, body: bytes) -> bytes:
        asking.filesystem._known.changed(1)
        return asking.server.lookup(header, body)

    asking.server.override["LOOKUP"] = answer
    assert asking.kind(PATH) is VALUE
    del asking.server.override["LOOKUP"]
    log(asking)
    assert asking.kind(PATH) is VALUE
    assert log(asking) == ["GETATTR", "LOOKUP"]


def slow(asking: Told, name: str) -> threading.Event:
    """A server that answers this only then."""
    patience(asking, 0.05)
    release, answer = threading.Event(), getattr(asking.server, name.lower())

    def wait(header: Any, body: bytes) -> Any:
        release.wait(60)
        return answer(header, body)

    asking.server.override[name] = wait
    return release


@pytest.mark.parametrize("name", ["LOOKUP", "GETATTR"])
def test_who_waits_too_long_goes_on_in_python_with_the_same_request(asking: Told, name: str) -> None:
    asking.server.valid = 0
    release = slow(asking, name)
    assert asking.kind("/directory") is ASK
    asked = asking.server.log.count(name)
    threading.Timer(0.2, release.set).start()
    if name == "LOOKUP":
        assert asking.filesystem.lookup(1, b"directory") > 1
    else:
        assert asking.filesystem.attributes(1).number == 1
    assert asking.server.log.count(name) == asked


def test_an_answer_for_which_nobody_waits_any_more_harms_nobody(asking: Told) -> None:
    release = slow(asking, "LOOKUP")
    assert asking.kind("/directory") is ASK
    thread = threading.Thread(target=asking.filesystem.statistics)
    thread.start()  # another thread, which is no heir of this one
    release.set()
    thread.join(60)
    assert not thread.is_alive()
    asking.filesystem.statistics()
    assert asking.kind("/directory") is VALUE
    assert asking.server.nodes[2].lookups == 2
    asking.filesystem.forget(asking.look("/directory").inode)
    asking.filesystem.statistics()
    assert asking.server.forgotten == [(2, 1), (2, 1)], "the one of nobody as soon as it came"


def test_a_reference_that_nobody_knows_yet_is_not_given_back_with_those_that_are_known(
    asking: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem = asking.filesystem
    first, known, entered = filesystem.lookup(1, b"directory"), filesystem._known, filesystem._known.entered
    known.forget_name(1, b"directory")

    def forgotten_meanwhile(*told: Any, **named: Any) -> int:
        filesystem.forget(first)
        return entered(*told, **named)

    monkeypatch.setattr(known, "entered", forgotten_meanwhile)
    second = filesystem.lookup(1, b"directory")
    assert second not in (0, first)
    filesystem.statistics()  # it has read what was told before
    assert asking.server.forgotten == [(2, 1)]
    assert asking.server.nodes[2].lookups == 2
    assert filesystem.attributes(second).number == 2


def test_what_the_server_tells_first_is_heeded_first(asking: Told) -> None:
    asking.stat("")
    notice = NotifyInvalInode(1, -1, 0).encode()

    def answer(header: Any, body: bytes) -> bytes:
        asking.server.notify(INVAL_INODE, notice)
        return asking.server.lookup(header, body)

    asking.server.override["LOOKUP"] = answer
    assert asking.kind("/directory") is ASK
    del asking.server.override["LOOKUP"]
    assert asking.look("/directory").inode
    log(asking)
    assert asking.filesystem.attributes(1).number == 1


@pytest.mark.parametrize("answer", [b"", b"x" * 100, bytes(200)])
def test_a_server_that_lies_is_dropped(asking: Told, answer: bytes) -> None:
    asking.server.override["LOOKUP"] = lambda header, body: answer
    assert asking.kind("/directory") is ASK
    with pytest.raises(OSError, match=os.strerror(errno.ECONNABORTED)):
        asking.filesystem.lookup(1, b"directory")
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        asking.filesystem.statistics()
    assert asking.kind("/directory") is ASK


def test_a_server_that_goes_away(asking: Told) -> None:
    def go(header: Any, body: bytes) -> None:
        asking.server.socket.shutdown(socket.SHUT_RDWR)

    asking.server.override["LOOKUP"] = go
    assert asking.kind("/directory") is ASK
    with pytest.raises(OSError, match=os.strerror(errno.ECONNABORTED)):
        asking.filesystem.lookup(1, b"directory")
    asking.filesystem.close()
    assert asking.kind("/directory") is ASK


def test_both_ask_at_once(asking: Told) -> None:
    asking.server.valid = 0
    rounds, wrong = 300, list[object]()

    def native() -> None:
        for _ in range(rounds):
            verdict, found = asking.stat(PATH)
            if verdict.kind is VALUE and found["size"] != 7:
                wrong.append(found)

    def ours() -> None:
        for _ in range(rounds):
            asking.look(PATH)

    threads = [threading.Thread(target=one) for one in (native, ours, native, ours)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert asking.kind(PATH) is VALUE


def test_answers_that_nobody_waits_for_are_in_nobodys_way(asking: Told) -> None:
    file = asking.filesystem.open_file(asking.look(PATH).inode, os.O_RDONLY)
    asking.stat(PATH)
    file.close()
    wait_until(lambda: "RELEASE" in asking.server.log and _has_come(asking))
    assert asking.kind(PATH) is VALUE
    assert not _has_come(asking)
    assert asking.filesystem.statistics()


def _has_come(asking: Told) -> bool:
    try:
        return bool(asking.filesystem._channel._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def test_many_answers_that_nobody_waits_for_are_all_taken(asking: Told) -> None:
    inode = asking.look(PATH).inode
    files = [asking.filesystem.open_file(inode, os.O_RDONLY) for _ in range(200)]
    release = slow(asking, "STATFS")
    thread = threading.Thread(target=asking.filesystem.statistics)
    thread.start()
    for file in files:
        file.close()
    asking.filesystem.forget(inode)
    release.set()
    thread.join(60)
    assert not thread.is_alive()
    asking.filesystem.statistics()
    assert asking.server.log.count("RELEASE") == 200
    wait_until(lambda: asking.server.forgotten == [(3, asking.server.nodes[3].lookups)])
    assert asking.kind("/directory") is VALUE
