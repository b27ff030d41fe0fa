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
_NO_COPIES: Final = {
    r"uselib": "a missing file is told of before a missing call",
    r" links |stx_nlink| s\.st_ino == t\.st_ino": "a copy of a file with several names has one",
}
LAYERS = Kind("layers", ("cow:{source}={top}:layer={more}",), BIND.native, differences=_NO_COPIES)
_BEFORE_COPIES: Final = _NO_COPIES | {r" events: ( 2:|$)": "a file that is watched is not the later copy"}
LOWER = Kind("lower", LAYERS.mounts, BIND.native, prepared=("source",), differences=_BEFORE_COPIES)
KINDS = (BIND, READ_ONLY, FILES, NESTED, LAYERS, LOWER)

# With files alone, the directory itself is no mount point.
_CASES: Final = [(kind, name) for kind in KINDS for name in PROGRAMS if (kind, name) != (FILES, "names")]


def _title(value: Kind | str) -> str:
    return value if isinstance(value, str) else value.name


@pytest.mark.parametrize(("kind", "name"), _CASES, ids=_title)
def test_the_battery_is_answered_as_by_the_kernel(
    programs: Programs, kind: Kind, name: str, engine: str
) -> None:
    check(kind, programs(f"battery_{name}"), engine)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_32_bit_battery_is_answered_so_too(programs: Programs, name: str, engine: str) -> None:
    check(BIND, programs(f"battery_{name}", 32), engine)
