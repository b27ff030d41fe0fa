"""Programs write through file systems of fsspec, and the backend has it afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import diorama
from behaviour.harness import Bench, Way, each_way, run_with
from diorama.modules.filesystems.fsspec import FsspecFileSystem, open_fsspec
from diorama.modules.options import Options
from modules.objects import ObjectStore, piece_of

SCRIPT = r"""
cd mnt
echo one > file; echo two >> file; cat file; stat -c '%s %F' file
mkdir -p deep/er; echo text > deep/er/inner; ls -R
mkdir empty; rmdir empty; rmdir deep 2>/dev/null || echo not empty
mv deep moved; cat moved/er/inner; ls
mv file moved/er/inner; cat moved/er/inner
sed -i s/one/three/ moved/er/inner; cat moved/er/inner
seq 1 100000 > long; truncate -s 100 long; tail -c 20 long; echo
printf 12345 | dd of=long conv=notrunc bs=1 seek=10 status=none; head -c 30 long
echo gone > removed; exec 3<removed; rm removed; cat <&3; exec 3<&-
test -e removed || echo none
python3 -c '
with open("data", "w+b") as file:
    file.write(bytes(range(256)) * 1000)
    file.seek(1000)
    print(file.read(4), file.seek(0, 2))
'
rm -r moved
ls
"""


@pytest.fixture(autouse=True)
def _objects() -> Iterator[None]:
    ObjectStore.reset()
    fsspec.register_implementation("objects", ObjectStore, clobber=True)
    yield
    ObjectStore.reset()
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture(params=["file", "memory", "objects"])
def filesystem(request: pytest.FixtureRequest, bench: Bench) -> FsspecFileSystem:
    (bench.work / "mnt").mkdir()
    (bench.directory / "backend").mkdir()
    if request.param == "file":
        return open_fsspec("file", str(bench.directory / "backend"))
    if request.param == "memory":
        fsspec.filesystem("memory").mkdir("/top")
        return open_fsspec("memory", "top")
    return open_fsspec("objects", "")


def run(view: diorama.View, bench: Bench, *argv: Any) -> Any:
    return view.run([str(word) for word in argv], cwd=bench.work, capture_output=True, text=True, timeout=50)


def test_a_shell_writes_as_natively(engine: str, bench: Bench, filesystem: FsspecFileSystem) -> None:
    native = bench.directory / "native"
    (native / "mnt").mkdir(parents=True)
    expected = subprocess.run(["bash", "-c", SCRIPT], cwd=native, capture_output=True, text=True, check=True)
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(filesystem, bench.work / "mnt")
        done = run(view, bench, "bash", "-c", SCRIPT)
        assert not view.failures
    assert (done.stdout, done.stderr, done.returncode) == (expected.stdout, expected.stderr, 0)
    backend = filesystem._backend
    assert sorted(backend.listing("")) == sorted(os.listdir(native / "mnt"))
    for name in ("long", "data"):
        assert b"".join(backend.chunks(name)) == (native / "mnt" / name).read_bytes()


def test_what_is_written_is_there_when_the_writer_has_closed_it(engine: str, bench: Bench) -> None:
    (bench.work / "mnt").mkdir()
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(open_fsspec("objects", ""), bench.work / "mnt")
        assert run(view, bench, "sh", "-c", "echo text > mnt/file").returncode == 0
        assert run(view, bench, "sh", "-c", "cat mnt/file").stdout == "text\n"
    assert ObjectStore.store["file"] == b"text\n"


FSYNC = """
import os
fd = os.open("mnt/file", os.O_RDWR)
os.write(fd, b"new")
try:
    os.fsync(fd)
except OSError as error:
    print(error.strerror)
"""


def test_a_failed_upload_is_told_by_fsync(engine: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.work / "mnt").mkdir()
    ObjectStore.store["file"] = b"old content"

    def refuse(self: ObjectStore, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        raise ConnectionResetError(104, "Connection reset by peer")

    with diorama.View(engine=engine) as view:
        view.mount(open_fsspec("objects", ""), bench.work / "mnt")
        assert run(view, bench, "cat", "mnt/file").stdout == "old content"
        original = ObjectStore._open
        monkeypatch.setattr(ObjectStore, "_open", refuse)
        assert run(view, bench, "python3", "-c", FSYNC).stdout == "Connection reset by peer\n"
        monkeypatch.setattr(ObjectStore, "_open", original)
    assert ObjectStore.store["file"] == b"new content"  # tried again, and not lost


CHANGE = """
import os
reading = os.open("mnt/big", os.O_RDONLY)
assert os.pread(reading, 8, 1 << 20) == (1 << 17).to_bytes(8, "big")
writing = os.open("mnt/big", os.O_RDWR)
os.pwrite(writing, b"changed!", 1 << 20)
assert os.pread(reading, 8, 1 << 20) == b"changed!"
assert os.pread(reading, 8, 3 << 20) == (3 << 17).to_bytes(8, "big")
os.close(writing)
print(os.fstat(reading).st_size)
"""


def test_a_file_in_pieces_is_whole_when_it_is_written(engine: str, bench: Bench) -> None:
    size = 5 << 20
    (bench.work / "mnt").mkdir()
    ObjectStore.sizes["big"] = size
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(open_fsspec("objects", "", Options.parse(["lazy=1000"])), bench.work / "mnt")
        done = run(view, bench, "python3", "-c", CHANGE)
        assert (done.stdout, done.stderr) == (f"{size}\n", "")
    stored = ObjectStore.store["big"]
    assert len(stored) == size
    assert stored[1 << 20 : (1 << 20) + 8] == b"changed!"
    assert stored[: 1 << 20] == piece_of(0, 1 << 20)
    assert stored[(1 << 20) + 8 :] == piece_of((1 << 20) + 8, size)


REMOVE = """
import os
fd = os.open("mnt/big", os.O_RDONLY)
{action}
print(os.pread(fd, 8, 1 << 20) == (1 << 17).to_bytes(8, "big"), os.fstat(fd).st_nlink)
"""


@pytest.mark.parametrize("action", ["os.unlink('mnt/big')", "os.rename('mnt/other', 'mnt/big')"])
def test_a_file_in_pieces_that_is_removed_is_still_read(engine: str, bench: Bench, action: str) -> None:
    (bench.work / "mnt").mkdir()
    ObjectStore.store |= {"big": piece_of(0, 5 << 20), "other": b"text"}
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(open_fsspec("objects", "", Options.parse(["lazy=1000"])), bench.work / "mnt")
        done = run(view, bench, "python3", "-c", REMOVE.format(action=action))
        assert (done.stdout, done.stderr) == ("True 0\n", "")


@pytest.mark.parametrize(
    "command",
    ["echo new > mnt/big", "python3 -c 'import os; os.truncate(\"mnt/big\", 0)'; echo new >> mnt/big"],
)
def test_what_is_replaced_is_not_fetched_first(engine: str, bench: Bench, command: str) -> None:
    (bench.work / "mnt").mkdir()
    ObjectStore.sizes["big"] = 100 << 30
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(open_fsspec("objects", ""), bench.work / "mnt")
        done = run(view, bench, "sh", "-c", f"head -c 8 mnt/big | wc -c; {command}; cat mnt/big")
        assert (done.stdout, done.stderr) == ("8\nnew\n", "")
    assert ObjectStore.store["big"] == b"new\n"
    assert ObjectStore.fetched < 2 << 20


def test_what_does_not_fit_into_memory_is_not_opened_for_writing(engine: str, bench: Bench) -> None:
    (bench.work / "mnt").mkdir()
    ObjectStore.sizes["big"] = 100 << 40
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(open_fsspec("objects", ""), bench.work / "mnt")
        done = run(view, bench, "sh", "-c", "head -c 8 mnt/big | wc -c; : >> mnt/big")
        assert done.stdout == "8\n"
        assert "File too large" in done.stderr


@each_way(run_with("--mount", "fsspec+memory:=mnt:ro"))
def test_a_read_only_mount_refuses(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    done = bench.inside(way, ["sh", "-c", "echo x > mnt/file"])
    assert "Read-only file system" in done.stderr


@each_way(run_with("--strict", "--mount", "file:backend=mnt"))
def test_permissions_and_times_of_local_files(bench: Bench, way: Way) -> None:
    def lay(work: Path) -> None:
        (work / "mnt").mkdir()
        (work / "backend").mkdir()

    bench.prepare = lay
    script = "cd mnt; echo text > file; chmod 640 file; touch -d @1234567890 file; cp -p file copy"
    script += "; ln -s file link; cat link; stat -c '%n %a %Y' file copy; stat -c '%a %N' link"
    assert bench.same(way, ["sh", "-c", script]).status == 0
    backend = bench.work / "backend"
    bench.inside(way, ["sh", "-c", script])
    assert (backend / "copy").stat().st_mtime == 1234567890
    assert (backend / "copy").read_text() == "text\n"
