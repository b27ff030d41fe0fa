"""Spellings: the ways in which a program can make a request, one for each ABI and number.

A form is the text of one spelling in a declaration:

    name[@where][:selector][*](argument, ...)

`where` is an ABI's title, "32" or "64" for a word size; such a form overrules the plain one of the same name.
A selector makes it one of the calls behind a multiplexer: `socketcall:3*(fd, ...)`. A star says that the
arguments stand in memory, in a vector of words that the first argument points to. An argument is the name
of a field, or `_` where the kernel ignores it, and after a colon how it is passed:

    offset:64      64 bits: two arguments, the low half first, where a word has 32 bits
    offset:pair    always two arguments; the second counts only where a word has 32 bits
    offset:pages   in units of 4096 bytes
    owner:16       16 bits of it
    value:at       the word that the argument points to
    status:stat64  this layout of the record
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any

from diorama.abi.numbers import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diorama.abi.arch import Abi
    from diorama.catalogue.kinds import Kind, Reader
    from diorama.catalogue.model import Memory, Request, Tracee

__all__ = ["Arg", "Args", "Form", "Spelling", "spellings_of"]

Args = tuple[int, ...]

# How a field gets its value: its slot's setter, what reads it, and the index of the argument it reads.
_Step = tuple[Any, Any, int]
_Steps = tuple[list[tuple[Any, Any]], list[_Step], list[int]]

_FORM = re.compile(r"(\w+)(?:@([\w-]+))?(?::(\w+))?(\*?)\((.*)\)")
_PASSING = frozenset({"64", "pair", "pages", "16", "at"})
_PAGE = 4096
_NULL = -1
_new = object.__new__


class Form:
    """One spelling as it is declared."""

    __slots__ = ("fixed", "name", "parameters", "selector", "vector", "where")

    def __init__(self, text: str, fixed: Mapping[str, Any]) -> None:
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"not a form: {text}")
        self.name, self.where, selector, star, self.parameters = match.groups()
        self.selector = None if selector is None else int(selector, 0)
        self.vector = bool(star)
        self.fixed = fixed

    @property
    def title(self) -> str:
        """The name, with the selector behind a multiplexer."""
        return self.name if self.selector is None else f"{self.name}:{self.selector}"

    @property
    def fields(self) -> list[str]:
        """The names of the fields, in the order of the arguments."""
        names = [parameter.partition(":")[0] for parameter in self.parameters.split(", ")]
        return [name for name in names if name not in ("", "_")]

    def applies(self, abi: Abi) -> bool:
        """Whether this form can be spelled on that ABI."""
        return self.where in (None, abi.title, str(8 * abi.word))


class Arg:
    """One argument of a spelling: a field, and how it is passed."""

    __slots__ = ("abi", "field", "index", "is_wide", "kind", "layout", "modifier")

    def __init__(self, field: str, modifier: str, index: int, kind: Kind, abi: Abi) -> None:
        self.field = field
        self.modifier = modifier if modifier in _PASSING else ""
        self.layout = "" if modifier in _PASSING else modifier
        self.index = index
        self.kind = kind
        self.abi = abi
        self.is_wide = abi.word == 4 and modifier in ("64", "pair")

    @property
    def span(self) -> int:
        """How many arguments it takes."""
        return 2 if self.is_wide or self.modifier == "pair" else 1

    @property
    def is_plain(self) -> bool:
        """The field's value is the argument's."""
        return not self.modifier or (self.modifier in ("64", "pair") and not self.is_wide)

    def fits(self, value: Any) -> bool:
        """Whether the value can be passed this way."""
        if self.modifier == "at":
            return False
        if self.modifier == "pages":
            return not value % _PAGE and self.kind.fits(value // _PAGE, self)
        return self.kind.fits(value, self)

    def put(self, value: Any, args: list[int], memory: Memory) -> None:
        """Write the raw form of a value into a list of arguments."""
        raw = self.kind.encode(value, self, memory)
        if self.modifier == "pages":
            raw //= _PAGE
        if self.is_wide:
            args[self.index + 1] = raw >> 32 & 0xFFFFFFFF
        args[self.index] = raw & ((1 << 8 * self.abi.word) - 1)


class Spelling:
    """One system call number of one ABI, and how its arguments make a request.

    `choices` are the spellings behind a multiplexer, by selector.
    """

    __slots__ = (
        "_args",
        "_steps",
        "abi",
        "choices",
        "fixed",
        "form",
        "name",
        "number",
        "request",
        "selector",
        "vector",
    )

    def __init__(self, form: Form, request: type[Request], abi: Abi) -> None:
        self.form = form
        self.name = form.name
        self.number = NUMBERS[abi.title][form.name]
        self.abi = abi
        self.request = request
        self.fixed = form.fixed
        self.selector = form.selector
        self.vector = form.vector
        self.choices: dict[int, Spelling] = {}
        self._args: tuple[Arg, ...] | None = None
        self._steps: _Steps | None = None

    def __repr__(self) -> str:
        return f"<Spelling {self.name} {self.abi.title} {self.number}>"

    @property
    def is_multiplexed(self) -> bool:
        """Several requests share this number."""
        return bool(self.choices)

    @property
    def is_direct(self) -> bool:
        """The number alone says which request it is, and the arguments are in registers."""
        return self.selector is None and not self.vector

    @property
    def args(self) -> tuple[Arg, ...]:
        """The arguments, without those that the kernel ignores."""
        if self._args is None:
            self._args = self._parse()
        return self._args

    def _parse(self) -> tuple[Arg, ...]:
        args: list[Arg] = []
        index = 0 if self.vector or self.selector is None else 1
        for parameter in self.form.parameters.split(", ") if self.form.parameters else ():
            field, _, modifier = parameter.partition(":")
            if field == "_":
                index += 1
                continue
            arg = Arg(field, modifier, index, self.request.FIELDS[field], self.abi)
            args.append(arg)
            index += arg.span
        return tuple(args)

    def carries(self, requests: frozenset[type[Request]]) -> bool:
        """Whether a call of this number may be one of these requests."""
        return self.request in requests or any(choice.request in requests for choice in self.choices.values())

    def position(self, field: str) -> int | None:
        """The index of the one argument that has the value of a field; None when there is none."""
        if not self.is_direct:
            return None
        return next((arg.index for arg in self.args if arg.field == field and arg.is_plain), None)

    def decode(self, args: Args, tracee: Tracee) -> Request:
        """The request that these arguments make; OSError(EFAULT) when they point to nowhere."""
        if self.choices:
            choice = self.choices.get(args[0]) or self.choices.get(args[0] & 0xFFFF, self)
            if choice is not self:
                return choice.decode(args, tracee)
        constants, plan, wide = self._steps or self._compile()
        memory = tracee.memory
        values = args if self.is_direct else self._fetch(args, memory)
        if wide:
            values += tuple([values[index] | values[index + 1] << 32 for index in wide])
        request = _new(self.request)
        for assign, value in constants:
            assign(request, value)
        for assign, read, index in plan:
            assign(request, read(values[index] if index >= 0 else 0, memory, request))
        request.begin(self, args, values, memory)
        return request

    def _fetch(self, args: Args, memory: Memory) -> Args:
        """The arguments of a call that has them in memory, or behind a selector."""
        if not self.vector:
            return args
        word = self.abi.word
        count = sum([arg.span for arg in self.args])
        data = memory.read(args[0 if self.selector is None else 1], count * word)
        if len(data) < count * word:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        words = [int.from_bytes(data[at : at + word], "little") for at in range(0, count * word, word)]
        return tuple(words)

    def _compile(self) -> _Steps:
        width = sum([arg.span for arg in self.args]) if self.vector else 6
        first: list[_Step] = []
        last: list[_Step] = []
        wide: list[int] = []
        constants: list[tuple[Any, Any]] = []
        for arg in self.args:
            index = arg.index
            if arg.is_wide:
                index = width + len(wide)
                wide.append(arg.index)
            step = (getattr(self.request, arg.field).__set__, self._reader(arg), index)
            (last if arg.kind.needs else first).append(step)
        for name, value in self.fixed.items():
            assign, kind = getattr(self.request, name).__set__, self.request.FIELDS[name]
            if value is None:
                last.append((assign, kind.reader(Arg(name, "", 0, kind, self.abi)), _NULL))
            else:
                constants.append((assign, value))
        # Several guardians may get here at once; they all make the same, and put it in place at a stroke.
        self._steps = (constants, first + last, wide)
        return self._steps

    def _reader(self, arg: Arg) -> Reader:
        read = arg.kind.reader(arg)
        word = self.abi.word

        def read_pages(raw: int, memory: Memory, request: Request) -> Any:
            return read(raw, memory, request) * _PAGE

        def read_at(raw: int, memory: Memory, request: Request) -> Any:
            return read(int.from_bytes(memory.read(raw, word), "little"), memory, request)

        return {"pages": read_pages, "at": read_at}.get(arg.modifier, read)

    def expresses(self, request: Request) -> bool:
        """Whether the request can be spelled this way."""
        for name, value in self.fixed.items():
            asked = getattr(request, name)
            if asked if value is None else asked != value:
                return False
        return all(arg.fits(getattr(request, arg.field)) for arg in self.args)


_SPELLINGS: dict[tuple[type[Request], Abi], tuple[Spelling, ...]] = {}


def spellings_of(request: type[Request], abi: Abi) -> tuple[Spelling, ...]:
    """The spellings of a request on an ABI, in the order of their declaration."""
    known = _SPELLINGS.get((request, abi))
    if known is None:
        numbers = NUMBERS[abi.title]
        chosen: dict[tuple[str, int | None], Form] = {}
        for form in request.FORMS:
            key = (form.name, form.selector)
            if form.name in numbers and form.applies(abi) and (form.where or key not in chosen):
                chosen[key] = form
        known = tuple([Spelling(form, request, abi) for form in chosen.values()])
        _SPELLINGS[request, abi] = known
    return known
