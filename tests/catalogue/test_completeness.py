"""The catalogue as a whole: every number of every ABI, once, with fields that exist."""

from __future__ import annotations

import pytest

from catalogue.fakes import all_spellings
from diorama import calls, catalogue
from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.catalogue.kinds import DirFdKind, FdKind, Kind, PathKind
from diorama.catalogue.left_alone import REASONS
from diorama.catalogue.model import Request

ALL = catalogue.requests()


@pytest.mark.parametrize("abi", list(Abi))
def test_every_number_is_a_request_or_left_alone(abi: Abi) -> None:
    spellings = catalogue.spellings(abi)
    numbers = NUMBERS[abi.title]
    undeclared = {name for name, number in numbers.items() if number not in spellings}
    assert undeclared - set(REASONS) == set()
    assert {name for name in REASONS if numbers.get(name) in spellings} == set()
    assert {number for number in spellings if number not in numbers.values()} == set()


@pytest.mark.parametrize("abi", list(Abi))
def test_no_number_is_declared_twice(abi: Abi) -> None:
    keys = [(spelling.number, spelling.selector) for spelling in all_spellings(abi)]
    assert len(keys) == len(set(keys))
    for number, spelling in catalogue.spellings(abi).items():
        assert NUMBERS[abi.title][spelling.name] == number


def test_every_reason_is_for_a_call_that_exists() -> None:
    known = frozenset().union(*NUMBERS.values())
    assert set(REASONS) <= known
    assert all(catalogue.reason(Abi.X86_64, NUMBERS["x86-64"][name]) for name in ("rseq", "vserver"))
    assert catalogue.reason(Abi.X86_64, 0) is None
    assert catalogue.reason(Abi.X86_64, 9999) is None


def test_no_form_stands_for_a_call_that_does_not_exist() -> None:
    known = frozenset().union(*NUMBERS.values())
    assert {form.name for request in ALL for form in request.FORMS} <= known


@pytest.mark.parametrize("request_class", ALL, ids=lambda request: request.__name__)
def test_a_declaration_is_consistent(request_class: type[Request]) -> None:
    fields = request_class.FIELDS
    assert request_class.DOC.endswith(".")
    assert request_class.MAN.endswith("(2)")
    assert all(isinstance(kind, Kind) and kind.title for kind in fields.values())
    for form in request_class.FORMS:
        assert set(form.fields).isdisjoint(form.fixed), "a field is an argument or fixed"
        assert set(form.fields) | set(form.fixed) == set(fields), f"{form.name} leaves no field out"
    for rule in request_class.PATHS:
        assert isinstance(fields[rule.field], PathKind)
        assert rule.anchor is None or isinstance(fields[rule.anchor], DirFdKind)
    for name in request_class.FDS:
        assert isinstance(fields[name], FdKind)
    for kind in fields.values():
        assert not kind.needs or kind.needs in fields


@pytest.mark.parametrize("request_class", [one for one in ALL if one.PATHS], ids=lambda one: one.__name__)
def test_a_directory_descriptor_belongs_to_a_path(request_class: type[Request]) -> None:
    anchors = {rule.anchor for rule in request_class.PATHS}
    dirfds = {name for name, kind in request_class.FIELDS.items() if isinstance(kind, DirFdKind)}
    assert dirfds <= anchors


def test_the_public_module_has_every_request() -> None:
    assert {getattr(calls, name) for name in calls.__all__} == set(ALL)
    assert len({request.__name__ for request in ALL}) == len(ALL)
