"""Every call with a path or a descriptor gives in a mount of the view what it gives in one of the kernel."""

from __future__ import annotations

from typing import Final

import pytest

from behaviour.battery import PROGRAMS, Kind, check
from behaviour.programs import Programs

BIND = Kind("bind", ("{source}={top}",), ("mount --bind {source} {top}",))
READ_ONLY = Kind(
    "ro",
    ("{source}={top}:ro",),
    ("mount --bind {source} {top}", "mount -o remount,bind,ro {top}"),
    prepared=("source",),
)
_OVER_FILES: Final = (
    ("{more}/{way}/file={top}/{way}/file",),
    ("mount --bind {more}/{way}/file {top}/{way}/file",),
)
FILES = Kind("files", *_OVER_FILES, prepared=("more", "work"))
NESTED = Kind(
    "nested", BIND.mounts + _OVER_FILES[0], BIND.native + _OVER_FILES[1], prepared=("source", "more")
)
KINDS = (BIND, READ_ONLY, FILES, NESTED)

# With files alone, the directory itself is no mount point.
_CASES: Final = [(kind, name) for kind in KINDS for name in PROGRAMS if (kind, name) != (FILES, "names")]
_NOT_YET: Final = {
    "bind": "content dirs refused sockets",
    "ro": "refused",
    "files": "content sockets",
    "nested": "content dirs refused sockets",
}


def _case(kind: Kind, name: str) -> object:
    marks = [pytest.mark.xfail(strict=False)] if name in _NOT_YET[kind.name].split() else []
    return pytest.param(kind, name, marks=marks, id=f"{kind.name}-{name}")


@pytest.mark.parametrize(("kind", "name"), [_case(*case) for case in _CASES])
def test_the_battery_is_answered_as_by_the_kernel(
    programs: Programs, kind: Kind, name: str, engine: str
) -> None:
    check(kind, programs(f"battery_{name}"), engine)
