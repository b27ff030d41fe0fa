"""A LAN's members and its keeper: joining, leaving, being known, being killed."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

import diorama
from diorama.errors import Unsupported, UsageError
from diorama.modules.networks.lan import meeting, wire
from diorama.modules.networks.lan.addresses import ADDRESS4, Place
from diorama.modules.networks.lan.member import Member
from modules.networks.lan_room import Room, has_ended, until


def test_the_first_member_starts_the_keeper_and_the_last_one_ends_it(room: Room) -> None:
    one, other = room.join(), room.join()
    (keeper,) = room.keepers()
    assert one.number == other.number
    assert "lan-office.sock" in room.files()
    one.leave()
    until(lambda: list(other.hosts()) == [other.host], "the other to be alone")
    assert room.keepers() == [keeper]
    other.leave()
    until(lambda: not room.files(), "its files to be gone")


def test_hosts_get_numbers_names_and_addresses_of_both_families(room: Room) -> None:
    one, other = room.join(subnet="10.1.2.0/24", subnet6="fd12::/64"), room.join(host="web")
    assert (one.host, one.name, str(one.address), str(one.address6)) == (
        1,
        "host1",
        "10.1.2.1/24",
        "fd12::1/64",
    )
    assert (other.host, other.name, str(other.address)) == (2, "web", "10.1.2.2/24")
    assert str(one.gateway) == "10.1.2.254/24"
    assert str(one.gateway6) == "fd12::fe/64"
    until(lambda: len(one.hosts()) == 2, "both to know of both")
    assert one.hosts() == other.hosts()
    assert one.find("10.1.2.2") == one.find("fd12:0::2") == other.hosts()[2]
    assert one.find("10.1.2.254").host == 254
    assert one.find("10.1.2.3") is None


def test_who_has_joined_is_known_to_all_when_it_has(room: Room) -> None:
    first = room.join()
    told: list[int] = []
    first.on_change = lambda: told.append(len(first.hosts()))
    for count in range(2, 6):
        member = room.join()
        assert member.host in first.hosts()
        assert told[-1] == count


def test_addresses_can_be_given(room: Room) -> None:
    one = room.join(subnet="192.168.7.0/28", address="192.168.7.5", address6="")
    other = room.join(address="192.168.7.1/28")
    third = room.join()
    assert [str(member.address.ip) for member in (one, other, third)] == [
        "192.168.7.5",
        "192.168.7.1",
        "192.168.7.3",
    ]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "db"}, "a host is called db already"),
        ({"host": "gateway"}, "what the gateway is called"),
        ({"host": "a b"}, "no name of a host"),
        ({"address": "10.1.0.1"}, "10.1.0.1 is the address of db already"),
        ({"address": "10.1.0.254"}, "the address of the gateway already"),
        ({"address": "10.2.0.1"}, "not an address of its subnet"),
        ({"address": "10.1.0.255"}, "not an address of a host"),
        ({"address": "10.1.0.300"}, "IPv4"),
        ({"address6": "fd99::1"}, "not an address of its subnet"),
        ({"subnet": "10.9.0.0/24"}, "it has the subnet 10.1.0.0/24 already"),
        ({"subnet": "10.9.0.1/24"}, "has host bits set"),
        ({"subnet6": "10.9.0.0/24"}, "no IPv6 subnet"),
    ],
)
def test_what_cannot_be_is_one_clear_line(room: Room, options: dict[str, str], why: str) -> None:
    room.join(host="db", subnet="10.1.0.0/24")
    with pytest.raises(UsageError, match=why) as caught:
        Member.join("office", **options)
    assert "\n" not in str(caught.value)


def test_a_lan_that_nobody_could_make_leaves_nothing(room: Room) -> None:
    with pytest.raises(UsageError, match="no IPv4 subnet"):
        Member.join("office", subnet="fd00::/64")
    until(lambda: not room.files(), "its files to be gone")


def test_a_small_subnet_runs_out_of_addresses(room: Room) -> None:
    for _ in range(5):
        room.join(subnet="10.3.0.0/29")
    with pytest.raises(UsageError, match="has no address left"):
        Member.join("office")


def test_two_lans_have_different_numbers(room: Room) -> None:
    assert room.join("one").number != room.join("other").number


def test_many_that_join_at_once_meet_at_one_keeper(room: Room) -> None:
    found: list[Member] = []
    threads = [threading.Thread(target=lambda: found.append(room.join())) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(room.keepers()) == 1
    assert sorted(member.host for member in found) == list(range(1, 13))
    assert len({member.number for member in found}) == 1


def test_lans_are_made_and_ended_again_and_again_without_one_that_fails(room: Room) -> None:
    def come_and_go() -> None:
        for _ in range(8):
            room.join().leave()

    failed: list[BaseException] = []

    def carefully() -> None:
        try:
            come_and_go()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=carefully) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


_JOINS = """
import sys
from diorama.modules.networks.lan.member import Member
member = Member.join("office", host=sys.argv[1])
print(member.number, flush=True)
sys.stdin.read()
"""


def started(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _JOINS, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_members_of_other_processes_that_are_killed_are_gone(room: Room) -> None:
    mine = room.join()
    with started("other") as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == mine.number
        assert {host.name for host in mine.hosts().values()} == {"host1", "other"}
        process.kill()
    until(lambda: list(mine.hosts()) == [mine.host], "the other to be gone")


def test_a_keeper_outlives_the_member_that_started_it(room: Room) -> None:
    with started("first") as process:
        assert process.stdout is not None
        process.stdout.readline()
        mine = room.join()
        process.kill()
    until(lambda: list(mine.hosts()) == [mine.host], "the first to be gone")
    assert room.join().number == mine.number


def test_when_the_keeper_is_killed_members_are_what_they_were_at_another_one(room: Room) -> None:
    members = [room.join(host=name) for name in ("a", "b", "c")]
    members[0].order("set", ["a-b", "latency=50ms"])
    before = dict(members[0].hosts())
    for _ in range(3):
        (keeper,) = room.keepers()
        os.kill(keeper, signal.SIGKILL)
        until(lambda keeper=keeper: room.keepers() not in ([], [keeper]), "another keeper")
        # Each of them is answered, so all have joined again.
        assert {member.order("set", ["c", "loss=1%"]).number for member in members} == {members[0].number}
        assert members[1].hosts() == before
        assert members[1].conditions(1).latency == 0.05
    assert room.join().number == members[0].number


def test_what_a_killed_keeper_and_its_members_left_is_cleaned_by_the_next(room: Room) -> None:
    with started("other") as process:
        assert process.stdout is not None
        process.stdout.readline()
        (keeper,) = room.keepers()
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # or it sees the keeper go, and starts another
        os.kill(keeper, signal.SIGKILL)
        process.kill()
    until(lambda: has_ended(keeper), "the keeper to be gone")
    assert "lan-office.sock" in room.files()
    assert meeting.connect("office", start=False) is None
    room.join()


def test_who_leaves_when_the_keeper_has_just_been_killed_leaves_nothing_behind(room: Room) -> None:
    mine = room.join()
    (keeper,) = room.keepers()

    def end() -> None:
        """On the thread that would see the keeper go, and start another."""
        os.kill(keeper, signal.SIGKILL)
        until(lambda: has_ended(keeper), "the keeper to be gone")
        mine.leave()

    mine.on_change = end
    with pytest.raises(UsageError):
        diorama.Lan("office").set(latency="1ms")
    until(lambda: not room.files(), "its files to be gone")


def test_a_member_that_is_stopped_holds_nobody_up(room: Room) -> None:
    with started("other") as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        mine = room.join()
        mine.order("cut", ["other"])
        assert mine.conditions(1).is_cut
        os.kill(process.pid, signal.SIGCONT)
        process.kill()


def test_a_directory_that_others_may_enter_is_refused(room: Room) -> None:
    place = room.place / "diorama"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    with pytest.raises(UsageError, match="not a directory of this user alone"):
        Member.join("office")
    place.rmdir()
    place.symlink_to("/tmp")
    with pytest.raises(UsageError, match="not a directory of this user alone"):
        Member.join("office")
    place.unlink()


def test_a_directory_with_a_long_name_is_no_hindrance(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    long = room.place / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    member = Member.join("office")
    member.leave()
    until(lambda: not list((long / "diorama").iterdir()), "the keeper to end")


def test_another_version_is_refused(room: Room) -> None:
    room.join()
    at = meeting.connect("office", start=False)
    assert at is not None
    with at:
        wire.send(at, wire.Hello(version=wire.VERSION + 1, pid=1, lan="office"))
        answer, _ = wire.receive(at)
        assert isinstance(answer, wire.Refused)
        assert "version" in answer.why
        with pytest.raises(EOFError):
            wire.receive(at)


@pytest.mark.parametrize("data", [b"\xc1", b"hello", b"\x80", bytes(100_000)])
def test_nonsense_ends_its_connection_and_no_other(room: Room, data: bytes) -> None:
    mine = room.join()
    at = meeting.connect("office", start=False)
    assert at is not None
    with at:
        at.send(data)
        answer, _ = wire.receive(at)
        assert isinstance(answer, wire.Refused)
    assert mine.order("set", ["latency=1ms"]).lan == "office"


def test_the_keeper_has_nothing_of_who_started_it(room: Room) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFD, 0)
    room.join()
    (keeper,) = room.keepers()
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert os.getsid(keeper) != os.getsid(0)
    assert os.readlink(f"/proc/{keeper}/fd/0") == os.devnull


def test_what_the_keeper_cannot_do_is_an_error_that_linux_gives(room: Room) -> None:
    """It has no descriptors left: ENOBUFS, and a warning that says why."""
    one, other = room.join(host="a"), room.join(host="b")
    source, target = (Place(one.number, host, ADDRESS4, 5000).real() for host in (one.host, other.host))
    (keeper,) = room.keepers()
    limits = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (0, limits[1]))
    with pytest.raises(Unsupported, match="Too many open files") as caught:
        one.relay(source, target, "udp")
    assert caught.value.errno == errno.ENOBUFS
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, limits)
    assert one.relay(source, target, "udp") != target
    with pytest.raises(Unsupported) as caught:
        one.relay(("127.0.0.1", 80), target, "udp")
    assert caught.value.errno == errno.EINVAL
