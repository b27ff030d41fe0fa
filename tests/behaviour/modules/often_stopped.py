"""Often stopped: a view that stops getppid, which programs call to be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diorama import View


def load(view: View) -> None:
    """Stop, and let it run."""
    view.on("getppid")(lambda call: None)
