"""Lines: text written to a descriptor, each line whole and at once.

One write(2) a line: lines of different guardians do not mix, and none is lost however this process ends.
"""

from __future__ import annotations

import os
import threading


class Lines:
    """A sink for lines.  Any thread may write; once nobody reads any more, lines are dropped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._broken = False

    def write(self, line: str) -> None:
        """Write one line, given without its end."""
        data = line.encode("utf-8", "surrogateescape") + b"\n"
        with self._lock:
            try:
                while data and not self._broken:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                # A closed pipe or a full disk must not change what the traced programs do.
                self._broken = True
