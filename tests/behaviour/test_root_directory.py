"""Another root: a small system of its own, with programs whose loader the host does not have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from behaviour import execution
from behaviour.harness import Bench, Outcome, Way, run_with
from diorama import UsageError, View

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

_LINKS = "readlink /proc/self/cwd /proc/self/root /proc/self/exe"
FROM_HOST = ("sh", "cat", "ls", "pwd", "readlink", "echo", "id")


def libraries(program: Path) -> list[Path]:
    """What a program of the host is linked with, and its loader."""
    shown = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [Path(word) for word in shown.split() if word.startswith("/")]


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root: `/bin` from the host, `/srv/bin` with a loader at `/odd`, scripts."""
    top = tmp_path_factory.mktemp("root") / "top"
    for name in ("bin", "srv", "etc", "home/me", "tmp"):
        (top / name).mkdir(parents=True)
    for name in FROM_HOST:
        program = shutil.which(name)
        assert program is not None
        shutil.copy(program, top / "bin" / name)
        for library in libraries(Path(program)):
            (top / str(library)[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, top / str(library)[1:])
    execution.build(top / "srv", Path("/srv"))
    (top / "odd").mkdir()
    (top / "etc/motd").write_text("of the root\n")
    (top / "absolute").symlink_to("/etc/motd")
    (top / "above").symlink_to("../../../../etc/motd")
    return top


def inside(bench: Bench, top: Path, engine: str, command: str, *options: str) -> Outcome:
    bench.environment = {"PATH": "/bin:/srv/bin"}
    way = run_with("--strict", "--engine", engine, "--root", str(top), *options)
    return bench.inside(Way(way.name, way.words), ["sh", "-c", command])


def test_what_is_changed_in_it_is_in_a_layer(bench: Bench, top: Path, engine: str, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    script = """
        echo changed >/etc/motd; echo new >/etc/new; cat /etc/motd /absolute /above /etc/new; ls /etc
        cat /etc/passwd; cd /home/me; echo text >file; cat file; pwd; readlink /proc/self/exe
        """
    found = inside(bench, top, engine, script, "--cow", str(layer))
    assert found.lines[:4] == ["changed"] * 3 + ["new"]
    assert set(found.lines[4:-3]) >= {"motd", "new"}
    assert found.lines[-3:] == ["text", "/home/me", "/bin/readlink"]
    assert found.stderr.count("No such file or directory") == 1
    assert (top / "etc/motd").read_text() == "of the root\n"
    assert not (top / "etc/new").exists()
    assert (layer / "tree/home/me/file").read_text() == "text\n"
    again = inside(bench, top, engine, "cat /etc/motd /etc/new", "--cow", str(layer))
    assert (again.lines, again.stderr) == (["changed", "new"], "")


def test_nothing_else_is_there(bench: Bench, top: Path, engine: str) -> None:
    found = inside(bench, top, engine, "ls /; cat /etc/motd /absolute /above; cat /etc/passwd; ls /usr/bin")
    assert set(found.lines[:-3]) >= {"bin", "dev", "etc", "home", "odd", "srv", "proc", "sys", "tmp"}
    assert "root" not in found.lines
    assert found.lines[-3:] == ["of the root"] * 3
    assert found.stderr.count("No such file or directory") == 2


def test_programs_start_at_the_root_or_where_they_were(bench: Bench, top: Path, engine: str) -> None:
    assert inside(bench, top, engine, "pwd; /bin/pwd").lines == ["/", "/"]
    known = top / str(bench.work)[1:]
    known.mkdir(parents=True)
    assert inside(bench, top, engine, "pwd; /bin/pwd; cd ..; /bin/pwd").lines == [
        str(bench.work), str(bench.work), str(bench.directory)
    ]  # fmt: skip


def test_links_of_proc_tell_the_root_s_paths(bench: Bench, top: Path, engine: str) -> None:
    found = inside(bench, top, engine, f"cd /etc; {_LINKS}; cat </etc/motd /proc/self/fd/0")
    assert found.lines == ["/etc", "/", "/bin/readlink", "of the root"]
    maps = inside(bench, top, engine, "cat /proc/self/maps").stdout
    assert {"/bin/cat", "/dev/zero"} & set(maps.split())
    assert str(top) not in maps


def test_a_loader_that_the_host_does_not_have(bench: Bench, top: Path, engine: str) -> None:
    found = inside(bench, top, engine, "cd /srv; bin/by-ld.so one; exec ./bin/origin-odd two")
    told = "executed comm={} execfn={} exe=/srv/bin/{} library={} base=1 dladdr={} [{}] [{}]"
    one, other = "bin/by-ld.so", "./bin/origin-odd"
    assert found.lines == [
        told.format("by-ld.so", one, "by-ld.so", "none", one, one, "one"),
        told.format("origin-odd", other, "origin-odd", "found", other, other, "two"),
    ]


def test_scripts_find_their_interpreters_there(bench: Bench, top: Path, engine: str) -> None:
    command = "cd /srv; ./script-odd x; ./depth-3; ./script-shell y; ./script-to-nothing"
    found = inside(bench, top, engine, command)
    assert "[/srv/bin/by-ld.so] [./script-odd] [x]" in found.lines[0]
    assert "[/srv/bin/executed] [/srv/depth-1] [/srv/depth-2] [./depth-3]" in found.lines[1]
    assert found.lines[2:] == ["shell ./script-shell y", "script-shell"]
    assert "script-to-nothing: not found" in found.stderr


def test_directories_of_the_host_can_be_added(bench: Bench, top: Path, engine: str) -> None:
    other = bench.directory / "other"
    other.mkdir()
    (other / "file").write_text("of the host\n")
    (other / "link").symlink_to("/etc/motd")
    command = "cd /home/me; cat file link; echo new >made; pwd; /bin/pwd; cat ../../etc/motd"
    found = inside(bench, top, engine, command, "--mount", f"{other}=/home/me")
    assert found.lines == ["of the host", "of the root", "/home/me", "/home/me", "of the root"]
    assert (other / "made").read_text() == "new\n"


def test_it_can_be_bare(bench: Bench, top: Path, engine: str) -> None:
    found = inside(bench, top, engine, "ls /proc /sys /dev; cd /; echo *", "--bare")
    assert found.stderr.count("No such file or directory") == 3
    assert set(found.lines[0].split()) == {path.name for path in top.iterdir()}


def test_a_program_that_is_not_there(bench: Bench, top: Path, engine: str) -> None:
    bench.environment = {"PATH": os.environ["PATH"]}
    way = run_with("--engine", engine, "--root", str(top))
    found = bench.inside(way, ["gcc"])
    assert found.status == 127
    assert bench.inside(way, ["/usr/bin/env"]).status == 127


def test_a_root_comes_first(top: Path) -> None:
    with View() as view:
        view.mount("/usr", "/mnt")
        with pytest.raises(UsageError, match="something is mounted"):
            view.root(top)
    with View() as view:
        view.root(top)
        done = view.run(["/bin/cat", "/etc/motd"], capture_output=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, b"of the root\n")
