"""`diorama net` and the library's `Lan`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

import diorama
from diorama.cli.net import command
from diorama.errors import UsageError
from modules.networks.lan_room import Room, until


def net(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)


def test_lans_are_listed_with_their_hosts(room: Room) -> None:
    assert net().output == ""
    room.join("office", host="db", subnet="10.1.0.0/24")
    room.join("office", host="web")
    room.join("home", host="pc", subnet="10.2.0.0/24")
    assert net().output.splitlines() == [
        "home  10.2.0.0/24  pc 10.2.0.1",
        "office  10.1.0.0/24  db 10.1.0.1, web 10.1.0.2",
    ]
    assert [lan["lan"] for lan in json.loads(net("--json").output)] == ["home", "office"]


def test_what_was_ordered_is_shown(room: Room) -> None:
    db = room.join(host="db", subnet="10.1.0.0/24")
    room.join(host="web")
    for words in (
        "set latency=100ms jitter=5ms bandwidth=1250000B",
        "set db-web loss=1.5%",
        "cut db-web",
        "partition db/web",
        "down web",
    ):
        assert net("office", *words.split()).output == ""
    shown = net("office").output.splitlines()
    assert shown[0].startswith("office: 10.1.0.0/24, fd00:")
    assert "down" in shown[2]
    assert shown[3:] == [
        "set latency=100ms jitter=5ms bandwidth=1250000B",
        "set db-web loss=1.5%",
        "cut db-web",
        "partition db/web",
    ]
    assert db.conditions(2).latency == 0.1
    told = json.loads(net("office", "show", "--json").output)
    assert told["impairments"][""]["latency"] == 0.1
    assert told["hosts"][0]["name"] == "db"


def test_what_is_changed_is_so_for_all_when_the_command_returns(room: Room) -> None:
    members = [room.join() for _ in range(5)]
    for step in range(20):
        net("office", "set", f"latency={step}ms")
        assert {member.conditions(member.host % 5 + 1).latency for member in members} == {step / 1000}


def test_the_library_does_the_same(room: Room) -> None:
    member = room.join(host="a")
    for name in "bcd":
        room.join(host=name)
    lan = diorama.Lan("office")
    assert [host.name for host in lan.state.hosts] == list("abcd")
    lan.set(latency=0.25, bandwidth="1MB")
    lan.set("a-b", loss=0.5)
    assert member.conditions(2).latency == 0.25
    assert member.conditions(2).loss == 0.5
    assert member.conditions(3).bandwidth == 1e6
    lan.partition(["a", "b"], ["c", "d"])
    assert [member.conditions(host).is_cut for host in (2, 3, 4)] == [False, True, True]
    lan.heal()
    lan.cut("a-b")
    lan.pause("c")
    lan.down("d")
    assert [member.conditions(host).is_cut for host in (2, 3, 4)] == [True, True, True]
    lan.heal("a-b")
    lan.resume("c")
    assert member.hosts()[4].is_down
    lan.up("d")
    assert [member.conditions(host).is_cut for host in (2, 3, 4)] == [False, False, False]
    lan.reset()
    assert member.conditions(2).latency == 0


def test_mistakes_are_told_and_change_nothing(room: Room) -> None:
    with pytest.raises(UsageError, match="there is no LAN 'office'; there are none"):
        net("office")
    room.join("home")
    with pytest.raises(UsageError, match="there is no LAN 'office'; there are home"):
        net("office", "cut", "db")
    before = diorama.Lan("home").state
    for words, why in (
        ("cut x", "there is no host 'x'"),
        ("set latency=fast", "is no value"),
        ("jump", "nothing to do"),
    ):
        with pytest.raises(UsageError, match=why):
            net("home", *words.split())
    assert diorama.Lan("home").state == before


def test_who_only_watches_keeps_no_lan(room: Room) -> None:
    member = room.join()
    lan = diorama.Lan("office")
    assert lan.state.hosts[0].name == "host1"
    member.leave()
    until(lambda: not room.files(), "the keeper to end")
