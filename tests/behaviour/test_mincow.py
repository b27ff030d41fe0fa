"""Minimal copy-on-write: what may be changed on the host is changed there, and the layer has the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, finish, run_with

Run = Callable[..., Outcome]

NOBODY = 65534
SIDES = ("open", "closed")
CHANGING = """
for side in open closed; do
    echo more >> $side/file
    echo new > $side/new
    mkdir $side/dir; echo in > $side/dir/in
    mv $side/a $side/b
    rm $side/gone
    rmdir $side/empty
    ln $side/c $side/d
    ln -s nowhere $side/l
    chmod 744 $side/mode
    mv $side/tree $side/moved; echo deep >> $side/moved/deep/er
    rm $side/again; echo again > $side/again
    mv $side/onto $side/under
    : > $side/cut
    touch -d @1000000 $side/old
done
mv open/out closed/in; mv closed/out open/in
mv open/sub closed/other; mv closed/sub open/other
"""
LISTING = "find . -printf '%p %y %m %l\\n' | sort; find . -type f | sort | xargs tail -v -n +1"


def lay(top: Path) -> None:
    """Make what is to be changed, the same on both sides."""
    for side in SIDES:
        for name in ("empty", "tree/deep", "sub"):
            (top / side / name).mkdir(parents=True)
        names = "file a gone c mode again onto under cut old out tree/deep/er sub/one"
        for name in names.split():
            (top / side / name).write_text(f"{side} {name}\n")


def listed(top: Path) -> list[str]:
    """What is there."""
    done = subprocess.run(["sh", "-c", LISTING], cwd=top, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def changed(bench: Bench, layer: Path) -> list[str]:
    """The paths that the layer changes."""
    found = finish(bench.start([*DIORAMA, "diff", str(layer)]))
    assert (found.status, found.stderr) == (0, "")
    return [line.split()[1] for line in found.lines]


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory that everybody can reach."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def expected(top: Path) -> list[str]:
    """What is seen after the changes where there is no view."""
    plain = top / "plain"
    lay(plain)
    subprocess.run(["sh", "-ec", CHANGING], cwd=plain, check=True)
    return listed(plain)


def test_what_may_be_changed_is_changed_on_the_host(
    bench: Bench, top: Path, expected: list[str], engine: str
) -> None:
    lower, layer = top / "lower", top / "layer"
    lay(lower)
    way = run_with("--engine", engine, "--mount", f"mincow:{lower}={lower}:layer={layer}")
    found = bench.inside(way, ["sh", "-ec", f"cd {lower}\n{CHANGING}{LISTING}"])
    assert (found.status, found.stderr) == (0, "")
    assert found.lines == expected
    assert listed(lower) == expected
    assert changed(bench, layer) == []


@pytest.fixture
def as_nobody(bench: Bench, top: Path, engine: str) -> Run:
    """Run a script as an ordinary user who may change one of the two sides."""
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        subprocess.run([sys.executable, "-c", ""], check=True, **who)  # type: ignore[call-overload]
    except PermissionError:
        pytest.skip("an ordinary user cannot run this interpreter")
    lower, layer, private = top / "lower", top / "layer", top / "private"
    lay(lower)
    for path in (lower / "open", *(lower / "open").rglob("*")):
        os.lchown(path, NOBODY, NOBODY)
    for path in (layer, private):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    way = run_with("--engine", engine, "--mount", f"mincow:{lower}={lower}:layer={layer}")

    def run(script: str) -> Outcome:
        bench.fresh()
        surroundings = bench.surroundings() | {"TMPDIR": str(private), "HOME": str(private)}
        argv = way(["sh", "-ec", f"cd {lower}\n{script}"])
        return finish(bench.start(argv, cwd=top, env=surroundings, **who))

    return run


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of two users")
def test_what_may_not_be_changed_is_changed_in_the_layer(
    as_nobody: Run, bench: Bench, top: Path, expected: list[str]
) -> None:
    lower, layer = top / "lower", top / "layer"
    before = [line for line in listed(lower / "closed") if not line.startswith("./")]
    found = as_nobody(CHANGING + LISTING)
    assert (found.status, found.stderr) == (0, "")
    assert found.lines == expected
    assert [line for line in listed(lower / "closed") if not line.startswith("./")] == before
    # Of the open side the layer has what came from the other, and what went there.
    mixed = {"in", "out", "other", "other/one", "sub", "sub/one"}
    in_open = {path.removeprefix(f"{lower}/open/") for path in changed(bench, layer) if "/open/" in path}
    assert in_open == mixed
    for name in ("out", "sub/one"):
        assert (lower / "open" / name).read_text() == f"open {name}\n"
    # A view that comes later goes on with both.
    assert as_nobody(LISTING).lines == expected


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of two users")
def test_commit_does_the_rest(as_nobody: Run, bench: Bench, top: Path, expected: list[str]) -> None:
    as_nobody(CHANGING)
    done = finish(bench.start([*DIORAMA, "commit", str(top / "layer")]))
    assert (done.status, done.stderr) == (0, "")
    assert listed(top / "lower") == expected
    assert changed(bench, top / "layer") == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of two users")
def test_new_names_go_to_the_host_beside_what_the_layer_has(as_nobody: Run, bench: Bench, top: Path) -> None:
    lower = top / "lower"
    lower.joinpath("open").chmod(0o1777)
    os.chown(lower / "open/file", 0, 0)
    os.chown(lower / "open", 0, 0)
    found = as_nobody("echo mine >> open/file; rm open/file; echo next > open/next; cat open/next; ls open")
    assert found.status == 0
    assert found.lines[0] == "next"
    assert "file" not in found.lines
    assert (lower / "open/file").read_text() == "open file\n"
    assert (lower / "open/next").read_text() == "next\n"
    assert changed(bench, top / "layer") == [f"{lower}/open/file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may change everything")
def test_an_ordinary_user_changes_what_is_the_system_s(bench: Bench, top: Path, engine: str) -> None:
    layer = top / "layer"
    way = run_with("--engine", engine, "--mount", f"mincow:/etc=/etc:layer={layer}")
    script = "cd /etc; rm passwd; echo new > added; echo more >> group; mv services moved; ls; cat added"
    found = bench.inside(way, ["sh", "-ec", script])
    assert (found.status, found.stderr) == (0, "")
    assert {"added", "moved"} <= set(found.lines)
    assert not {"passwd", "services"} & set(found.lines)
    assert os.path.exists("/etc/passwd")
    assert not os.path.exists("/etc/added")
    assert set(changed(bench, layer)) == {
        f"/etc/{name}" for name in ("passwd", "added", "group", "services", "moved")
    }
