"""Paths lead in a view where they lead in the kernel, with the same mounts on the same tree.

hypothesis makes trees full of links, bind mounts, and calls; `tests/programs/resolve.c` makes the calls
natively, in a mount namespace with the kernel's own bind mounts, and in the view.  What is found must agree.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from behaviour.battery import Kind, run_by_kernel, run_in_view
from behaviour.programs import Programs

_NUMBERS: Final = re.compile(r"\b[0-9a-f]+:[0-9]+\b")
# Each of the three trees has these, so that every mount point exists whatever is mounted before.
SKELETON: Final = ("a/b/b", "b/b", "c")
FILES: Final = ("file", "a/file", "b/file", "a/b/file")
LINKS: Final = ("x", "y", "z")
NAMES: Final = ("a", "b", "c", "file", *LINKS, "none", ".", "..", "..", "")
STARTS: Final = (
    "",
    "",
    "",
    "{work}/",
    "{work}/",
    "/proc/self/cwd/",
    "/proc/thread-self/cwd/",
    "/proc/self/root{work}/",
    "/proc/self/fd/100/",
    "/proc/self/fd/101/",
    "/dev/fd/102/",
)

names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6).map("/".join)
paths = st.builds(str.__add__, st.sampled_from(STARTS), names)
magic = st.sampled_from(["/proc/self/cwd", "/proc/self/fd/100"])
targets = st.one_of(names, names.map("{work}/".__add__), magic)
trees = st.sampled_from(["work", "s1", "s2"])
places = st.builds(
    "{}/{}{}".format, trees, st.sampled_from(["", "a/", "a/b/", "b/"]), st.sampled_from(LINKS)
)
links = st.dictionaries(places, targets, max_size=12)
directories = st.sampled_from(["a", "b", "c", "a/b"])
mounts = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["s1", "s2", "s1/a"]), directories),
        st.tuples(st.sampled_from(["s1/file", "s2/a/file"]), st.sampled_from(["file", "a/file"])),
    ),
    min_size=1,
    max_size=4,
)
slots = st.integers(-1, 2)
RESOLVE: Final = st.one_of(st.just(0), st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 31))
O_PATH, O_DIRECTORY, O_NOFOLLOW = 0x200000, 0x10000, 0x20000
reading = st.sampled_from([0, 0, O_PATH, O_NOFOLLOW, O_PATH | O_NOFOLLOW, O_DIRECTORY, O_DIRECTORY | O_PATH])
calls = st.one_of(
    st.builds("open {} {} {} {}".format, slots, reading, RESOLVE, paths),
    st.builds("make {} {}".format, slots, paths),
    st.builds(
        "keep {} {} {} {}".format, st.integers(0, 2), slots, st.sampled_from([O_DIRECTORY, O_PATH]), paths
    ),
    st.builds("stat {} {} {}".format, slots, st.sampled_from([0, 0x100, 0x1000]), paths),
    st.builds("access {} {} {} {}".format, slots, st.integers(0, 7), st.sampled_from([0, 0x100]), paths),
    st.builds("link {} {}".format, slots, paths),
    st.builds("chdir {}".format, paths),
    st.builds("fchdir {}".format, st.integers(0, 2)),
)
READING: Final = st.lists(calls, min_size=20, max_size=60)


FOUND: Final = ["keep 0 -1 2097152 c", "open -1 2228224 1 /proc/self/fd/100/"]
"""What once came to another: RESOLVE_NO_XDEV by a link of /proc into a mount."""


def lay(ground: Path, made: dict[str, str]) -> None:
    """Build the three trees, as far as the links leave room."""
    for tree in ("work", "s1", "s2"):
        shutil.rmtree(ground / tree, ignore_errors=True)
        for name in SKELETON:
            (ground / tree / name).mkdir(parents=True)
        for name in FILES:
            (ground / tree / name).write_text(f"{tree}/{name}")
    for name, target in made.items():
        (ground / name).symlink_to(target.format(work=ground / "work") or ".")


@contextmanager
def ground() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as name:
        yield Path(name)


def told(lines: list[str], ground: Path) -> list[str]:
    """Names in the place of numbers, which differ from run to run; "?" for what is elsewhere or gone."""
    known: dict[str, str] = {}
    for path in [*ground.parents, ground, *sorted(ground.rglob("*"))]:
        status = path.lstat()
        known.setdefault(f"{status.st_dev:x}:{status.st_ino}", str(path))
    return [_NUMBERS.sub(lambda match: known.get(match[0], "?"), line) for line in lines]


def compare(
    program: Path, engine: str, made: dict[str, str], points: list[tuple[str, str]], asked: list[str]
) -> None:
    with ground() as place:
        pairs = [(place / source, place / "work" / target) for source, target in points]
        kind = Kind(
            "random",
            tuple(f"{source}={target}" for source, target in pairs),
            tuple(f"mount --bind {source} {target}" for source, target in pairs),
        )
        (place / "calls").write_text("".join(f"{call.format(work=place / 'work')}\n" for call in asked))
        argv = [str(program), str(place / "calls"), str(place / "work")]
        lay(place, made)
        expected = told(run_by_kernel(kind, place, argv), place)
        lay(place, made)
        found = told(run_in_view(kind, place, argv, engine), place)
        wrong = [
            f"{call}\n  kernel {one}\n  view   {other}"
            for call, one, other in zip(asked, expected, found, strict=True)
            if one != other
        ]
        assert not wrong, "\n".join(wrong)


def tried(examples: int, *, random: bool) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
        derandomize=not random,
    )


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(tried(8, random=False), id="few"),
        pytest.param(tried(150, random=True), id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
def test_paths_lead_where_the_kernel_leads(programs: Programs, engine: str, how: settings) -> None:
    program = programs("resolve")

    @how
    @given(made=links, points=mounts, asked=READING)
    @example(made={}, points=[("s1/a", "c")], asked=FOUND)
    def held(made: dict[str, str], points: list[tuple[str, str]], asked: list[str]) -> None:
        compare(program, engine, made, points, asked)

    held()
