"""Answers: which function answers which request, filled by the files of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from diorama.catalogue.model import Request
from diorama.engine.held import Descriptor

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.mounts import Place

__all__ = ["ANSWERS", "SYNTHETIC", "Answer", "Outcome", "answers", "fail", "on_synthetic"]

Outcome = int | Request | Descriptor | None
Answer = Callable[["Files", Any], Outcome]
AnswerAt = Callable[["Files", Any, "Place"], Outcome]
F = TypeVar("F", bound=Answer)
G = TypeVar("G", bound=AnswerAt)

ANSWERS: dict[type[Request], Answer] = {}
SYNTHETIC: dict[type[Request], AnswerAt] = {}
"""Of requests with one path that have no answer of their own: when it leads into a file system of ours."""


def fail(code: int) -> OSError:
    """The error that gives the program this errno."""
    return OSError(code, os.strerror(code))


def answers(*requests: type[Request]) -> Callable[[F], F]:
    """Register a function as the answer to these requests."""

    def register(function: F) -> F:
        ANSWERS.update(dict.fromkeys(requests, function))
        return function

    return register


def on_synthetic(*requests: type[Request]) -> Callable[[G], G]:
    """Register a function as the answer to these requests where a path leads into a file system of ours."""

    def register(function: G) -> G:
        SYNTHETIC.update(dict.fromkeys(requests, function))
        return function

    return register
