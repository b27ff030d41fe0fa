"""Clock: what it costs to read a clock in a view that has its own, against a native call and a bare stop.

    python -m benchmarks.clock [--times N]

In ticks of the time stamp counter (x86-64), the best of several rounds: `library` is clock_gettime(3), `call`
the system call, and `getppid` one that the view answers always alike: the cheapest stop or notification there
is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import diorama

SOURCE = Path(__file__).with_suffix(".c")
ENGINES = ("guardians", "notify")


def build(directory: str) -> str:
    """Compile the program that measures; its path."""
    program = os.path.join(directory, "clock")
    subprocess.run(["gcc", "-O2", "-o", program, SOURCE], check=True)
    return program


def parse(text: str) -> dict[str, float]:
    """The numbers that it prints, by their names."""
    return {name: float(value) for name, value in (line.split() for line in text.splitlines())}


def measure(program: str, times: int, engine: str | None) -> dict[str, float]:
    """Run it natively, or in a view with another date."""
    command = [program, str(times)]
    if engine is None:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return parse(done.stdout)
    with diorama.View(engine=engine) as view:
        view.clock.change("at=2030-01-01T00:00:00Z")
        view.answer("getppid", result=1)
        return parse(view.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=2000, metavar="N", help="calls in a round")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as directory:
        program = build(directory)
        native = measure(program, times, None)
        print(f"{'':10} {'library':>9} {'call':>9} {'getppid':>9} {'call/native':>12} {'call/getppid':>13}")
        for way in (None, *ENGINES):
            found = native if way is None else measure(program, times, way)
            ratios = found["call"] / native["call"], found["call"] / found["getppid"]
            numbers = " ".join(f"{found[name]:9.0f}" for name in ("library", "call", "getppid"))
            print(f"{way or 'native':10} {numbers} {ratios[0]:12.1f} {ratios[1]:13.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
