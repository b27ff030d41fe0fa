"""What a view can be told of its system, and the names of a namespace."""

from __future__ import annotations

import os

import pytest

from diorama.errors import UsageError
from diorama.view.system import System, parse_size
from diorama.view.uts import Uts


def test_a_comma_begins_a_field_only_before_the_name_of_one() -> None:
    system = System.parse("version=#1, SMP,release=6.1", "blue", None, "2G")
    assert (system.version, system.release, system.nodename) == ("#1, SMP", "6.1", "blue")
    assert system.memory == 2 << 30
    assert system.has_names


def test_limits_are_no_names() -> None:
    assert not System(cpus=4, memory=1 << 30).has_names


SIZES = [("1048576", 1 << 20), ("1.5m", 3 << 19), ("2KiB", 2048), ("1TB", 1 << 40)]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1 M", "1X", "1e3", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_more_memory_than_can_be_told_is_refused() -> None:
    assert System(memory=1 << 60).memory == 1 << 60
    with pytest.raises(UsageError):
        System.parse("", None, None, "99999999T")


@pytest.mark.parametrize("name", ["", "x" * 65, "two\nlines", "\0", "\u00e4" * 33])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        System(nodename=name)


def test_a_copy_begins_with_the_names_of_its_moment() -> None:
    first = Uts(b"one", b"office")
    copy = first.copy()
    first.set("nodename", b"two")
    copy.set("domainname", b"home")
    assert (copy.get("nodename"), first.get("domainname")) == (b"one", b"office")
    assert copy.fd >= 0


def test_what_was_written_counts_for_who_looks_afterwards() -> None:
    uts = Uts(b"one", b"office")
    writer = uts.writer("nodename")
    assert uts.get("nodename") == b"one"
    os.write(writer, b"two\nrest")
    assert uts.get("nodename") == b"two"
    os.write(writer, b"x" * 100)
    os.close(writer)
    assert uts.copy().get("nodename") == b"x" * 64
