"""Where a link of a FUSE server leads is asked for without the interpreter, and not of what is none."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import Any

import pytest

from diorama.abi.fcntl import AT_FDCWD
from diorama.engine.decider import Verdict, VerdictKind
from engine.test_asking import PATH, asking, log, patience
from engine.test_told import Told, told

__all__ = ["asking", "told"]

ASK, RUN, VALUE, GIVE, _ = VerdictKind
TARGET = b"directory/inside"


def read(asking: Told, path: str, size: int = 100) -> tuple[Verdict, bytes]:
    buffer = ctypes.create_string_buffer(256)
    verdict = asking.ask("readlinkat", AT_FDCWD, os.fsencode(asking.point + path), buffer, size)
    return verdict, buffer.value


def test_its_target_is_that_of_now(asking: Told) -> None:
    asking.server.override["READLINK"] = lambda header, body: TARGET
    assert read(asking, "/link") == (Verdict(VALUE, len(TARGET)), TARGET)
    assert log(asking) == ["GETATTR", "LOOKUP", "READLINK"]
    asking.server.override["READLINK"] = lambda header, body: b"else\0where"
    assert read(asking, "/link") == (Verdict(VALUE, 4), b"else")
    assert read(asking, "/link", 2) == (Verdict(VALUE, 2), b"el")
    assert log(asking) == ["READLINK", "READLINK"]
    assert read(asking, "/link/")[0].kind is ASK


@pytest.mark.parametrize(("error", "expected"), [
    (errno.EACCES, Verdict(VALUE, -errno.EACCES)),
    (errno.ENOSYS, Verdict(ASK)),
])  # fmt: skip
def test_what_the_server_says_instead(asking: Told, error: int, expected: Verdict) -> None:
    def fails(header: Any, body: bytes) -> bytes:
        raise OSError(error, os.strerror(error))

    asking.server.override["READLINK"] = fails
    assert read(asking, "/link")[0] == expected


@pytest.mark.parametrize("target", [b"", b"\0else", b"x" * 4096], ids=["empty", "zero", "long"])
def test_what_is_no_target_is_for_python(asking: Told, target: bytes) -> None:
    asking.server.override["READLINK"] = lambda header, body: target
    verdict, _found = read(asking, "/link", 256)
    assert verdict == (Verdict(ASK) if len(target) < 256 else Verdict(VALUE, 256))


def test_what_is_no_link_is_asked_for_nothing_but_its_type(asking: Told) -> None:
    asking.server.valid = 0
    for path in (PATH, "/directory"):
        asking.stat("")
        log(asking)
        assert read(asking, path)[0] == Verdict(VALUE, -errno.EINVAL)
        assert "READLINK" not in log(asking)
    asking.stat("")
    log(asking)
    read(asking, "/directory")
    assert log(asking) == ["GETATTR", "LOOKUP"]
    assert read(asking, "/none")[0] == Verdict(VALUE, -errno.ENOENT)
    assert read(asking, PATH, 0)[0].kind is ASK  # that is wrong with whatever it is


def test_who_writes_to_it_makes_it_no_link(asking: Told) -> None:
    asking.filesystem.differs(asking.look(PATH).inode, does=True)
    assert asking.kind(PATH) is ASK
    assert read(asking, PATH)[0] == Verdict(VALUE, -errno.EINVAL)


def test_a_mount_is_none_whether_its_server_answers_or_not(asking: Told) -> None:
    asking.server.valid = 0
    for path in ("", "/"):
        assert read(asking, path)[0] == Verdict(VALUE, -errno.EINVAL)
    assert log(asking) == []


def test_a_target_that_comes_late_harms_nobody(asking: Told) -> None:
    release = threading.Event()

    def slow(header: Any, body: bytes) -> bytes:
        release.wait(60)
        return TARGET

    asking.server.override["READLINK"] = slow
    patience(asking, 0.05)
    assert read(asking, "/link")[0].kind is ASK
    release.set()
    assert asking.filesystem.readlink(asking.look("/link", follow=False).inode) == TARGET
    assert asking.server.log.count("READLINK") == 2
    assert asking.filesystem.statistics()
