"""Copy-on-write: everything may be changed, and the host stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, finish, run_with
from engines import ENGINES

Run = Callable[..., Outcome]


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A directory to be changed."""
    top = tmp_path / "lower"
    for name in ("docs/deep/er", "bin"):
        (top / name).mkdir(parents=True)
    for name in ("docs/one", "docs/deep/two", "docs/deep/er/three", "config"):
        (top / name).write_text(f"{name}\n")
    (top / "bin/tool").write_text("#!/bin/sh\necho tool\n")
    (top / "bin/tool").chmod(0o755)
    (top / "link").symlink_to("docs/one")
    return top


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """Where a layer may be made."""
    return tmp_path / "layer"


@pytest.fixture(params=ENGINES)
def inside(request: pytest.FixtureRequest, bench: Bench, lower: Path, layer: Path) -> Run:
    """Run a shell script on the changes of `lower`."""

    def run(script: str, *options: str) -> Outcome:
        way = run_with("--engine", request.param, *options, "--mount", f"cow:{lower}={lower}:layer={layer}")
        return bench.inside(way, ["sh", "-ec", f"cd {lower}\n{script}"])

    return run


def told(bench: Bench, *words: str | Path) -> Outcome:
    """What a command of diorama says."""
    return finish(bench.start([*DIORAMA, *map(str, words)]))


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """All of a directory."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = Path(directory, name)
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
            target = os.readlink(path) if path.is_symlink() else None
            times = status.st_mtime_ns, status.st_ino
            found[str(path.relative_to(top))] = (status.st_mode, status.st_uid, content, target, times)
    return found


CHANGING = """
echo more >> config
rm -rf docs
mkdir docs
echo new > docs/new
mv bin/tool bin/other
ln -s nowhere dangling
chmod 700 bin
cat config docs/new
ls docs bin
bin/other
test ! -e docs/one
"""


def test_changes_are_seen_inside_and_not_outside(inside: Run, lower: Path) -> None:
    before = snapshot(lower)
    found = inside(CHANGING)
    assert (found.stdout, found.stderr, found.status) == (
        "config\nmore\nnew\nbin:\nother\n\ndocs:\nnew\ntool\n",
        "",
        0,
    )
    assert snapshot(lower) == before


def test_the_next_view_goes_on_where_the_first_ended(inside: Run) -> None:
    inside(CHANGING)
    assert inside("cat config; ls docs").stdout == "config\nmore\nnew\n"


def test_diff_lists_exactly_what_changed(inside: Run, bench: Bench, lower: Path, layer: Path) -> None:
    inside(CHANGING)
    found = told(bench, "diff", "--json", layer)
    changes = {
        line["path"].removeprefix(f"{lower}/"): (line["change"], line["type"], line["what"])
        for line in map(json.loads, found.lines)
    }
    assert changes == {
        "bin": ("changed", "directory", ["mode"]),
        "bin/other": ("added", "file", []),
        "bin/tool": ("removed", "file", []),
        "config": ("changed", "file", ["content", "times"]),
        "dangling": ("added", "symlink", []),
        "docs/deep": ("removed", "directory", []),
        "docs/deep/er": ("removed", "directory", []),
        "docs/deep/er/three": ("removed", "file", []),
        "docs/deep/two": ("removed", "file", []),
        "docs/new": ("added", "file", []),
        "docs/one": ("removed", "file", []),
    }
    assert found.status == 0


def test_what_was_copied_and_not_changed_is_no_change(inside: Run, bench: Bench, layer: Path) -> None:
    inside("true 3<> config; chmod u+w config; : >> config; mv docs/one docs/two; mv docs/two docs/one")
    assert (layer / "tree/config").exists()
    assert told(bench, "diff", layer).stdout == ""


def test_commit_makes_the_lower_directory_what_was_seen(
    inside: Run, bench: Bench, lower: Path, layer: Path
) -> None:
    listing = "find . -printf '%p %y %m %s %l\\n' | sort; cat config docs/new bin/other"
    seen = inside(CHANGING + listing).stdout.partition("tool\n")[2]
    done = told(bench, "commit", layer)
    assert (done.status, done.stderr) == (0, "")
    outside = subprocess.run(["sh", "-c", listing], cwd=lower, capture_output=True, text=True, check=True)
    assert outside.stdout.replace("bin/other", "") == seen.replace("bin/other", "")
    assert told(bench, "diff", layer).stdout == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_commit_keeps_a_removal_that_fails(bench: Bench, inside: Run, lower: Path, layer: Path) -> None:
    inside("rm -r docs")
    (lower / "docs/deep").chmod(0)
    try:
        failed = told(bench, "commit", layer)
        assert failed.status == 125
        assert f"cannot commit {lower}/docs/deep: directory not empty\n" in failed.stderr
        assert f"{lower}/docs/deep" in told(bench, "diff", layer).stdout
    finally:
        (lower / "docs/deep").chmod(0o755)
    assert told(bench, "commit", layer).status == 0
    assert not (lower / "docs").exists()


def test_discard_drops_the_changes(inside: Run, bench: Bench, lower: Path, layer: Path) -> None:
    before = snapshot(lower)
    inside(CHANGING)
    assert told(bench, "discard", layer) == Outcome("", "", 0)
    assert not layer.exists()
    assert snapshot(lower) == before


def test_a_layer_in_use_is_refused(inside: Run, bench: Bench, lower: Path, layer: Path) -> None:
    inside("true")
    way = run_with("--mount", f"cow:{lower}={lower}:layer={layer}")
    first = bench.start(way(["sh", "-c", "echo ready; read line"]))
    assert first.stdout is not None
    assert first.stdout.readline() == b"ready\n"
    for command in ("diff", "commit", "discard"):
        refused = told(bench, command, layer)
        assert (refused.status, refused.stderr) == (
            125,
            f"diorama: cannot use layer {layer}: a running view uses it\n",
        )
    assert finish(first, "\n").status == 0
    assert told(bench, "diff", layer).status == 0


def test_a_killed_supervisor_leaves_the_layer_whole(bench: Bench, lower: Path, layer: Path) -> None:
    (lower / "big").write_bytes(os.urandom(1 << 20) * 16)
    way = run_with("--mount", f"cow:{lower}={lower}:layer={layer}")
    script = "echo x >> config; echo ready; while :; do mv docs e; mv e docs; echo x >> big; done"
    first = bench.start(way(["sh", "-c", f"cd {lower}; {script}"]))
    assert first.stdout is not None
    assert first.stdout.readline() == b"ready\n"
    first.kill()
    first.communicate()
    found = bench.inside(way, ["sh", "-c", f"cd {lower}; cat config; find . -path '*er/three' | wc -l"])
    assert found.lines == ["config", "x", "1"]
    assert not os.listdir(layer / "work")


def test_another_directory_s_layer_is_refused(inside: Run, bench: Bench, tmp_path: Path, layer: Path) -> None:
    inside("true")
    other = tmp_path / "other"
    other.mkdir()
    found = bench.inside(run_with("--mount", f"cow:{other}={other}:layer={layer}"), ["true"])
    assert found.status == 125
    assert "belongs to" in found.stderr


@pytest.fixture
def rooted(bench: Bench, layer: Path, engine: str) -> Iterator[Run]:
    """Run a shell script with changes of the whole root."""

    def run(script: str) -> Outcome:
        return bench.inside(run_with("--engine", engine, "--cow", str(layer)), ["sh", "-ec", script])

    yield run
    shutil.rmtree(layer, ignore_errors=True)


def test_the_whole_root_may_be_changed(rooted: Run, bench: Bench, layer: Path) -> None:
    found = rooted(
        "echo own > /etc/diorama-test; cat /etc/diorama-test; stat -c %U /etc /etc/passwd\n"
        "mkdir -p /usr/local/bin; cp /bin/echo /usr/local/bin/diorama-echo; diorama-echo installed\n"
        "rm /etc/passwd; test ! -e /etc/passwd; pwd; echo > /dev/null"
    )
    assert found == Outcome(f"own\nroot\nroot\ninstalled\n{bench.work}\n", "", 0)
    assert not Path("/etc/diorama-test").exists()
    assert Path("/etc/passwd").exists()
    changes = [line.split()[:2] for line in told(bench, "diff", layer).lines]
    assert changes == [
        ["A", "/etc/diorama-test"],
        ["D", "/etc/passwd"],
        ["A", "/usr/local/bin/diorama-echo"],
    ]


def test_what_cannot_be_read_stays_closed(rooted: Run) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    script = "cat /etc/shadow; echo x >> /etc/shadow; chmod 644 /etc/shadow; test -w /etc/shadow || echo no"
    found = rooted(f"set +e; {script}")
    assert found.stderr.count("Permission denied") == 3
    assert found.stdout == "no\n"
