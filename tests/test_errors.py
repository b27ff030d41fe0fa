"""Errors that handlers raise become the errno that their class stands for."""

from __future__ import annotations

import errno

import pytest

from diorama.errors import Unsupported, errno_of, warn_once


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(), errno.EACCES),
        (PermissionError(errno.EPERM, "not permitted"), errno.EPERM),
        (FileNotFoundError(), errno.ENOENT),
        (TimeoutError("late"), errno.ETIMEDOUT),
        (OSError("no number"), errno.EIO),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (Unsupported("fsopen", "no file systems from inside"), errno.EOPNOTSUPP),
    ],
)
def test_an_exception_stands_for_an_errno(error: OSError, code: int) -> None:
    assert errno_of(error) == code


def test_a_warning_appears_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        warn_once("a call", "a reason of this test")
    assert capsys.readouterr().err == "diorama: a call: a reason of this test\n"
