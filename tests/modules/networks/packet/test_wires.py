"""Wires: frames go from one end to the other, whoever dies on the way."""

from __future__ import annotations

import multiprocessing
import os
import select
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.modules.networks.packet.pcap import Recorder, read_frames
from diorama.modules.networks.packet.switch import Switch, switch_directory
from diorama.modules.networks.packet.wires import Lossy, Recorded, Vde, Wire, open_wire
from modules.networks.packet.hosts import LIMIT, needs_vde, new_switch, vde_switch

ONE, OTHER, THIRD = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 3))
ALL = b"\xff" * 6


def frame(to: bytes, of: bytes, text: bytes) -> bytes:
    return to + of + b"\x88\xb5" + text.ljust(46, b".")


def text(data: bytes | None) -> bytes | None:
    return None if data is None else data[14:].rstrip(b".")


def next_frame(wire: Wire) -> bytes:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        data = wire.receive()
        if data:
            return data
        select.select([wire], [], [], 1)
    raise AssertionError("no frame comes")


@pytest.fixture
def opened() -> Iterator[Callable[[str], Wire]]:
    wires: list[Wire] = []

    def open_it(locator: str) -> Wire:
        wires.append(open_wire(locator))
        return wires[-1]

    yield open_it
    for wire in wires:
        wire.close()


def test_members_of_a_switch_hear_each_other(opened: Callable[[str], Wire]) -> None:
    name = new_switch()
    one, other, third = (opened(name) for _ in range(3))
    one.send(frame(ALL, ONE, b"hello"))
    assert text(next_frame(other)) == text(next_frame(third)) == b"hello"
    other.send(frame(ONE, OTHER, b"answer"))
    assert text(next_frame(one)) == b"answer"


def test_what_is_for_a_known_member_goes_to_nobody_else(opened: Callable[[str], Wire]) -> None:
    name = new_switch()
    one, other, third = (opened(name) for _ in range(3))
    one.send(frame(ALL, ONE, b"here"))
    next_frame(other)
    next_frame(third)
    other.send(frame(ONE, OTHER, b"secret"))
    other.send(frame(ALL, OTHER, b"open"))
    assert text(next_frame(one)) == b"secret"
    assert text(next_frame(third)) == b"open"


def test_two_switches_are_two(opened: Callable[[str], Wire]) -> None:
    one, other, third = opened(new_switch()), opened(new := new_switch()), opened(new)
    one.send(frame(ALL, ONE, b"elsewhere"))
    third.send(frame(ALL, THIRD, b"here"))
    assert text(next_frame(other)) == b"here"


def stay(name: str, ready: Callable[[], None]) -> None:
    wire = open_wire(name)
    ready()
    next_frame(wire)
    wire.send(frame(ALL, THIRD, b"I am"))
    time.sleep(LIMIT)


def test_a_member_that_is_killed_is_forgotten(opened: Callable[[str], Wire]) -> None:
    name = new_switch()
    one = opened(name)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=stay, args=(name, ready.set))
    process.start()
    assert ready.wait(LIMIT)
    one.send(frame(ALL, ONE, b"who is there?"))
    assert text(next_frame(one)) == b"I am"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    one.send(frame(THIRD, ONE, b"and now?"))
    other = opened(name)
    assert len(os.listdir(switch_directory(name.partition(":")[2]))) == 2
    one.send(frame(ALL, ONE, b"still"))
    assert text(next_frame(other)) == b"still"


def test_a_switch_leaves_nothing_behind() -> None:
    name = new_switch().partition(":")[2]
    one, other = Switch(name), Switch(name)
    directory = Path(switch_directory(name))
    one.close()
    assert len(list(directory.iterdir())) == 1
    other.close()
    assert not directory.exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 40])
def test_a_switch_has_a_name_that_is_no_path(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        open_wire(f"switch:{name}")


def test_a_full_member_does_not_stop_the_others(opened: Callable[[str], Wire]) -> None:
    name = new_switch()
    one, lazy, other = (opened(name) for _ in range(3))
    for number in range(20000):
        one.send(frame(ALL, ONE, b"%d" % number))
        if number % 100 == 0:
            while other.receive():
                pass
    one.send(frame(ALL, ONE, b"last"))
    seen = text(next_frame(other))
    while seen != b"last":
        seen = text(next_frame(other))
    assert text(next_frame(lazy)) == b"0"


@needs_vde
def test_a_vde_switch_connects(tmp_path: Path, opened: Callable[[str], Wire]) -> None:
    with vde_switch(tmp_path) as path:
        one, other = opened(f"vde://{path}"), opened(str(path))
        one.send(frame(ALL, ONE, b"hello"))
        assert text(next_frame(other)) == b"hello"
        other.send(frame(ONE, OTHER, b"answer"))
        assert text(next_frame(one)) == b"answer"


@needs_vde
def test_the_end_of_a_vde_switch_is_an_error(tmp_path: Path) -> None:
    with vde_switch(tmp_path) as path:
        wire = Vde(f"vde://{path}")
    with pytest.raises(OSError, match=r"."):
        next_frame(wire)
    wire.close()


@needs_vde
def test_a_vde_switch_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot open the wire vde://") as caught:
        open_wire(f"vde://{tmp_path}/nowhere")
    assert "\n" not in str(caught.value)


def test_what_is_recorded_can_be_replayed(tmp_path: Path, opened: Callable[[str], Wire]) -> None:
    path, name = str(tmp_path / "all.pcap"), new_switch()
    one, other = Recorded(open_wire(name), Recorder(path)), opened(name)
    one.send(frame(ALL, ONE, b"out"))
    next_frame(other)
    other.send(frame(ALL, OTHER, b"in"))
    next_frame(one)
    one.close()
    assert [text(data) for _, data in read_frames(path)] == [b"out", b"in"]
    replayed = opened(f"pcap:{path}")
    assert [text(next_frame(replayed)), text(next_frame(replayed))] == [b"out", b"in"]
    assert replayed.receive() is None


def test_tcpdump_reads_a_recording(tmp_path: Path) -> None:
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        pytest.skip("tcpdump is not installed")
    path = tmp_path / "one.pcap"
    recorder = Recorder(str(path))
    recorder.write(frame(OTHER, ONE, b"hello"))
    recorder.close()
    done = subprocess.run([tcpdump, "-enr", path], capture_output=True, text=True, check=True, timeout=60)
    assert "02:00:00:00:00:01 > 02:00:00:00:00:02" in done.stdout


@pytest.mark.parametrize("order", ["<", ">"])
def test_recordings_of_others_are_read(order: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.pcap"
    data = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    data += struct.pack(order + "IIII", 7, 5, 4, 4) + b"abcd"
    data += struct.pack(order + "IIII", 8, 0, 99, 99) + b"cut"
    path.write_bytes(data)
    assert read_frames(str(path)) == [(7_000_005_000, b"abcd")]


@pytest.mark.parametrize("data", [b"", b"no recording at all, but long enough", bytes(24)])
def test_what_is_no_recording_is_said(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "none"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="not a pcap file"):
        open_wire(f"pcap:{path}")


def test_a_lossy_wire_loses_its_share(opened: Callable[[str], Wire]) -> None:
    name = new_switch()
    one, other = Lossy(opened(name), 0.5), opened(name)
    came = 0
    for _ in range(1000):
        one.send(frame(ALL, ONE, b"perhaps"))
        came += other.receive() is not None
        while other.receive():
            came += 1
    assert 300 < came < 700
