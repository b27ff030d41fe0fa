"""Terminals: an interactive shell in a view has job control, and a view behaves in somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from behaviour import harness
from behaviour.harness import DIORAMA, EMPTY, TRACE, Bench, Way, run_with
from behaviour.terminal import Terminal

BASH = ["bash", "--norc", "--noprofile", "-i"]
each_way = harness.each_way(EMPTY, TRACE, run_with(module="every_result"))

Open = Callable[[list[str]], Terminal]


@pytest.fixture
def on_terminal(bench: Bench) -> Iterator[Open]:
    bench.environment = {"PS1": "prompt> ", "HISTFILE": ""}
    opened: list[Terminal] = []

    def start(argv: list[str]) -> Terminal:
        opened.append(Terminal(argv, bench.work, bench.surroundings()))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_natively_this_conversation_works(on_terminal: Open) -> None:
    converse(on_terminal(BASH))


@each_way
def test_a_shell_in_a_view_has_job_control(on_terminal: Open, way: Way) -> None:
    converse(on_terminal(way(BASH)))


def converse(shell: Terminal) -> None:
    shell.expect("prompt> ")
    shell.type("echo up; cat\n")
    shell.expect("\r\nup\r\n")
    shell.type("back\n")
    shell.expect("back\r\nback\r\n")
    shell.type("\x1a")
    shell.expect(r"Stopped +cat")
    shell.type("jobs\n")
    shell.expect(r"\[1\]\+  Stopped +cat")
    shell.type("sleep 100 &\n")
    shell.expect(r"\[2\] \d+")
    shell.type("fg %1\n")
    shell.expect("fg %1\r\ncat\r\n")
    shell.type("again\n")
    shell.expect("again\r\nagain\r\n")
    shell.type("\x03")
    shell.expect("prompt> ")
    shell.type("echo status=$?\n")
    shell.expect("status=130\r\n")
    shell.type("kill %2; wait %2; echo status=$?\n")
    shell.expect("status=143\r\n")
    shell.type("(echo up; sleep 100) | cat\n")
    shell.expect("\r\nup\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.type("bg; kill %%; wait; echo 'the end' is near\n")
    shell.expect("the end is near\r\n")
    shell.type("stty size; exit 9\n")
    shell.expect("24 200")
    assert shell.status() == 9


@each_way
def test_control_c_ends_a_program_that_does_not_catch_it(on_terminal: Open, way: Way) -> None:
    terminal = on_terminal(way(["sh", "-c", "echo ready; exec sleep 100"]))
    terminal.expect("ready")
    terminal.type("\x03")
    assert terminal.status() == 130


@each_way
def test_a_program_catches_control_c(on_terminal: Open, way: Way) -> None:
    # Not bash: it loops for ever when the signal comes right after a fork, outside of a view as well.
    script = "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done"
    terminal = on_terminal(way(["sh", "-c", script]))
    terminal.expect("ready")
    terminal.type("\x03")
    terminal.expect("caught")
    assert terminal.status() == 4


@each_way
def test_a_view_is_a_job_of_the_shell_outside(bench: Bench, on_terminal: Open, way: Way) -> None:
    shell = on_terminal(BASH)
    shell.expect("prompt> ")
    (bench.work / "job").write_text("echo up; exec cat")
    shell.type(" ".join(way(["sh", "job"])) + "\n")
    shell.expect("\r\nup\r\n")
    shell.type("here\n")
    shell.expect("here\r\nhere\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.type("echo in the 'outer' shell\n")
    shell.expect("in the outer shell\r\n")
    shell.type("fg\n")
    shell.expect(r"sh job\r\n")
    shell.type("there\n")
    shell.expect("there\r\nthere\r\n")
    shell.type("\x04")
    shell.expect("prompt> ")
    shell.type("exit 3\n")
    assert shell.status() == 3


@each_way
def test_a_hang_up_ends_the_program(on_terminal: Open, way: Way) -> None:
    terminal = on_terminal(way(["sh", "-c", "echo ready; sleep 100"]))
    terminal.expect("ready")
    terminal.hang_up()
    assert terminal.status() == 129


def test_the_terminal_s_size_and_settings_reach_the_program(on_terminal: Open) -> None:
    terminal = on_terminal(
        TRACE(["bash", "-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"])
    )
    terminal.expect("ready")
    terminal.resize(40, 111)
    terminal.expect("40 111")
    assert terminal.status() == 0


def test_the_command_line_s_own_help_works_on_a_terminal(on_terminal: Open) -> None:
    terminal = on_terminal([*DIORAMA, "--help"])
    terminal.expect("run")
    assert terminal.status() == 0
