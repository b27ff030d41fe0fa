"""Who has a socket, by what proc(5) shows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from diorama.engine.ending import holders


def test_holders_are_found_without_asking_for_the_status_of_what_anybody_has_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file system of the host that does not answer would keep us waiting."""
    ours, theirs = socket.socketpair()
    status = os.fstat(theirs.fileno())
    identity = status.st_dev, status.st_ino
    kept = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert kept.stdin is not None
    assert kept.stdout is not None
    try:
        kept.stdout.readline()
        with monkeypatch.context() as patch:
            patch.delattr(os, "stat")
            assert holders(identity) == {kept.pid: {theirs.fileno()}}
            assert holders((identity[0], 0)) == {}
    finally:
        kept.stdin.close()
        kept.wait(30)
        kept.stdout.close()
    ours.close()
    theirs.close()
