"""Threads that have just been started, while a handler waits for something that they do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engines import ENGINES

# On one CPU, where others compute, it often makes its next call before the new thread has done anything.
SCRIPT = """
import os, subprocess, sys, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
import diorama

view = diorama.View(engine=sys.argv[1], strict=True)
begun = threading.Semaphore(0)

@view.on("getpgid")
def begins(call):
    begun.release()

@view.on("getppid")
def waits(call):
    assert begun.acquire(timeout=20), "the new thread does nothing"

program = '''
import _thread, ctypes
libc = ctypes.CDLL(None)
for _ in range(200):
    _thread.start_new_thread(libc.getpgid, (0,))
    libc.getppid()
print("done")
'''
try:
    print(view.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50).stdout)
finally:
    for other in others:
        other.kill()
        other.wait()
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_waits_for_a_thread_that_its_program_has_just_started(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, engine], capture_output=True, text=True, timeout=58, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["done"], "")
