"""What can be changed of a LAN while it runs, and what that means between two hosts."""

from __future__ import annotations

import pytest

from diorama.errors import UsageError
from diorama.modules.networks.lan.conditions import Conditions, conditions_between
from diorama.modules.networks.lan.orders import obey
from diorama.modules.networks.lan.wire import HostRecord, State


def lan(*names: str) -> State:
    hosts = [
        HostRecord(number, name, f"10.1.0.{number}", f"fd00::{number}")
        for number, name in enumerate(names, 1)
    ]
    return State("office", 1, "10.1.0.0/24", "fd00::/64", hosts=hosts)


def ordered(state: State, *lines: str) -> State:
    for line in lines:
        verb, *words = line.split()
        state = obey(state, verb, words)
    return state


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("100ms", 0.1), ("1.5s", 1.5), ("250us", 0.00025), ("0.1", 0.1), ("0", 0.0), (".5s", 0.5)],
)
def test_latencies(word: str, seconds: float) -> None:
    state = ordered(lan("a", "b"), f"set latency={word}")
    assert conditions_between(state, "a", "b").latency == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("word", "rate"),
    [
        ("10Mbit", 1.25e6), ("8bit", 1), ("1Gbit", 1.25e8), ("100kbit", 12500), ("1MB", 1e6), ("1MB/s", 1e6),
        ("2kB", 2000), ("1Mibit", 131072), ("500", 500), ("10mbit", 1.25e6),
    ],
)  # fmt: skip
def test_bandwidths(word: str, rate: float) -> None:
    state = ordered(lan("a", "b"), f"set bandwidth={word}")
    assert conditions_between(state, "a", "b").bandwidth == pytest.approx(rate)


@pytest.mark.parametrize(("word", "share"), [("1%", 0.01), ("0.5", 0.5), ("100%", 1.0), ("0", 0.0)])
def test_losses(word: str, share: float) -> None:
    assert conditions_between(ordered(lan("a", "b"), f"set loss={word}"), "a", "b").loss == share


def test_what_is_said_of_two_counts_before_one_and_that_before_all() -> None:
    state = ordered(
        lan("a", "b", "c", "d"),
        "set latency=1s loss=10%",
        "set a latency=2s",
        "set b latency=3s",
        "set a-c latency=0",
    )
    latency = {
        pair: conditions_between(state, *pair).latency
        for pair in ("cd", "ad", "da", "ab", "ba", "ac", "ca", "bc")
    }
    assert latency == {"cd": 1, "ad": 2, "da": 2, "ab": 3, "ba": 3, "ac": 0, "ca": 0, "bc": 3}
    assert conditions_between(state, "a", "c").loss == 0.1
    assert conditions_between(state, "a", "a") == Conditions()


def test_the_narrower_of_two_bandwidths_counts() -> None:
    state = ordered(lan("a", "b"), "set a bandwidth=2kB", "set b bandwidth=1kB")
    assert conditions_between(state, "a", "b").bandwidth == 1000


def test_what_is_not_named_stays() -> None:
    state = ordered(lan("a", "b"), "set a latency=1s", "set a loss=1%")
    assert conditions_between(state, "a", "b") == Conditions(latency=1, loss=0.01)


def cut_pairs(state: State, names: str) -> set[str]:
    return {
        one + other
        for one in names
        for other in names
        if one < other and conditions_between(state, one, other).is_cut
    }


def test_cutting_and_healing() -> None:
    state = ordered(lan("a", "b", "c"), "cut a-b")
    assert cut_pairs(state, "abc") == {"ab"}
    state = ordered(state, "cut c")
    assert cut_pairs(state, "abc") == {"ab", "ac", "bc"}
    assert cut_pairs(ordered(state, "heal b-a"), "abc") == {"ac", "bc"}
    assert cut_pairs(ordered(state, "heal c"), "abc") == {"ab"}
    assert cut_pairs(ordered(state, "heal"), "abc") == set()


def test_a_partition_has_sides_and_who_is_on_none_hears_all() -> None:
    state = ordered(lan("a", "b", "c", "d", "e"), "partition a,b/c,d")
    assert cut_pairs(state, "abcde") == {"ac", "ad", "bc", "bd"}
    assert cut_pairs(ordered(state, "partition a/b/c"), "abcde") == {"ab", "ac", "bc"}
    assert cut_pairs(ordered(state, "heal"), "abcde") == set()


def test_who_is_paused_or_down_hears_nobody() -> None:
    state = ordered(lan("a", "b", "c"), "pause a", "down b")
    assert cut_pairs(state, "abc") == {"ab", "ac", "bc"}
    assert cut_pairs(ordered(state, "resume a"), "abc") == {"ab", "bc"}
    assert cut_pairs(ordered(state, "up"), "abc") == set()
    assert cut_pairs(ordered(state, "reset"), "abc") == set()


def test_names_may_have_hyphens() -> None:
    state = ordered(lan("db-1", "db", "1-db", "db-1-1"), "cut db-1-1-db")
    assert (
        conditions_between(state, "db-1", "1-db").is_cut != conditions_between(state, "db-1-1", "db").is_cut
    )
    assert not conditions_between(state, "db", "db-1").is_cut
    assert conditions_between(ordered(state, "set db-1 latency=1s"), "db-1", "db").latency == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("set", "nothing to set"),
        ("set a", "nothing to set"),
        ("set speed=1", "'speed=1' is nothing to set"),
        ("set latency=", "is no value"),
        ("set latency=-1ms", "is no value"),
        ("set latency=1m", "no unit of time: write latency=100ms|no unit of time: write 100ms"),
        ("set bandwidth=1Mfoo", "no unit of a rate"),
        ("set loss=101%", "is no share"),
        ("set x latency=1s", "there is no host 'x'; hosts are a, b, gateway"),
        ("set a-x latency=1s", "'a-x' is not two hosts"),
        ("cut", "cut whom"),
        ("cut a-a", "'a-a' is not two hosts"),
        ("partition a,b", "two or more sides"),
        ("partition a,b/b", "have no host in common"),
        ("partition a/x", "there is no host 'x'"),
        ("down x", "there is no host 'x'"),
        ("reset a", "takes no words"),
        ("fly", "'fly' is nothing to do with a LAN"),
    ],
)
def test_what_makes_no_sense_is_said(line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ordered(lan("a", "b"), line)


def test_an_order_leaves_the_state_it_was_given_alone() -> None:
    state = lan("a", "b")
    for line in ("set latency=1s", "cut a", "partition a/b", "pause a", "down b"):
        ordered(state, line)
    assert state == lan("a", "b")
