"""Finding requests by what people call them."""

from __future__ import annotations

import re

import pytest

from diorama import calls, catalogue


def test_a_request_is_found_by_each_of_its_spellings_and_its_class() -> None:
    for word in ("open", "openat", "creat", "OpenAt"):
        assert catalogue.find(word) == (calls.OpenAt,)
    assert catalogue.find("lstat64") == (calls.FStatAt,)


def test_classes() -> None:
    assert {calls.OpenAt, calls.UnlinkAt, calls.ExecveAt} <= set(catalogue.find("%file"))
    assert catalogue.find("%network") == catalogue.find("%net")
    assert calls.Connect in catalogue.find("%net")
    for word in ("file", "process", "network", "signal", "ipc", "desc", "memory", "creds", "clock", "pure"):
        assert catalogue.find(f"%{word}")


def test_classes_of_strace_that_tell_spellings_apart() -> None:
    assert catalogue.select("%lstat") == {"lstat", "lstat64", "oldlstat"}
    assert "newfstatat" in catalogue.select("%fstat")
    assert catalogue.select("%statfs") == {"statfs", "statfs64"}
    assert catalogue.select("open") == {"open"}


def test_regular_expressions() -> None:
    assert catalogue.select("/^mkdir") == {"mkdir", "mkdirat"}
    assert len(catalogue.find("/.")) == len(catalogue.requests())


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("opneat", "unknown system call 'opneat'; did you mean openat?"),
        ("%flie", "unknown class of system calls '%flie'; did you mean %file?"),
        ("/nothing_like_it", "no system call matches '/nothing_like_it'"),
        ("/(", "not a regular expression: '('"),
        ("vserver", "vserver is left alone: reserved for a call that Linux never had"),
        ("", "unknown system call ''"),
    ],
)
def test_mistakes_get_one_line(word: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
        catalogue.find(word)
    assert "\n" not in str(caught.value)


def test_explanations() -> None:
    text = catalogue.explain("creat")
    parts = ("OpenAt: Open a file", "x86-64 85", "i386 8", "O_CREAT", "%file", "path at dirfd", "openat(2)")
    for part in parts:
        assert part in text, part
    assert "left alone" in catalogue.explain("rt_sigreturn")
    assert "lstat" in catalogue.explain("lstat64")
    assert len(catalogue.explain("%network").splitlines()) == len(catalogue.find("%network"))
    for request in catalogue.requests():
        assert catalogue.explain(request.NAME).startswith(f"{request.__name__}: ")
    with pytest.raises(ValueError, match="did you mean openat"):
        catalogue.explain("opneat")
