"""Predicates: what C cannot settle is settled after decoding."""

from __future__ import annotations

from diorama import calls
from diorama.abi.arch import Abi
from diorama.catalogue import index
from diorama.catalogue.io import Ioctl
from diorama.dispatch.subscription import ArgumentTest, Subscription, subscribe
from diorama.engine._native import TEST_EQ


def spelled(abi: Abi, name: str) -> index.Spelling:
    return next(one for one in index.spellings(abi).values() if one.name == name)


def test_an_int_is_compared_without_the_upper_half_of_its_register() -> None:
    one = subscribe(lambda call: None, ("close",), None, {"fd": 3})
    widths = {rule.abi: rule.tests[0].width for rule in one.rules(0)}
    assert widths[Abi.X86_64.audit] == 32


def test_a_size_is_compared_whole() -> None:
    one = subscribe(lambda call: None, ("read",), None, {"size": 1 << 33})
    assert next(rule for rule in one.rules(0) if rule.abi == Abi.X86_64.audit).tests[0].width == 64


def test_a_spelling_that_fixes_another_value_is_not_asked_for() -> None:
    one = subscribe(lambda call: None, ("openat",), None, {"dirfd": 7})
    numbers = {rule.nr for rule in one.rules(0) if rule.abi == Abi.X86_64.audit}
    assert numbers == {spelled(Abi.X86_64, "openat").number}


def test_a_multiplexed_call_is_settled_by_the_request() -> None:
    one = subscribe(lambda call: None, ("connect",), None, {"fd": 5})
    assert not one.is_settled_by(spelled(Abi.I386, "socketcall"))
    assert one.is_settled_by(spelled(Abi.X86_64, "connect"))
    assert not one.admits(calls.Close(fd=5))


def test_a_call_concerns_with_any_of_several_values() -> None:
    test = ArgumentTest("command", TEST_EQ, 1, (2, 3))
    one = Subscription(lambda call: None, frozenset({Ioctl}), None, {}, tests={Ioctl: (test,)})
    rules = [rule for rule in one.rules(0) if rule.abi == Abi.X86_64.audit]
    assert [[test.value for test in rule.tests] for rule in rules] == [[1], [2], [3]]
