"""Names of sockets tell what they were made from, and to no other stack."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.modules.networks.packet.names import name_of, parse_name

KEY, OTHER = b"abc", b"xyz"
NUMBERS = st.integers(min_value=0, max_value=2**32 - 1)
PORTS = st.integers(min_value=0, max_value=65535)


@given(NUMBERS, st.ip_addresses(), PORTS, st.integers(min_value=0, max_value=255))
def test_a_peer_is_found_again(number: int, address: IPv4Address | IPv6Address, port: int, zone: int) -> None:
    is_local = isinstance(address, IPv6Address) and address.packed[:4] == b"\xfe\x80\0\0"
    if isinstance(address, IPv6Address) and address.packed[:2] == b"\xfe\x80" and not is_local:
        return  # RFC 4291: these bits are zero
    named = (str(address), port, zone if is_local else 0)
    found = parse_name(KEY, name_of(KEY, number, named))
    assert found is not None
    assert found[1] is not None
    assert (found[0], IPv6Address(found[1][0]) if ":" in named[0] else found[1][0], *found[1][1:]) == (
        number,
        address if ":" in named[0] else named[0],
        *named[1:],
    )
    assert parse_name(OTHER, name_of(KEY, number, named)) is None


@given(NUMBERS)
def test_a_connection_is_found_again(number: int) -> None:
    assert parse_name(KEY, name_of(KEY, number)) == (number, None)


@pytest.mark.parametrize(("host", "size"), [("10.0.0.1", 16), ("fd00::1", 28)])
def test_a_name_has_room_where_an_address_has(host: str, size: int) -> None:
    assert 2 + len(name_of(KEY, 1, (host, 80, 0))) <= size


@given(st.binary(max_size=40))
def test_what_others_are_called_is_not_ours(name: bytes) -> None:
    if name[:4] != b"\0" + KEY:
        assert parse_name(KEY, name) is None
