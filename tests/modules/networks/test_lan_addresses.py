"""What addresses of the loopback say of a LAN."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.modules.networks.lan.addresses import INDEX_MAX, Place, is_mapped, parse_real, unmap

PLACES = st.builds(
    Place, st.integers(1, 254), st.integers(1, 254), st.integers(0, INDEX_MAX), st.integers(0, 65535)
)


@given(PLACES)
def test_a_place_is_known_again(place: Place) -> None:
    address, port = place.real()
    assert parse_real(address, port) == place
    assert parse_real(f"::ffff:{address}", port) == place


@given(PLACES)
def test_everybody_may_bind_every_port(place: Place) -> None:
    address, port = place.real()
    assert address.startswith("127.")
    assert port == 0 or port >= 1024


@given(PLACES, PLACES)
def test_no_two_places_are_one(one: Place, other: Place) -> None:
    assert (one.real() == other.real()) == (one == other)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 80),
        ("127.7.0.3", 80),
        ("127.0.7.3", 80),
        ("10.7.7.10", 80),
        ("::1", 80),
        ("", 0),
        ("127.7.7.11", 80),
        ("127.7.7.139", 80),
        ("127.7.7.11", 1024),
        ("127.7.7.11", 3000),
    ],
)
def test_other_addresses_are_of_no_lan(address: str, port: int) -> None:
    assert parse_real(address, port) is None


@given(PLACES)
def test_a_relay_stands_for_the_same_place(place: Place) -> None:
    address, port = place.real()
    start, _, last = address.rpartition(".")
    assert int(last) < 128
    assert parse_real(f"{start}.{int(last) + 128}", port) == place


def test_addresses_that_are_mapped() -> None:
    assert is_mapped("::ffff:10.0.0.1")
    assert unmap("::ffff:10.0.0.1") == "10.0.0.1"
    assert not is_mapped("::ffff:a00:1")
    assert unmap("fd00::1") == "fd00::1"
