"""Extended attributes in layers: those of the layer are not those of its files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from behaviour.harness import Bench, run_with

TRYING = """
import errno, os, sys
os.chdir(sys.argv[1])

def told(name, make, *args, **more):
    try:
        found = make(*args, **more)
        print(name, "done" if found is None else found)
    except OSError as error:
        print(name, errno.errorcode[error.errno])

os.unlink("directory/gone")
os.rename("moved", "renamed")
os.chmod("file", 0o640)
os.setxattr("file", "user.new", b"new")
fd = os.open("directory", os.O_RDONLY)
for where in "directory", fd, "file", "renamed":
    told("list", lambda: sorted(os.listxattr(where)))
for where in "directory", fd, "file":
    for name in "user.overlay.opaque", "user.overlay.diorama.owner", "user.overlay.mine":
        told("get", os.getxattr, where, name)
        told("set", os.setxattr, where, name, b"y")
        told("remove", os.removexattr, where, name)
told("similar", os.setxattr, "file", "user.overlays", b"1")
told("similar", os.getxattr, "file", "user.overlays")
told("old", os.getxattr, "file", "user.old")
told("link", os.listxattr, "link", follow_symlinks=False)
"""
EXPECTED = [
    "list []",
    "list []",
    "list ['user.new', 'user.old']",
    "list []",
    *["get ENODATA", "set ENOTSUP", "remove ENODATA"] * 9,
    "similar done",
    "similar b'1'",
    "old b'old'",
    "link []",
]


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A directory to be changed."""
    top = tmp_path / "lower"
    for name in ("directory", "moved"):
        (top / name).mkdir(parents=True)
        (top / name / "gone").write_text("gone\n")
    (top / "file").write_text("file\n")
    (top / "link").symlink_to("file")
    os.setxattr(top / "file", "user.old", b"old")
    return top


@pytest.fixture(params=["cow", "root", "overlay"])
def inside(request: pytest.FixtureRequest, bench: Bench, lower: Path, engine: str) -> Callable[[], list[str]]:
    """Run the program in layers over `lower`."""
    layer = lower.parent / "layer"
    options = {
        "cow": ["--mount", f"cow:{lower}={lower}:layer={layer}"],
        "root": ["--cow", str(layer)],
        "overlay": ["--mount", f"overlay:{lower}={lower}:upper={layer}"],
    }[request.param]
    if request.param == "overlay":
        layer.mkdir()

    def run() -> list[str]:
        way = run_with("--engine", engine, *options)
        found = bench.inside(way, [sys.executable, "-c", TRYING, str(lower)])
        assert (found.status, found.stderr) == (0, "")
        return found.lines

    return run


def test_what_belongs_to_the_layer_is_neither_seen_nor_changed(
    inside: Callable[[], list[str]], lower: Path
) -> None:
    assert inside() == EXPECTED
    assert sorted(os.listxattr(lower / "file")) == ["user.old"]
    assert (lower / "directory/gone").exists()
