"""Library: `View.Popen` and `View.run` do as `subprocess` does, told by one script run with each."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest

import diorama
from behaviour.harness import Bench, Outcome, finish
from diorama.engine.choice import GUARDIANS, NOTIFY
from engines import ENGINES

OPENERS = {
    "native": "from subprocess import Popen, run",
    "empty view": "import diorama; view = diorama.View(); Popen, run = view.Popen, view.run",
}
HANDLING = """
import diorama
view = diorama.View(engine={engine!r}, strict=True)
Popen, run = view.Popen, view.run
@view.on("openat", "write", "getppid", "clone", "execve")
def through(call):
    return call.run()
"""
OPENERS |= {engine: HANDLING.format(engine=engine) for engine in (GUARDIANS, NOTIFY)}

SCRIPTS = {
    "output": """
        done = run(["sh", "-c", "cat; echo error >&2; exit 3"], input="text", capture_output=True, text=True)
        print(done.returncode, repr(done.stdout), repr(done.stderr), done.args)
        print(run(["printf", "%s", "bytes"], stdout=PIPE).stdout)
        print(run("echo shell $0; exit 5", shell=True, stdout=PIPE).returncode)
        """,
    "errors": """
        for args in (["/nowhere/at/all"], ["no-such-program"], ["/etc/passwd"], ["/etc"]):
            try: run(args)
            except OSError as error: print(type(error).__name__, error)
        try: run(["true"], cwd="/nowhere/at/all")
        except OSError as error: print(type(error).__name__, error)
        try: run(["false"], check=True)
        except CalledProcessError as error: print(error)
        """,
    "time": """
        try: run(["sh", "-c", "echo before; exec sleep 50"], timeout=0.3, capture_output=True)
        except TimeoutExpired as error: print(error.cmd, error.timeout, error.output)
        process = Popen(["sleep", "50"])
        print(process.poll(), process.returncode)
        try: process.wait(timeout=0.1)
        except TimeoutExpired: print("still there")
        process.terminate(); print(process.wait(), process.poll(), process.returncode)
        process = Popen(["sleep", "50"]); process.kill(); print(process.wait(timeout=50))
        process = Popen(["sleep", "50"]); process.send_signal(1); print(process.wait(timeout=50))
        process.terminate()
        """,
    "surroundings": """
        import os
        print(run(["env"], env={"A": "b"}, capture_output=True, text=True).stdout)
        print(run(["pwd"], cwd="/usr", capture_output=True, text=True).stdout)
        reader, writer = os.pipe()
        print(run(["sh", "-c", f"echo passed >&{writer}"], pass_fds=[writer]).returncode)
        print(os.read(reader, 100))
        print(run(["sh", "-c", f"echo x >&{writer}"], stderr=DEVNULL).returncode)
        print(run(["sh", "-c", "umask"], umask=0o31, capture_output=True, text=True).stdout)
        code = "import os; print(os.getpid() == os.getsid(0), os.getpid() == os.getpgid(0))"
        print(run(["python3", "-c", code], start_new_session=True, stdout=PIPE).stdout)
        print(run(["python3", "-c", code], process_group=0, stdout=PIPE).stdout)
        print(run(["x", "argument zero"], executable="/bin/echo", capture_output=True).stdout)
        """,
    "pipes": """
        first = Popen(["seq", "5000"], stdout=PIPE)
        second = Popen(["tail", "-n", "2"], stdin=first.stdout, stdout=PIPE)
        first.stdout.close(); print(second.communicate(), first.wait())
        with Popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
            for word in ("one", "two"):
                process.stdin.write(word + "\\n"); process.stdin.flush(); print(process.stdout.readline())
        print(process.returncode)
        print(run(["cat"], input=b"x" * 300000, stdout=PIPE).stdout == b"x" * 300000)
        print(run(["sh", "-c", "echo out; echo err >&2"], stdout=PIPE, stderr=STDOUT).stdout)
        """,
    "threads": """
        import threading
        results = {}
        def work(number): results[number] = run(["sh", "-c", f"exit {number}"]).returncode
        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
        print(sorted(results.items()))
        """,
}


def script(name: str, opener: str) -> str:
    head = "from subprocess import PIPE, STDOUT, DEVNULL, CalledProcessError, TimeoutExpired\n"
    return head + OPENERS[opener] + "\n" + textwrap.dedent(SCRIPTS[name])


def outcome(bench: Bench, name: str, opener: str) -> Outcome:
    bench.fresh()
    return finish(bench.start([sys.executable, "-P", "-c", script(name, opener)]))


@pytest.mark.parametrize("opener", ["empty view", *ENGINES])
@pytest.mark.parametrize("name", SCRIPTS)
def test_popen_does_as_subprocess_does(bench: Bench, name: str, opener: str) -> None:
    expected = outcome(bench, name, "native")
    assert expected.status == 0, expected.stderr
    assert outcome(bench, name, opener) == expected


def test_a_program_is_ended_with_its_view_and_says_so() -> None:
    view = diorama.View()
    process = view.Popen(["sleep", "30"])
    view.close()
    assert process.wait(timeout=50) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL


def test_a_listener_is_not_inherited_by_the_next_program() -> None:
    with diorama.View(engine="notify") as view:
        view.answer("getppid", result=7)
        with view.Popen(["sleep", "30"], close_fds=False) as first:
            second = view.run(
                ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, timeout=50
            )
            first.kill()
    assert "seccomp" not in second.stdout
    assert second.returncode == 0
