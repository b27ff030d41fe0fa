"""Asking: on whose behalf a file system is asked, for those that hand the question on."""

from __future__ import annotations

from diorama.view.asking import Asker, asker

__all__ = ["Asker", "asker"]
