"""Above: a process is in a view that is notified if its supervisor is above, with fewer seccomp filters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from diorama.engine.descent import filters_of

BELOW = """
import ctypes, sys
class Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("code", ctypes.c_char_p)]
def allow_all():
    libc = ctypes.CDLL(None, use_errno=True)
    allow = bytes([6, 0, 0, 0, 0, 0, 0xFF, 0x7F])  # BPF_RET, SECCOMP_RET_ALLOW
    assert not libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert not libc.prctl(22, 2, ctypes.byref(Program(1, allow)))  # PR_SET_SECCOMP
from diorama.engine.above import is_in_a_view
print(is_in_a_view())
allow_all()
print(is_in_a_view())
"""

# What has the library, and is called `diorama`, but supervises nobody.
OTHERS = """
import subprocess, sys
import diorama.engine._native
subprocess.run([sys.executable, "-P", "-c", sys.argv[2]], check=True)
"""


def test_who_is_called_so_but_has_as_many_filters_supervises_nothing() -> None:
    if filters_of(os.getpid()) is None:
        pytest.skip("before Linux 5.9 nobody tells how many filters there are")
    command = [sys.executable, "-P", "-c", OTHERS, "diorama", BELOW]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (out.stdout.split(), out.stderr) == (["False", "True"], "")
