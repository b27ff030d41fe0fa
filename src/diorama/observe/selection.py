"""Selection: which calls a trace shows, by the expressions of strace's `-e`.

An expression is a list of names, classes (`%file`), regular expressions (`/stat`), `all` and `none`,
separated by commas; `!` in front takes all others; `trace=` may stand before.  Names are the program's
spellings: `open` does not select `openat`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diorama import catalogue
from diorama.abi.arch import Abi
from diorama.errors import UsageError
from diorama.observe.words import name_of, spelled

if TYPE_CHECKING:
    from diorama.catalogue.model import Request


@dataclass(frozen=True, slots=True)
class Selection:
    """The names of the spellings to show."""

    names: frozenset[str]

    @classmethod
    def parse(cls, expressions: Sequence[str]) -> Selection:
        """What any of the expressions selects; everything without one."""
        return cls(frozenset[str]().union(*(_select(text) for text in expressions or ("all",))))

    @property
    def requests(self) -> tuple[str, ...]:
        """Names of the requests that have these spellings, to subscribe to."""
        return tuple(sorted({request.NAME for name, request in _spellings().items() if name in self.names}))

    def shows(self, call: Request) -> bool:
        """Whether a call is to be shown."""
        return spelled(call) in self.names


def _spellings() -> dict[str, type[Request]]:
    """The names of all spellings of this machine, and their requests."""
    every = [one for abi in Abi.native() for one in catalogue.spellings(abi).values()]
    every += [choice for one in every for choice in one.choices.values()]
    return {name_of(one): one.request for one in every}


def _select(expression: str) -> frozenset[str]:
    """The names that one expression selects."""
    kind, found, text = expression.partition("=")
    if found and kind not in {"trace", "t"}:
        raise UsageError(f"cannot do -e {expression!r}: only trace= is known")
    text = text if found else kind
    every = frozenset(_spellings())
    negated = text.startswith("!")
    chosen = frozenset[str]().union(*(_named(word, every) for word in text.lstrip("!").split(",") if word))
    return every - chosen if negated else chosen


def _named(word: str, every: frozenset[str]) -> frozenset[str]:
    if word == "all":
        return every
    if word == "none":
        return frozenset()
    try:
        requests = frozenset(catalogue.find(word))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if word.startswith("%"):
        return frozenset(name for name, request in _spellings().items() if request in requests)
    if word.startswith("/"):
        return frozenset(name for name in every if re.search(word[1:], name))
    return frozenset({word})
