"""Index: spellings by ABI and number, and requests by what people call them."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.catalogue.forms import Spelling, spellings_of
from diorama.catalogue.left_alone import REASONS, LeftAlone, reason_for
from diorama.catalogue.model import REQUESTS, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["find", "reason", "requests", "select", "spelling", "spellings"]

_SUBJECTS = (
    "files paths dirs io xattr mounts sockets polling rings processes scheduling memory signals identity time"
    " ipc system"
)

# Importing a subject declares its requests.
for _subject in _SUBJECTS.split():
    importlib.import_module(f"diorama.catalogue.{_subject}")

_BY_NUMBER: dict[Abi, dict[int, Spelling]] = {}

_ALIASES = {"net": "network", "cred": "creds", "desc": "desc"}

# The classes of strace(1) that tell spellings of one request apart.
_BY_SPELLING = {
    "stat": frozenset({"stat", "stat64", "oldstat"}),
    "lstat": frozenset({"lstat", "lstat64", "oldlstat"}),
    "fstat": frozenset({"fstat", "fstat64", "oldfstat", "newfstatat", "fstatat64", "statx"}),
    "statfs": frozenset({"statfs", "statfs64"}),
    "fstatfs": frozenset({"fstatfs", "fstatfs64"}),
}


def requests() -> tuple[type[Request], ...]:
    """All requests that are declared."""
    return tuple(REQUESTS)


def spellings(abi: Abi) -> Mapping[int, Spelling]:
    """The spellings of an ABI by their numbers."""
    known = _BY_NUMBER.get(abi)
    if known is None:
        known = _BY_NUMBER[abi] = _collect(abi)
    return known


def _collect(abi: Abi) -> dict[int, Spelling]:
    found = [one for request in REQUESTS for one in spellings_of(request, abi)]
    known = {one.number: one for one in found if one.selector is None}
    for one in found:
        if one.selector is not None:
            known[one.number].choices[one.selector] = one
    return known


def spelling(abi: Abi, number: int) -> Spelling | None:
    """The spelling that a number is on an ABI; None for one that is left alone or unknown."""
    return spellings(abi).get(number)


def reason(abi: Abi, number: int) -> LeftAlone | None:
    """Why a number is no request; None when it is one, or no system call at all."""
    for name, value in NUMBERS[abi.title].items():
        if value == number:
            return reason_for(name)
    return None


def classes() -> frozenset[str]:
    """The words that can be selected with `%`."""
    return frozenset[str]().union(*[request.CLASSES for request in REQUESTS], _BY_SPELLING, _ALIASES)


def select(text: str) -> frozenset[str]:
    """The names of the spellings that a word means: a name, `%class` or `/regex`.

    ValueError, with one line that says so, when there are none.
    """
    return frozenset([name for name, _ in _selected(text)])


def find(text: str) -> tuple[type[Request], ...]:
    """The requests that a word means: the name of one or of one of its spellings, `%class` or `/regex`.

    ValueError, with one line that says so, when there are none.
    """
    return tuple(dict.fromkeys([request for _, request in _selected(text)]))


def _names() -> Iterable[tuple[str, type[Request]]]:
    for request in REQUESTS:
        for form in request.FORMS:
            if form.selector is None:
                yield form.name, request


def _selected(text: str) -> list[tuple[str, type[Request]]]:
    if text.startswith("%"):
        found = _of_class(text[1:])
    elif text.startswith("/"):
        found = _matching(text[1:])
    else:
        found = [(name, request) for name, request in _names() if text in (name, request.__name__)]
    if not found:
        raise ValueError(_complaint(text))
    return found


def _of_class(word: str) -> list[tuple[str, type[Request]]]:
    special = _BY_SPELLING.get(word)
    if special is not None:
        return [(name, request) for name, request in _names() if name in special]
    wanted = _ALIASES.get(word, word)
    return [(name, request) for name, request in _names() if wanted in request.CLASSES]


def _matching(pattern: str) -> list[tuple[str, type[Request]]]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {pattern!r}: {error}") from None
    return [(name, request) for name, request in _names() if compiled.search(name)]


def _complaint(text: str) -> str:
    known: Iterable[Any]
    if text.startswith("/"):
        return f"no system call matches {text!r}"
    if text.startswith("%"):
        what, known = "class of system calls", [f"%{word}" for word in classes()]
    elif text in REASONS:
        return f"{text} is left alone: {REASONS[text]}"
    else:
        what, known = "system call", [name for name, _ in _names()]
    return f"unknown {what} {text!r}{near(text, known)}"


def near(text: str, known: Iterable[str]) -> str:
    """A question that offers the word most like a wrong one, or nothing."""
    from difflib import get_close_matches

    matches = get_close_matches(text, sorted(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
