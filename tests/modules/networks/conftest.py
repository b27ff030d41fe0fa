from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from diorama.modules.networks.lan.loop import Loop
from modules.networks.lan_pair import Pair
from modules.networks.lan_room import LIMIT, Room, room

__all__ = ["room"]


@pytest.fixture
def pair(room: Room) -> Iterator[Pair]:
    pair = Pair(room)
    with pair.stack:
        yield pair


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.soon(loop.stop)
    thread.join(LIMIT)
    loop.close()
