"""Memfds: what is compared, and copied."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

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


def test_several_may_ask_at_once_who_has_a_file_open() -> None:
    """An open file has one lease, and who gives back what another has given back already is told EAGAIN."""
    writable = made(b"content")
    fd = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    os.close(writable)
    found: list[bool] = []

    def ask() -> None:
        found.extend(memfd.is_held(fd) or memfd.is_written(fd) for _ in range(5000))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    assert found == [False] * 15000


LEASING = """
import os
from diorama.dispatch.files import memfd
writable = memfd.create_memfd(b"leased")
path = f"/proc/self/fd/{writable}"
fd = os.open(path, os.O_RDONLY)
os.close(writable)
path = f"/proc/{os.getpid()}/fd/{fd}"
child = os.fork()
if not child:
    os.close(fd)
    while True:
        os.close(os.open(path, os.O_WRONLY))
for _ in range(20000):
    memfd.is_held(fd)
    memfd.is_written(fd)
os.kill(child, 9)
os.wait()
print("alive")
"""


def test_who_asks_for_a_lease_survives_that_it_is_broken() -> None:
    """Opening a file breaks the lease on it, and whoever has that gets a signal."""
    command = [sys.executable, "-c", LEASING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
