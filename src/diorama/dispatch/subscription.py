"""Subscription: which requests a handler wants, and the predicates that C settles for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from diorama.abi.arch import Abi
from diorama.catalogue import index
from diorama.catalogue.kinds import Kind, LongKind, ULongKind, WideFlags
from diorama.catalogue.model import Request, Spelling
from diorama.catalogue.pointers import HandleKind
from diorama.dispatch.answering import Outcome
from diorama.engine.rules import Rule, Test
from diorama.errors import UsageError

Handler = Callable[[Any], Outcome]


class ArgumentTest(NamedTuple):
    """A comparison of an integer field with a value, `op` as in `diorama.engine.rules.Test`.

    It holds also with one of the `others` in the value's place.
    """

    field: str
    op: int
    value: int
    others: tuple[int, ...] = ()


Tests = Mapping[type[Request], tuple[ArgumentTest, ...]]
"""Of some requests, alternatives of which one must hold."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One handler and the requests that it is asked about.

    `path` is a glob over the first path of a request, `arguments` exact values of its fields.  `fixed` is the
    answer if it is always the same, -errno for an error; `decides` as in `Rule`; one of the `tests` must hold
    besides.
    """

    handler: Handler
    requests: frozenset[type[Request]]
    path: bytes | None
    arguments: Mapping[str, int]
    fixed: int | None = None
    decides: bool = False
    tests: Tests = field(default_factory=dict[type[Request], tuple[ArgumentTest, ...]])

    def rules(self, number: int) -> Iterator[Rule]:
        """The rules for every spelling on every ABI of this machine."""
        for abi in Abi.native():
            for nr, spelling in index.spellings(abi).items():
                if spelling.carries(self.requests):
                    yield from self._rules(number, abi, nr, spelling)

    def admits(self, request: Request) -> bool:
        """Whether a request made by a handler further out is one of ours too."""
        if type(request) not in self.requests:
            return False
        if self.path is not None:
            path = getattr(request, type(request).PATHS[0].field)
            if path is None or not fnmatchcase(path.decode("latin-1"), self.path.decode("latin-1")):
                return False
        return all(getattr(request, name) == value for name, value in self.arguments.items())

    def is_settled_by(self, spelling: Spelling) -> bool:
        """Whether the rule for a spelling says all; otherwise `admits` must be asked after decoding."""
        if spelling.is_multiplexed:
            return False
        names = list(self.arguments) + ([spelling.request.PATHS[0].field] if self.path is not None else [])
        return all(name in spelling.fixed or spelling.position(name) is not None for name in names)

    def _rules(self, number: int, abi: Abi, nr: int, spelling: Spelling) -> Iterator[Rule]:
        if spelling.name == _BY_FIRST_ARGUMENT:
            for selector, choice in spelling.choices.items():
                if choice.request in self.requests:
                    yield Rule(abi.audit, nr, number, (Test(0, selector, 32),), decides=self.decides)
        elif spelling.is_multiplexed:
            yield Rule(abi.audit, nr, number, decides=self.decides)
        else:
            for one in self.tests.get(spelling.request, (None,)):
                yield from self._rule(number, abi, nr, spelling, one)
                others = () if one is None else [one._replace(value=value) for value in one.others]
                for other in others:
                    yield from self._rule(number, abi, nr, spelling, other)

    def _rule(
        self, number: int, abi: Abi, nr: int, spelling: Spelling, extra: ArgumentTest | None
    ) -> Iterator[Rule]:
        request = spelling.request
        tests: list[Test] = []
        for name, exact in self.arguments.items():
            at = spelling.position(name)
            if at is not None:
                tests.append(Test(at, exact, width=_width(request.FIELDS[name], abi)))
            elif spelling.fixed.get(name, exact) != exact:
                return
        at = None if extra is None else spelling.position(extra.field)
        if extra is not None and at is not None:
            tests.append(Test(at, extra.value, _width(request.FIELDS[extra.field], abi), extra.op))
        path = None if self.path is None else spelling.position(request.PATHS[0].field)
        fixed = self.fixed if self.is_settled_by(spelling) else None
        glob = None if path is None else self.path
        yield Rule(abi.audit, nr, number, tuple(tests), path or 0, glob, fixed, self.decides)


# The number of the call that is meant, alone in its argument; ipc(2) puts a version beside it.
_BY_FIRST_ARGUMENT = "socketcall"


def _width(kind: Kind, abi: Abi) -> int:
    """The bits of an argument that the kernel looks at: the rest may be anything."""
    return 64 if abi.word == 8 and isinstance(kind, (LongKind, ULongKind, WideFlags, HandleKind)) else 32


def subscribe(
    handler: Handler,
    names: tuple[str, ...],
    path: str | bytes | None,
    arguments: Mapping[str, int],
    *,
    fixed: int | None = None,
) -> Subscription:
    """Make a subscription; `UsageError` for an unknown call, or a field that the calls do not have."""
    try:
        requests = frozenset(request for name in names for request in index.find(name))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if path is not None:
        requests = frozenset(request for request in requests if request.PATHS)
    for name in arguments:
        requests = frozenset(request for request in requests if name in request.FIELDS)
    if not requests:
        asked = ", ".join(["path"] * (path is not None) + list(arguments))
        raise UsageError(f"no call in {', '.join(names) or 'an empty list'} has {asked or 'a number here'}")
    glob = path.encode() if isinstance(path, str) else path
    return Subscription(handler, requests, glob, dict(arguments), fixed)
