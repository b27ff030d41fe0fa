"""Selection: which calls a trace shows, by the expressions of strace's `-e`.

An expression is a list of names, classes (`%file`), regular expressions (`/stat`), `all` and `none`,
separated by commas; `!` in front takes all others; `trace=` may stand before.  Names are the program's
spellings: `open` does not select `openat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diorama import catalogue
from diorama.errors import UsageError
from diorama.observe.words import spelled

if TYPE_CHECKING:
    from diorama.catalogue.model import Request

_EVERYTHING = "/."


@dataclass(frozen=True, slots=True)
class Selection:
    """The names of the spellings to show."""

    names: frozenset[str]

    @classmethod
    def parse(cls, expressions: Sequence[str]) -> Selection:
        """What any of the expressions selects; everything without one."""
        return cls(frozenset[str]().union(*(_select(text) for text in expressions or ("all",))))

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The words to subscribe with."""
        return (_EVERYTHING,) if self.names == catalogue.select(_EVERYTHING) else tuple(sorted(self.names))

    def shows(self, call: Request) -> bool:
        """Whether a call is to be shown."""
        return spelled(call) in self.names


def _select(expression: str) -> frozenset[str]:
    """The names that one expression selects."""
    kind, found, text = expression.partition("=")
    if found and kind not in {"trace", "t"}:
        raise UsageError(f"cannot do -e {expression!r}: only trace= is known")
    text = text if found else kind
    chosen = frozenset[str]().union(*(_named(word) for word in text.lstrip("!").split(",") if word))
    return catalogue.select(_EVERYTHING) - chosen if text.startswith("!") else chosen


def _named(word: str) -> frozenset[str]:
    if word == "none":
        return frozenset()
    try:
        return catalogue.select(_EVERYTHING if word == "all" else word)
    except ValueError as error:
        raise UsageError(str(error)) from None
