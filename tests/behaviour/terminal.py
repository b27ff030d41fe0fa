"""Terminal: a program on a pseudo-terminal, to type to and to read from."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """A program whose terminal is ours; its session leader is the program itself."""

    def __init__(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.seen = ""
        self.pid, self.master = os.forkpty()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(argv[0], list(argv), dict(environment))
            finally:
                os._exit(127)
        self.resize(24, 200)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal a size; the program gets SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type this; `\\x03` is ^C, `\\x1a` is ^Z, `\\x04` is ^D."""
        os.write(self.master, text.encode())

    def expect(self, pattern: str, limit: float = 15) -> str:
        """Read until a pattern appears; return what stood before it and with it, and forget that."""
        deadline = time.monotonic() + limit
        while (match := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.master], [], [], left)[0]
            if not ready or not self.read():
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
        before, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return before

    def read(self) -> bool:
        """Read what there is; false at the end."""
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def foreground(self) -> int:
        """The process group in the foreground."""
        return os.tcgetpgrp(self.master)

    def status(self, limit: float = 15) -> int:
        """Wait for the end of the program; its status as a shell counts it."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.master < 0:
                time.sleep(0.02)
            elif select.select([self.master], [], [], 0.02)[0]:
                self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        raise AssertionError(f"not ended; on the terminal: {self.seen!r}")

    def hang_up(self) -> None:
        """Close our end: the program gets SIGHUP."""
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def close(self) -> None:
        """Hang up, and end what does not end by that."""
        self.hang_up()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
