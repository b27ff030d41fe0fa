"""Memfds: what is compared, and copied."""

from __future__ import annotations

import os

import pytest

from diorama.dispatch.files import memfd


def made(content: bytes) -> int:
    fd = memfd.create_memfd(b"content")
    os.write(fd, content)
    return fd


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"", b"x"), (b"abc", b"abd"), (b"abc", b"abcd"), (bytes(3 << 20), bytes((3 << 20) - 1) + b"x")],
)
def test_files_are_equal_that_have_the_same_content(one: bytes, other: bytes) -> None:
    fds = [made(one), made(one), made(other)]
    try:
        assert memfd.are_equal(fds[0], fds[1])
        assert not memfd.are_equal(fds[0], fds[2])
        memfd.replace(fds[0], fds[2])
        assert memfd.are_equal(fds[0], fds[2])
    finally:
        for fd in fds:
            os.close(fd)
