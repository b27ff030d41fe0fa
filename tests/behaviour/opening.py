"""Opening: a program of a view that opens files as it is told, and how often Python was asked to."""

from __future__ import annotations

from typing import Any

import diorama
from behaviour.served import Served

__all__ = ["READ", "REPEATED", "Program"]

LINES = """
    def again(line):
        exec(line, globals())
        print("done", flush=True)

    for line in sys.stdin:
        again(line)
"""
READ = "fd = os.open('mnt/file', os.O_RDONLY); print(os.read(fd, 100), flush=True); os.close(fd)"
REPEATED = 200


class Program:
    """A program of the view that does what it is told, line by line."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.opened = 0
        """How often Python has opened something."""
        really = served.filesystem.open_file

        def open_file(inode: int, flags: int) -> Any:
            self.opened += 1
            return really(inode, flags)

        served.filesystem.open_file = open_file  # type: ignore[method-assign]
        self.popen: diorama.Popen = served.start(LINES)

    def do(self, line: str) -> list[str]:
        """What it prints."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()
        found: list[str] = []
        while (said := self.popen.stdout.readline().decode().rstrip()) != "done":
            assert said, self.popen.communicate(timeout=40)
            found.append(said)
        return found

    def warm(self) -> None:
        """Open it until Python is not asked."""
        for _ in range(REPEATED):
            before = self.opened
            self.do(READ)
            if self.opened == before:
                return
            self.do("os.chdir('mnt'); os.chdir('..')")  # then it is known that it has opened it
        raise AssertionError("it is always opened by Python")

    def end(self) -> None:
        self.popen.communicate(timeout=40)
