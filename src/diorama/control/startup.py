"""Start-up: files that are run in a view before its command.

`/etc/diorama/rc`, then `diorama/rc` in `$XDG_CONFIG_HOME` or `~/.config`, if they are there and may be
executed: any programs, which mount, choose and tell what views of this user are to have.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

from diorama.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from diorama.session import View

__all__ = ["run_startup", "startup_files"]

_FOR_ALL = "/etc/diorama/rc"


def startup_files(named: str | None, *, wanted: bool) -> list[str]:
    """What is to be run: `named` alone if there is that; `UsageError` if it cannot be."""
    if named is not None:
        path = os.path.abspath(named)
        if not _may_run(path):
            raise UsageError(f"cannot run {named} first: it must be a file that can be executed")
        return [path]
    if not wanted:
        return []
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [path for path in (_FOR_ALL, os.path.join(home, "diorama", "rc")) if _may_run(path)]


def run_startup(view: View, files: list[str], waiting: Callable[[], AbstractContextManager[None]]) -> None:
    """Run them, one after the other; one that fails is told of, and the others and the command are run.

    `waiting` is entered while one is waited for.
    """
    for file in files:
        try:
            process = view.Popen([file], stdin=subprocess.DEVNULL, close_fds=True)
            with waiting():
                status = process.wait()
        except OSError as error:
            print(f"diorama: {file}: {(error.strerror or '').lower()}", file=sys.stderr)
            continue
        if status:
            ended = f"signal {-status} ended it" if status < 0 else f"its status is {status}"
            print(f"diorama: {file} has failed: {ended}", file=sys.stderr)


def _may_run(path: str) -> bool:
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
    return is_file and os.access(path, os.X_OK)
