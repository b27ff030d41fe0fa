"""Answering: which function answers which request.  Each subject has such a table, which its files fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from diorama.catalogue.model import Request
from diorama.engine.held import Descriptor

__all__ = ["Answers", "Outcome"]

Outcome = int | Request | Descriptor | None

S = TypeVar("S")
C = TypeVar("C")
R = TypeVar("R", bound=Outcome)


class Answers(dict[type[Request], Callable[[S, Any], Outcome]], Generic[S]):
    """The answers of a subject, whose state is an `S`."""

    def on(self, *requests: type[Request]) -> Callable[[Callable[[S, C], R]], Callable[[S, C], R]]:
        """Register a function as the only answer to these requests; a decorator."""

        def register(function: Callable[[S, C], R]) -> Callable[[S, C], R]:
            for request in requests:
                if request in self:
                    raise ValueError(f"{request.__name__} is answered twice: {self[request]} and {function}")
                self[request] = function
            return function

        return register
