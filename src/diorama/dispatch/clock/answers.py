"""Answers: which function answers which call about time, filled by the files of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from diorama.catalogue.model import Request
from diorama.dispatch.files.answers import Outcome, fail

if TYPE_CHECKING:
    from diorama.dispatch.clock.state import Clocks

__all__ = ["ANSWERS", "Answer", "Outcome", "answers", "fail"]

Answer = Callable[["Clocks", Any], Outcome]
F = TypeVar("F", bound=Answer)

ANSWERS: dict[type[Request], Answer] = {}


def answers(*requests: type[Request]) -> Callable[[F], F]:
    """Register a function as the answer to these requests."""

    def register(function: F) -> F:
        ANSWERS.update(dict.fromkeys(requests, function))
        return function

    return register
