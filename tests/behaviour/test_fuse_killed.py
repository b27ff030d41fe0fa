"""Programs that are killed while a FUSE server is asked on their behalf: it is told so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from behaviour.harness import Bench
from behaviour.served import Served, serve

ASKING = {
    "LOOKUP": "os.stat('mnt/file')",
    "OPEN": "os.open('mnt/file', os.O_RDONLY)",
    "OPENDIR": "os.listdir('mnt')",
    "READDIRPLUS": "os.listdir('mnt')",
}


@pytest.fixture(params=["guardians", "notify"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(engine: str, bench: Bench) -> Iterator[Served]:
    yield from serve(engine, bench)


@pytest.mark.parametrize("name", ASKING)
def test_the_server_is_told_at_once(served: Served, name: str) -> None:
    """Also if the interpreter does not know of the request yet."""
    served.server.add(b"file", b"content")
    asked: list[int] = []
    served.server.override |= {name: lambda header, _body: asked.append(header.unique)}
    program = served.start(ASKING[name])
    served.wait(lambda: asked)
    program.kill()
    program.communicate(timeout=40)
    served.wait(lambda: "INTERRUPT" in served.server.log)


def test_what_it_lists_for_nobody_is_given_back(served: Served) -> None:
    server = served.server
    server.valid = 3600
    expected = [(server.add(b"name%d" % number), 1) for number in range(3)]
    asked: list[tuple[int, bytes]] = []
    plus = server.readdirplus
    server.override |= {"READDIRPLUS": lambda header, body: asked.append((header.unique, plus(header, body)))}
    program = served.start(ASKING["READDIRPLUS"])
    served.wait(lambda: asked)
    program.kill()
    program.communicate(timeout=40)
    served.wait(lambda: "INTERRUPT" in server.log)
    server.answer(*asked[0])
    served.wait(lambda: sorted(server.forgotten) == expected)
