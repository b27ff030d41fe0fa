"""Shells: scripts with pipes, traps, redirections and job control."""

from __future__ import annotations

import pytest

from behaviour.harness import TRACE, Bench, Way, each_way, run_with

WAYS = [TRACE, run_with(module="every_result"), run_with("--guardians", "shared", module="every_result")]

SCRIPTS = {
    "pipes": r"""
        seq 1 2000 | grep 7 | sed s/7/seven/ | sort -r | head -n 5
        echo one | { read word; echo "$word two"; }
        printf '%s\n' a b c | while read -r word; do echo "<$word>"; done
        yes | head -n 3; echo "${PIPESTATUS[@]}"
        diff <(echo a) <(echo b); echo "diff $?"
        """,
    "traps": r"""
        exec 2>/dev/null # where bash tells process numbers
        trap 'echo got USR1' USR1
        trap 'echo leaving with $?' EXIT
        kill -USR1 $$
        (trap 'echo inner; exit 3' TERM; kill -TERM $BASHPID; sleep 5); echo "subshell $?"
        sleep 5 & child=$!
        # Before that, bash itself may take the signal, and forget it.
        until [ "$(cat /proc/$child/comm)" = sleep ]; do :; done
        kill -TERM $child; wait $child; echo "killed $?"
        set -e; trap 'echo failed on line' ERR; false; echo not reached
        """,
    "redirections": r"""
        exec 3>log; echo first >&3; echo second >>log; exec 3>&-; cat log
        cat <<< "here" ; { echo out; echo err >&2; } >both 2>&1; sort both
        exec {fd}<log; read -ru "$fd" line; echo "$line"; exec {fd}<&-
        ls nowhere 2>/dev/null; echo $?; : >empty; test -s empty; echo $?
        """,
    "job control": r"""
        set -m
        sleep 0.2 & jobs; wait %1; echo "waited $?"
        (exit 7) & wait $!; echo "status $?"
        sleep 30 & kill -STOP %1; while [ "$(jobs -s)" = "" ]; do sleep 0.01; done; jobs -s | sed 's/ \+/ /g'
        kill -CONT %1; kill %1; wait %1; echo "ended $?"
        sleep 0.3 & fg %+ >/dev/null; echo "foreground $?"
        """,
    "statuses": r"""
        exec 2>/dev/null
        sh -c 'exit 200'; echo $?; sh -c 'kill -9 $$'; echo $?; sh -c 'kill -SEGV $$' 2>/dev/null; echo $?
        nonexistent-program 2>/dev/null; echo $?; /etc/passwd 2>/dev/null; echo $?
        timeout 0.1 sleep 5; echo $?; ulimit -S -c; exit 42
        """,
    "many children": r"""
        for i in $(seq 60); do (exit $i) & pids+=($!); done
        sum=0; for pid in "${pids[@]}"; do wait "$pid"; sum=$((sum + $?)); done; echo $sum
        for i in $(seq 40); do value=$(echo "$i"); total=$((total + value)); done; echo $total
        """,
    "coprocess": r"""
        coproc { while read -r line; do echo "[$line]"; done; }
        for word in a b c; do
            echo $word >&"${COPROC[1]}"; read -r answer <&"${COPROC[0]}"; echo "$answer"
        done
        exec {COPROC[1]}>&-; wait; echo "done"
        """,
}


@each_way(*WAYS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_bash_script_behaves_as_outside(bench: Bench, name: str, way: Way) -> None:
    found = bench.same(way, ["bash", "-c", SCRIPTS[name]])
    assert found.stdout


@pytest.mark.parametrize("status", [0, 1, 77, 125, 126, 255])
def test_the_status_is_the_program_s(bench: Bench, status: int) -> None:
    assert bench.same(TRACE, ["sh", "-c", f"exit {status}"]).status == status


@pytest.mark.parametrize("signal", ["HUP", "INT", "QUIT", "KILL", "SEGV", "PIPE", "TERM", "RTMIN"])
def test_the_status_of_a_killed_program_tells_the_signal(bench: Bench, signal: str) -> None:
    assert bench.same(TRACE, ["sh", "-c", f"kill -{signal} $$"]).status > 128


def test_standard_input_reaches_the_program(bench: Bench) -> None:
    text = "".join(f"line {number}\n" for number in range(20000))
    assert bench.same(TRACE, ["sort", "-r"], stdin=text).stdout


def test_a_reader_that_leaves_ends_the_writer(bench: Bench) -> None:
    bench.same(TRACE, ["bash", "-c", "yes | head -n 1; trap '' PIPE; yes 2>&1 >/dev/full | head -n 1"])
