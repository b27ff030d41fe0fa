"""Formats of binfmt_misc: as the kernel has them, and what only a view has: prefixes, other roots, mounts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, finish
from behaviour.programs import Programs

SCENARIO = Path(__file__).parent / "binfmt.py"
MOUNTING = 'mount -t binfmt_misc none "$1" && shift && exec "$@"'
PY = ":py:E::foo::/usr/bin/python3:"
ECHO = ":echo:M::ask::/bin/echo:"


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Path:
    """A directory with `b`, to mount on."""
    bench.fresh()
    (tmp_path / "b").mkdir()
    return tmp_path


def laid(bench: Bench, programs: Programs, directory: Path) -> list[str]:
    """The command that plays the scenario in a directory that is made for it."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "room").mkdir(parents=True)
    (directory / "mounted").mkdir()
    shutil.copy(programs("handler"), directory / "room" / "handler")
    return [sys.executable, str(SCENARIO), str(directory / "mounted"), str(directory / "room")]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_it_is_as_the_kernel_has_it(bench: Bench, programs: Programs, tmp_path: Path, engine: str) -> None:
    bench.fresh()
    command = laid(bench, programs, tmp_path / "run")
    where = command[2]
    alone = ["unshare", "-rm", "sh", "-c", MOUNTING, "sh", where, *command]
    expected = finish(bench.start(alone), limit=50)
    if "mount:" in expected.stderr or "unshare:" in expected.stderr:
        pytest.skip("needs binfmt_misc in user namespaces (Linux 6.7)")
    command = laid(bench, programs, tmp_path / "run")
    view = [*DIORAMA, "run", "--strict", "--engine", engine, "--mount", f"binfmt:={where}", "--", *command]
    found = finish(bench.start(view), limit=100)
    assert found.lines == expected.lines
    assert (found.stderr, found.status) == (expected.stderr, 0)


def run(bench: Bench, place: Path, engine: str, options: list[str], script: str) -> Outcome:
    """A script in a view, at `place`."""
    words = [*DIORAMA, "run", "--strict", "--engine", engine, *options, "--", "/bin/bash", "-c", script]
    return finish(bench.start(words, cwd=place), limit=100)


def script_at(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_handler_by_extension(bench: Bench, place: Path, engine: str) -> None:
    script_at(place / "x.foo", "print(42)\n")
    script = f"echo '{PY}' >/proc/sys/fs/binfmt_misc/register; ./x.foo; cat /proc/sys/fs/binfmt_misc/py"
    found = run(bench, place, engine, ["--mount", "binfmt:=/proc/sys/fs/binfmt_misc"], script)
    told = ["enabled", "interpreter /usr/bin/python3", "flags: ", "extension .foo"]
    assert (found.lines, found.stderr) == (["42", *told], "")


def test_a_file_that_is_shorter_than_the_path_of_its_interpreter(
    bench: Bench, place: Path, engine: str
) -> None:
    script_at(place / "x", "ask")
    found = run(bench, place, engine, ["--mount", f"binfmt:={place}/b"], f"echo '{ECHO}' >b/register; ./x 1")
    assert (found.stdout, found.stderr, found.status) == ("./x 1\n", "", 0)


def test_only_what_is_below_a_path(bench: Bench, place: Path, engine: str) -> None:
    for name in ("in/x", "in/deep/x", "inside/x", "x"):
        script_at(place / name, "ask")
    each = "for i in in/x in/deep/../x in/deep/x inside/x x; do ./$i 2>/dev/null || echo $?; done"
    script = f"echo '{ECHO}' >b/register; {each}"
    found = run(bench, place, engine, ["--mount", f"binfmt:{place}/in={place}/b"], script)
    assert found.lines == ["./in/x", "./in/deep/../x", "./in/deep/x", "127", "127"]


def test_what_is_mounted_last_is_asked_first(bench: Bench, place: Path, engine: str) -> None:
    (place / "c").mkdir()
    script_at(place / "x", "ask")
    options = ["--mount", f"binfmt:={place}/b", "--mount", f"binfmt:={place}/c"]
    script = (
        f"echo '{ECHO}' >b/register; ./x; echo ':no:M::ask::/bin/false:' >c/register; ./x; echo $?; ls b c"
    )
    found = run(bench, place, engine, options, script)
    assert found.lines == [
        "./x",
        "1",
        "b:",
        "echo",
        "register",
        "status",
        "",
        "c:",
        "no",
        "register",
        "status",
    ]


def test_programs_and_handlers_in_what_is_mounted(bench: Bench, place: Path, engine: str) -> None:
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for name, text in (
            ("x.ask", "print('in the archive')"),
            ("handler", "#!/usr/bin/python3\nimport sys\nprint(sys.argv)"),
        ):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    options = [
        "--mount",
        f"binfmt:={place}/b",
        "--mount",
        f"zip:{place}/a.zip=/mnt/z",
        "--mount",
        "memory:=/mnt/m",
    ]
    script = (
        "echo ':ask:E::ask::/mnt/z/handler:' >b/register;"
        "/mnt/z/x.ask 1; cp /mnt/z/x.ask /mnt/m; /mnt/m/x.ask 2;"
        "cp /bin/echo /mnt/m/echo; echo ':fix:E::fix::/mnt/m/echo:F' >b/register;"
        "rm /mnt/m/echo; >/mnt/m/x.fix; chmod +x /mnt/m/x.fix; /mnt/m/x.fix fixed"
    )
    found = run(bench, place, engine, options, script)
    assert found.stderr == ""
    assert found.lines == [
        "['/mnt/z/handler', '/mnt/z/x.ask', '1']",
        "['/mnt/z/handler', '/mnt/m/x.ask', '2']",
        "/mnt/m/x.fix fixed",
    ]


def test_a_handler_is_that_of_the_root(bench: Bench, place: Path, engine: str) -> None:
    root = place / "root"
    script_at(root / "handler", "#!/bin/echo in the root\n")
    script_at(root / "x.ask", "")
    options = ["--root", str(root), "--mount", "binfmt:=/b"]
    for name in ("bin", "lib", "lib64", "usr"):
        options += ["--mount", f"/{name}=/{name}"]
    script = "cd /; echo ':ask:E::ask::/handler:' >b/register; ./x.ask"
    found = run(bench, place, engine, options, script)
    assert (found.stdout, found.stderr) == ("in the root /handler ./x.ask\n", "")


HOST = """
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 3
cd /proc/sys/fs/binfmt_misc
printf %s ":cat:M::ask::/bin/cat:" > register; printf %s ":py:E::foo::/usr/bin/python3:F" > register
printf %s ":off:M::ask::/bin/false:" > register; echo 0 > off
cd "$1"; shift; exec "$@"
"""


def test_formats_of_the_host(bench: Bench, place: Path, engine: str) -> None:
    script_at(place / "source/x", "ask")
    script_at(place / "source/x.foo", "import sys; print(sys.argv)")
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for name in ("x", "x.foo"):
            archive.write(place / "source" / name, name)
    alone = ["unshare", "-rm", "sh", "-c", HOST, "sh", str(place)]
    view = [*DIORAMA, "run", "--engine", engine, "--mount", f"zip:{place}/a.zip=/mnt/z"]
    bound = ["--mount", f"{place}/source=/mnt/s"]
    script = "source/x; for i in s z; do /mnt/$i/x; /mnt/$i/x.foo 1; done; source/x.foo"
    found = finish(bench.start([*alone, *view, *bound, "--", "/bin/sh", "-c", script]), limit=100)
    if "mount:" in found.stderr or "unshare:" in found.stderr:
        pytest.skip("needs binfmt_misc in user namespaces (Linux 6.7)")
    told = ["['/mnt/s/x.foo', '1']", "ask['/mnt/z/x.foo', '1']", "['source/x.foo']"]
    assert (found.lines, found.stderr) == ([f"askask{told[0]}", *told[1:]], "")


def test_it_comes_and_goes_with_its_mount(bench: Bench, place: Path, engine: str) -> None:
    script_at(place / "x", "ask")
    script = (
        f"mount -t binfmt_misc none b; echo '{ECHO}' >b/register; ./x; umount b; ./x 2>/dev/null; echo $?;"
        "mount -t binfmt_misc none b; ls b"
    )
    found = run(bench, place, engine, ["--grow"], script)
    assert (found.lines, found.stderr) == (["./x", "127", "register", "status"], "")


def test_it_counts_in_the_namespaces_that_have_it(bench: Bench, place: Path, engine: str) -> None:
    script_at(place / "x", "ask")
    script = f"echo '{ECHO}' >b/register; unshare -m sh -c 'umount b; ./x || echo $?'; ./x"
    found = run(bench, place, engine, ["--grow", "--mount", f"binfmt:={place}/b"], script)
    assert found.lines == ["127", "./x"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--mount", "binfmt:opt=/b"],
            "cannot mount binfmt:opt: the programs that it is for are below a path",
        ),
        (["--mount", "binfmt:=/b:size=1"], "cannot mount binfmt:: unknown mount option 'size'"),
    ],
)
def test_mistakes(options: list[str], line: str) -> None:
    done = subprocess.run(
        [*DIORAMA, "run", *options, "true"], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 125
    assert done.stderr.startswith(f"diorama: {line}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("flags", "told"), [("C", "65534 0\n"), ("O", "65534 65534\n")])
def test_whose_set_user_id_bit_counts(
    bench: Bench, place: Path, engine: str, flags: str, told: str
) -> None:
    place.chmod(0o755)
    kept = ["--mount", f"{place}=/srv:remember"]
    script = 'echo "import os; print(os.getuid(), os.geteuid())" > /srv/x.one; chmod 4755 /srv/x.one'
    made = run(bench, place, engine, ["--user", "root", *kept], script)
    assert (made.stderr, made.status) == ("", 0)
    entry = f":one:E::one::/usr/bin/python3:{flags}"
    words = ["run", "--strict", "--engine", engine, "--user", "65534", *kept, "--binfmt", entry]
    found = finish(bench.start([*DIORAMA, *words, "--", "/srv/x.one"]), limit=100)
    assert (found.stdout, found.stderr) == (told, "")
