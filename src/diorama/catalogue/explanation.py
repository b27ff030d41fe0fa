"""Explanation: what a system call is to Diorama, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.catalogue import index
from diorama.catalogue.forms import spellings_of
from diorama.catalogue.kinds import DirFdKind, Flags, Shown
from diorama.catalogue.left_alone import REASONS

if TYPE_CHECKING:
    from diorama.catalogue.forms import Form
    from diorama.catalogue.model import PathRule, Request

__all__ = ["explain", "fixed_text", "routing"]

_NOTHING = Shown(None, None)


def explain(text: str) -> str:
    """All that the catalogue knows of a call, a `%class` or a `/regex`; ValueError for an unknown one."""
    if text in REASONS:
        return _left_alone(text)
    found = index.find(text)
    if len(found) == 1:
        return _one(found[0])
    return "\n".join([f"{request.NAME:24} {request.DOC.partition(chr(10))[0]}" for request in found])


def routing(request: type[Request]) -> str:
    """By what it is decided who answers."""
    ways = [_path(rule) for rule in request.PATHS]
    anchors = {rule.anchor for rule in request.PATHS}
    ways += [f"the descriptor {name}" for name in request.FDS if name not in anchors]
    return "; ".join(ways) or "the calling task"


def _path(rule: PathRule) -> str:
    return f"the path in {rule.field}" + (f" at {rule.anchor}" if rule.anchor else "")


def _numbers(name: str) -> str:
    found = [f"{abi.title} {NUMBERS[abi.title][name]}" for abi in Abi if name in NUMBERS[abi.title]]
    return ", ".join(found)


def _left_alone(name: str) -> str:
    return f"{name} is left alone: {REASONS[name]}.\n\n  numbers  {_numbers(name)}"


def _one(request: type[Request]) -> str:
    lines = [f"{request.__name__}: {request.DOC}", "", "Spellings"]
    lines += [f"  {line}" for line in _spellings(request)]
    lines += ["", "Fields"]
    width = max([len(name) for name in request.FIELDS], default=0)
    lines += [f"  {name:{width}}  {kind.title}" for name, kind in request.FIELDS.items()] or ["  none"]
    classes = " ".join([f"%{word}" for word in sorted(request.CLASSES)]) or "none"
    lines += ["", f"Classes   {classes}", f"Routed by {routing(request)}", f"Manual    {request.MAN}"]
    return "\n".join(lines)


def fixed_text(request: type[Request], form: Form, name: str) -> str:
    """The value that a form gives to a field, by name where it has one."""
    value, kind = form.fixed[name], request.FIELDS[name]
    if value is None:
        return "NULL"
    return kind.text(value, _NOTHING) if isinstance(kind, DirFdKind | Flags) else str(value)


def _spellings(request: type[Request]) -> list[str]:
    lines: dict[str, list[str]] = {}
    for abi in Abi:
        for spelling in spellings_of(request, abi):
            form = spelling.form
            fixed = ", ".join([f"{name}={fixed_text(request, form, name)}" for name in form.fixed])
            text = f"{form.title}({form.parameters})" + (f" with {fixed}" if fixed else "")
            lines.setdefault(text, []).append(f"{abi.title} {spelling.number}")
    width = max([len(text) for text in lines], default=0)
    return [f"{text:{width}}  {', '.join(numbers)}" for text, numbers in lines.items()]
