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
