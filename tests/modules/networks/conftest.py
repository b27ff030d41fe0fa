from __future__ import annotations

from collections.abc import Iterator

import pytest

from modules.networks.lan_pair import Pair
from modules.networks.lan_room import Room, room

__all__ = ["room"]


@pytest.fixture
def pair(room: Room) -> Iterator[Pair]:
    pair = Pair(room)
    with pair.stack:
        yield pair
