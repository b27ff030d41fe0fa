"""Answers: which function answers which request, filled by the files of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from diorama.catalogue.model import Request
from diorama.dispatch.answering import Answers, Outcome

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.mounts import Place

__all__ = ["ANSWERS", "SYNTHETIC", "Outcome", "answers", "fail", "on_synthetic"]

AnswerAt = Callable[["Files", Any, "Place"], Outcome]
G = TypeVar("G", bound=AnswerAt)

ANSWERS: Answers[Files] = Answers()
answers = ANSWERS.on
SYNTHETIC: dict[type[Request], AnswerAt] = {}
"""Of requests with one path that have no answer of their own: when it leads into a file system of ours."""


def fail(code: int) -> OSError:
    """The error that gives the program this errno."""
    return OSError(code, os.strerror(code))


def on_synthetic(*requests: type[Request]) -> Callable[[G], G]:
    """Register a function as the answer to these requests where a path leads into a file system of ours."""

    def register(function: G) -> G:
        SYNTHETIC.update(dict.fromkeys(requests, function))
        return function

    return register
