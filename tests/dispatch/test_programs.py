"""Real programs on mounted archives and directories: the same output as on the unpacked files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama import View
from engines import needs_notify

COMMANDS = {
    "ls": "ls -lR --time-style=+%s | grep -v ^total",
    "ls with links followed": "ls -LR pkg",
    "find": "find . -type f | sort; find . -name '*.py' -perm -u=x | sort",
    "grep": "grep -rn print . | sort",
    "tar": "tar -cf - --owner=0 --group=0 --sort=name * | tar -tvf -",
    "cat": "cat readme pkg/*.py < readme; head -c 3 readme; tail -n 1 readme; wc -c large",
    "sums": "md5sum large readme; cmp large large; cp large /dev/null; dd if=large bs=7 count=2 2>/dev/null",
    "python": f"PYTHONDONTWRITEBYTECODE=1 {sys.executable} -c 'import pkg.inner; print(pkg.inner.VALUE)'",
    "scripts": "./run a b; cd pkg && ../run c; sh ../run d; ../env-run e",
    "links": "readlink link pkg/up; cat link; realpath --relative-to=. pkg/up; test -e dangling || echo no",
    "directories": "cd pkg && (cd .. && ls) && ls ../pkg && cd - >/dev/null && test -d pkg/. && ls pkg/..",
    "descriptors": "exec 5< readme; cat <&5; exec 6< pkg; ls /proc/self/fd/6; cat /dev/fd/7 7< readme",
    "mistakes": "cat none; cd none; ls readme/; cat pkg; ./readme; true",
    "pipes": "cat large | gzip -c | gunzip -c | cksum; sort readme pkg/inner.py | uniq -c",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("home")
    tree = top / "tree"
    (tree / "pkg").mkdir(parents=True)
    (tree / "readme").write_text("hello\nworld\n")
    (tree / "large").write_bytes(os.urandom(1 << 20))
    (tree / "pkg/__init__.py").write_text("")
    (tree / "pkg/inner.py").write_text("VALUE = 42\nif __name__ == '__main__':\n    print(VALUE)\n")
    (tree / "run").write_text('#!/bin/sh -e\necho "$0" "$@"\n')
    (tree / "env-run").write_text('#!/usr/bin/env sh\necho "$0" "$@"\n')
    for name in ("run", "env-run"):
        (tree / name).chmod(0o755)
    (tree / "link").symlink_to("pkg/inner.py")
    (tree / "pkg/up").symlink_to("../readme")
    (tree / "dangling").symlink_to("nothing")
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    pack(top)
    return top


def pack(top: Path) -> None:
    with tarfile.open(top / "tree.tar.gz", "w:gz") as tar:
        tar.add(top / "tree", ".")
    with zipfile.ZipFile(top / "tree.zip", "w") as archive:
        for path in sorted((top / "tree").rglob("*")):
            status = path.lstat()
            info = zipfile.ZipInfo(str(path.relative_to(top / "tree")), time.localtime(status.st_mtime)[:6])
            info.external_attr = status.st_mode << 16
            if path.is_symlink():
                archive.writestr(info, os.fsencode(path.readlink()))
            elif path.is_dir():
                info.filename += "/"
                archive.writestr(info, b"")
            else:
                archive.writestr(info, path.read_bytes())


VIEWS = [
    pytest.param((engine, source), id=f"{source}-{engine}", marks=needs_notify if engine == "notify" else ())
    for source in ("tar.gz", "zip", "bind")
    for engine in ("guardians", "notify")
]


@pytest.fixture(scope="module", params=VIEWS)
def view(request: pytest.FixtureRequest, home: Path) -> Iterator[View]:
    engine, kind = request.param
    source = home / "tree" if kind == "bind" else f"{kind[:3]}:{home}/tree.{kind}"
    with View(engine=engine, strict=True) as one:
        (home / "mnt").mkdir(exist_ok=True)
        one.mount(str(source), home / "mnt")
        yield one
    assert not one.failures


def outcome(done: subprocess.CompletedProcess[bytes]) -> tuple[bytes, bytes, int]:
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_programs_see_the_unpacked_files(view: View, home: Path, command: str) -> None:
    def run(where: str) -> list[str]:
        return ["bash", "-c", f"cd {home}/{where} && {command}"]

    native = subprocess.run(run("tree"), capture_output=True, check=False)
    inside = view.run(run("mnt"), capture_output=True)
    assert outcome(inside) == tuple(
        part.replace(b"/tree", b"/mnt") if isinstance(part, bytes) else part for part in outcome(native)
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_repository_can_be_read_from_an_archive(tmp_path: Path, engine: str) -> None:
    setting = ["-c", "user.name=me", "-c", "user.email=me@here", "-c", "safe.directory=*"]
    git = ["git", *setting]
    (tmp_path / "repository").mkdir()
    (tmp_path / "mnt").mkdir()
    (tmp_path / "repository/file").write_text("text")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, "-C", tmp_path / "repository", *words], check=True)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "repository", ".")
    with View(engine=engine, strict=True) as view:
        view.mount(f"tar:{tmp_path}/a.tar", tmp_path / "mnt")
        for words in (["log"], ["show", "HEAD:file"], ["status", "--short"]):
            native = subprocess.run(
                [*git, "-C", tmp_path / "repository", *words], capture_output=True, check=True
            )
            inside = view.run([*git, "-C", str(tmp_path / "mnt"), *words], capture_output=True)
            assert outcome(inside) == outcome(native)


def test_a_binary_runs_from_an_archive_under_its_own_name(tmp_path: Path, engine: str) -> None:
    (tmp_path / "mnt").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("cat", "readlink"):
            tar.add(os.path.realpath(f"/bin/{name}"), f"own-{name}")
    with View(engine=engine, strict=True) as view:
        view.mount(f"tar:{tmp_path}/a.tar", tmp_path / "mnt")
        named = view.run([str(tmp_path / "mnt/own-cat"), "/proc/self/comm"], capture_output=True)
        assert named.stdout == b"own-cat\n"
        program = str(tmp_path / "mnt/own-readlink")
        placed = view.run([program, "/proc/self/exe"], capture_output=True)
        assert placed.stdout == os.fsencode(program) + b"\n"


def test_threads_and_processes_read_at_once(view: View, home: Path) -> None:
    script = """
import os, sys, threading
def work():
    for _ in range(40):
        assert len(open("mnt/large", "rb").read()) == 1 << 20
        assert sorted(os.listdir("mnt/pkg")) == ["__init__.py", "inner.py", "up"]
        os.stat("mnt/link")
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
pids = [os.fork() for _ in range(1)]
if 0 in pids:
    work(); os._exit(0)
[t.join() for t in threads]
print([os.waitpid(pid, 0)[1] for pid in pids])
"""
    done = view.run([sys.executable, "-c", script], capture_output=True, cwd=home)
    assert done.stdout == b"[0]\n", done.stderr
