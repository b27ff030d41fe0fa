"""LANs: hosts of a private network in views of their own, for tests of it.

Each is `diorama run --net lan:NAME` with a script of Python, which says `ready` when others may go on.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from behaviour.harness import Bench, Outcome, finish, run_with

__all__ = ["FAILS", "Lan"]

SUBNET = "10.1.0.0/24"
SUBNET6 = "fd00:1::/64"

FAILS = """
def fails(function, *arguments):
    try:
        function(*arguments)
        return "works"
    except OSError as error:
        return errno.errorcode[error.errno]
"""
HEAD = f"""{FAILS}
import errno, os, select, socket, struct, sys, threading, time
A, B, C = "10.1.0.1", "10.1.0.2", "10.1.0.3"
A6, B6, C6 = "fd00:1::1", "fd00:1::2", "fd00:1::3"
def ready(*what):
    print("ready", *what, flush=True)
def go_on():
    return sys.stdin.readline().split()
def end():
    sys.stdin.readline()
"""


@dataclass
class Lan:
    """A LAN with a name of its own."""

    bench: Bench
    engine: str
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")

    def words(self, number: int, argv: list[str], *options: str) -> list[str]:
        """The command that runs another as a host with this number."""
        own = f"host=h{number},address=10.1.0.{number},address6=fd00:1::{number:x}"
        net = ",".join((f"lan:{self.name}", own, f"subnet={SUBNET}", f"subnet6={SUBNET6}", *options))
        return run_with("--net", net).on(self.engine)(argv)

    def run(self, number: int, script: str, *arguments: str) -> Outcome:
        """Run a script on a host, to its end."""
        argv = [sys.executable, "-c", HEAD + script, *arguments]
        return finish(self.bench.start(self.words(number, argv)))

    @contextmanager
    def serving(self, number: int, script: str) -> Generator[Serving, None, None]:
        """Have a script run on a host, once it is ready, until the end of the block, when it reads a line."""
        argv = [sys.executable, "-c", HEAD + script]
        serving = Serving(self.bench.start(self.words(number, argv)))
        serving.wait()
        try:
            yield serving
        finally:
            serving.outcome = finish(serving.process, "end\n")


@dataclass
class Serving:
    """A script that runs."""

    process: subprocess.Popen[bytes]
    said: list[str] = field(default_factory=list[str])
    outcome: Outcome | None = None

    def wait(self) -> list[str]:
        """What it says when it is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line.startswith("ready"):
            rest = finish(self.process)
            raise AssertionError(f"{line}{rest.stdout}{rest.stderr}")
        self.said = line.split()[1:]
        return self.said

    def tell(self, *words: str) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        self.process.stdin.flush()
