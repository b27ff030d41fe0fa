"""Terminal: which signals diorama survives, passes on, or leaves as they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from diorama.cli.terminal import Interrupted, Terminal, is_stopped


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN])
def test_what_is_typed_is_the_program_s_business(sig: int, sleeper: subprocess.Popen[bytes]) -> None:
    with Terminal() as terminal, terminal.attached(sleeper.pid):
        signal.raise_signal(sig)
    assert sleeper.poll() is None
    assert not terminal.told_to_end


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_sent_to_end_diorama_ends_the_program(sig: int, sleeper: subprocess.Popen[bytes]) -> None:
    with Terminal() as terminal, terminal.attached(sleeper.pid):
        signal.raise_signal(sig)
        assert sleeper.wait(timeout=50) == -sig
    assert terminal.told_to_end


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
def test_what_comes_before_the_program_is_known_waits_for_it(
    sig: int, sleeper: subprocess.Popen[bytes]
) -> None:
    with Terminal() as terminal:
        signal.raise_signal(sig)
        with terminal.attached(sleeper.pid):
            assert sleeper.wait(timeout=50) == -sig


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_after_the_program_s_end_it_ends_diorama_once(sig: int, sleeper: subprocess.Popen[bytes]) -> None:
    with Terminal() as terminal:
        with terminal.attached(sleeper.pid):
            pass
        with pytest.raises(Interrupted), terminal.interruptible():
            signal.raise_signal(sig)
        signal.raise_signal(sig)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_what_comes_between_the_program_and_the_others_is_not_lost(
    sig: int, sleeper: subprocess.Popen[bytes]
) -> None:
    with Terminal() as terminal:
        with terminal.attached(sleeper.pid):
            pass
        signal.raise_signal(sig)
        with pytest.raises(Interrupted), terminal.interruptible():
            pytest.fail("it goes on")


@pytest.mark.parametrize(
    ("signals", "is_enough"),
    [
        ([signal.SIGTERM], False),
        ([signal.SIGHUP], False),
        ([signal.SIGTERM, signal.SIGTERM], True),
        ([signal.SIGINT], True),
        ([signal.SIGQUIT], True),
    ],
)
def test_the_end_of_a_view_is_not_cut_short(
    signals: list[int], is_enough: bool, sleeper: subprocess.Popen[bytes]
) -> None:
    before = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)}
    with Terminal() as terminal:
        with terminal.closing(), terminal.attached(sleeper.pid):
            pass
        assert not terminal.has_had_enough()
        for sig in signals:
            signal.raise_signal(sig)
        assert terminal.has_had_enough() == is_enough
        assert (signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]) == is_enough
        assert signal.getsignal(signal.SIGTSTP) == before[signal.SIGTSTP]
    assert {sig: signal.getsignal(sig) for sig in before} == before


def test_what_the_caller_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Terminal():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_afterwards_handlers_are_as_before() -> None:
    before = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)}
    with Terminal():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    assert {sig: signal.getsignal(sig) for sig in before} == before


def test_a_stopped_process_is_told_from_a_running_one(sleeper: subprocess.Popen[bytes]) -> None:
    assert not is_stopped(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 50
    while not is_stopped(sleeper.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sleeper.send_signal(signal.SIGCONT)


def test_a_process_that_is_gone_is_not_stopped() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert not is_stopped(pid)
