"""A view's clock that is changed while programs run."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

import diorama
from behaviour.test_clock import LATER, python
from diorama.engine.decider import Decider
from diorama.errors import UsageError
from diorama.view.clock import Course

OWN_CLOCKS = """
    import ctypes, os, sys, time
    from diorama.view.clockspec import CALL, OWN
    libc = ctypes.CDLL(None)
    for at in range(1000, 1000 + int(sys.argv[1])):
        pid = os.fork()
        if not pid:
            words = ctypes.create_string_buffer(f"{OWN}:at=@{at}".encode(), 256)
            os._exit(libc.clock_adjtime(CALL, words) or int(time.time()) != at)
        assert os.waitpid(pid, 0)[1] == 0
"""


def test_clocks_of_processes_that_are_gone_are_forgotten(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[int, Course] = {}
    tell = Decider.clock

    def note(decider: Decider, number: int, course: Course | None) -> None:
        if course is None:
            del known[number]
        else:
            known[number] = course
        tell(decider, number, course)

    monkeypatch.setattr(Decider, "clock", note)
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.freeze()
        for count in ("20", "1"):
            argv = [sys.executable, "-c", textwrap.dedent(OWN_CLOCKS), count]
            assert view.run(argv, timeout=60).returncode == 0
            gc.collect()
    assert sorted(known) == [0, 21]


def test_who_sleeps_wakes_when_time_is_advanced(engine: str) -> None:
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.scale(2)
        before = view.clock.now()
        process = view.Popen(["sleep", "2d"])
        while "S" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]:
            time.sleep(0.01)
        while process.poll() is None:
            view.clock.advance(3600)
            time.sleep(0.02)
        assert process.returncode == 0
        assert view.clock.now() - before >= timedelta(hours=1)


WAITING = {
    "sleep": "libc.clock_nanosleep(0, 1, until, None)",
    "semaphore": "libc.sem_timedwait(semaphore, until)",
    "timer": "os.read(timer, 8)",
}


@pytest.mark.parametrize("clock", ["host", "offset=1d"])
@pytest.mark.parametrize("waiting", WAITING)
def test_who_waits_for_a_date_waits_for_it_whatever_is_set(engine: str, clock: str, waiting: str) -> None:
    code = f"""
        import ctypes, os, struct, sys, time
        libc = ctypes.CDLL(None)
        semaphore = ctypes.create_string_buffer(32)
        libc.sem_init(semaphore, 0, 0)
        date = int(time.time()) + 30 * 86400
        until = struct.pack("qq", date, 0)
        timer = libc.timerfd_create(0, 0)
        assert libc.timerfd_settime(timer, 1, struct.pack("qq", 0, 0) + until, None) == 0
        print("ready", flush=True)
        {WAITING[waiting]}
        print(time.time() >= date)
    """
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.change(clock)
        process = view.Popen(python(code), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        view.clock.advance(29 * 86400)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        view.clock.advance(2 * 86400)
        assert process.communicate(timeout=60)[0] == "True\n"


@pytest.mark.parametrize("change", ["freeze", "scale=-1"])
def test_a_timer_waits_while_its_date_does_not_come(engine: str, change: str) -> None:
    code = """
        import ctypes, os, struct, time
        libc = ctypes.CDLL(None)
        date = int(time.time()) + 86400
        timer = libc.timerfd_create(0, 0)
        assert libc.timerfd_settime(timer, 1, struct.pack("4q", 0, 0, date, 0), None) == 0
        print("ready", flush=True)
        print(struct.unpack("q", os.read(timer, 8))[0], date <= time.time() < date + 3600)
    """
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.offset(0)
        process = view.Popen(python(code), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        view.clock.change(change)
        view.clock.change("host")
        view.clock.advance(86400)
        assert process.communicate(timeout=60)[0] == "1 True\n"


def test_time_that_stands_still_goes_on_when_it_is_told_to(engine: str) -> None:
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.change("scale=0")
        code = python("import time; time.sleep(0.5); print(time.monotonic())")
        process = view.Popen(code, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        stands = view.clock.monotonic()
        assert view.clock.monotonic() == stands
        view.clock.scale(5)
        told = process.communicate(timeout=60)[0]
        assert float(told) >= stands + 0.5


def test_from_python(engine: str) -> None:
    with diorama.View(engine=engine, strict=True) as view:
        view.clock.freeze()
        view.clock.set(LATER)
        assert view.clock.now() == LATER
        done = view.run(["date", "-u", "+%FT%T"], capture_output=True, text=True, timeout=60)
        assert done.stdout == "2040-01-01T00:00:00\n"
        view.clock.advance(60)
        assert view.clock.now() == LATER + timedelta(minutes=1)
        view.clock.offset(0)
        with pytest.raises(UsageError, match="negative"):
            view.clock.advance(-1)
        with pytest.raises(UsageError, match="1970"):
            view.clock.set(-5)
        for change in view.clock.set, view.clock.offset, view.clock.advance:
            for number in float("inf"), float("nan"):
                with pytest.raises(UsageError, match="cannot set the clock"):
                    change(number)
