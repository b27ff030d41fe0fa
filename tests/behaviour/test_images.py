"""Disk images in a view: what programs find in them, by `--mount`, by `diorama mount` and by mount(2)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Way, each_way, run_with
from modules.imaging import iso_image, needs, run

GROWING = run_with("--grow")
FAT = run_with("--mount", "image:fat=/mnt")
SQUASHFS = run_with("--mount", "image:squashfs=/mnt")
INSIDE = " ".join(DIORAMA)


def lay(work: Path) -> None:
    (work / "source/sub").mkdir(parents=True)
    (work / "source/file").write_text("content\n")
    (work / "source/sub/large").write_bytes(bytes(range(256)) * 4000)
    (work / "source/program").write_text("#!/bin/sh\necho it runs $1\n")
    (work / "source/program").chmod(0o755)
    if shutil.which("mksquashfs"):
        command = ["mksquashfs", "source", "squashfs", "-quiet", "-no-progress"]
        subprocess.run(command, cwd=work, check=True, timeout=50)


def lay_fat(work: Path) -> None:
    lay(work)
    for name in ("fat", "other"):
        with (work / name).open("wb") as file:
            file.truncate(8 << 20)
        run("mkfs.vfat", work / name)
    run("mcopy", "-s", "-i", work / "fat", *(work / "source").iterdir(), "::/")


READING = """
ls /mnt; cat /mnt/file; cmp /mnt/sub/large source/sub/large && echo same
/mnt/program well; touch /mnt/new; cat /mnt/none
"""


@each_way(SQUASHFS)
def test_a_squashfs_is_read(bench: Bench, way: Way) -> None:
    needs("mksquashfs", "squashfuse")
    bench.prepare = lay
    found = bench.inside(way, ["sh", "-c", READING])
    assert found.lines == ["file", "program", "sub", "content", "same", "it runs well"]
    assert "/mnt/new: Read-only file system" in found.stderr or "touch" in found.stderr
    assert "/mnt/none: No such file or directory" in found.stderr


@each_way(FAT)
def test_a_fat_is_written(bench: Bench, way: Way) -> None:
    needs("mkfs.vfat", "mcopy", "fsck.vfat")
    pytest.importorskip("dissect.fat")
    bench.prepare = lay_fat
    script = """
        cat /mnt/file; cmp /mnt/sub/large source/sub/large && echo same; /mnt/program well
        echo one > /mnt/new; echo two >> /mnt/new; mkdir /mnt/d; mv /mnt/new /mnt/d/moved; cat /mnt/d/moved
        cp source/sub/large "/mnt/A long name.bin"; rm -r /mnt/sub; ls /mnt; ln -s x /mnt/link
        """
    found = bench.inside(way, ["sh", "-c", script])
    assert found.lines == [
        "content", "same", "it runs well", "one", "two", "A long name.bin", "d", "file", "program",
    ]  # fmt: skip
    assert "Operation not permitted" in found.stderr
    run("fsck.vfat", "-n", bench.work / "fat")
    run("mcopy", "-i", bench.work / "fat", "::/A long name.bin", "::/d/moved", bench.work)
    assert (bench.work / "A long name.bin").read_bytes() == bytes(range(256)) * 4000
    assert (bench.work / "moved").read_text() == "one\ntwo\n"


WRITING = """
cd /mnt; from=$OLDPWD/source
echo one > new; echo two >> new; cat new; mkdir dir; mv new dir/moved; cat dir/moved
cp $from/sub/large dir/large; cmp $from/sub/large dir/large && echo same; truncate -s 3 dir/moved
touch -d 2020-02-02T02:02:02 dir/moved; stat -c '%s %Y' dir/moved; cp $from/program .; ./program well
ls dir; rm -r dir; ls | grep -v lost
"""
WRITTEN = ["one", "two", "one", "two", "same", "3 1580608922", "it runs well", "large", "moved", "program"]


@pytest.mark.parametrize(
    ("make", "check", "server"),
    [
        (
            ("mke2fs", "-q", "-t", "ext4", "-E", f"root_owner={os.getuid()}:{os.getgid()}"),
            "e2fsck -fn",
            "fuse2fs",
        ),
        (("mkfs.exfat",), "fsck.exfat -n", "mount.exfat-fuse"),
        (("mkfs.ntfs", "-q", "-F"), "ntfsfix -n", "ntfs-3g"),
    ],
    ids=["ext4", "exfat", "ntfs"],
)
@each_way(run_with("--mount", "image:image=/mnt"))
def test_an_image_is_written_by_its_server(
    bench: Bench, way: Way, make: tuple[str, ...], check: str, server: str
) -> None:
    needs(make[0], check.split()[0], server)

    def lay_image(work: Path) -> None:
        lay(work)
        with (work / "image").open("wb") as file:
            file.truncate(16 << 20)
        run(*make, work / "image")

    bench.prepare = lay_image
    found = bench.inside(way, ["sh", "-c", WRITING])
    assert found.lines == WRITTEN, found
    run(*check.split(), bench.work / "image")
    found = bench.inside(Way("ro", (*way.words[:-1], "image:image=/mnt:ro")), ["touch", "/mnt/new"])
    assert "Read-only file system" in found.stderr
    assert len(found.stderr.splitlines()) == 1


@each_way(run_with("--mount", "image:disk=/mnt:partition=2"))
def test_a_partition_is_written_by_a_server(bench: Bench, way: Way) -> None:
    needs("mke2fs", "e2fsck", "fuse2fs", "sfdisk")

    def lay_disk(work: Path) -> None:
        lay(work)
        for name, size in (("ext", 8), ("disk", 18)):
            with (work / name).open("wb") as file:
                file.truncate(size << 20)
        run("mke2fs", "-q", "-E", f"root_owner={os.getuid()}:{os.getgid()}", work / "ext")
        run("sfdisk", "-q", work / "disk", stdin="label: gpt\nsize=8MiB\nsize=8MiB\n")
        with (work / "disk").open("r+b") as file:
            file.seek(9 << 20)
            file.write((work / "ext").read_bytes())

    bench.prepare = lay_disk
    found = bench.inside(way, ["sh", "-c", WRITING])
    assert found.lines == WRITTEN, found
    with (bench.work / "disk").open("rb") as file:
        file.seek(9 << 20)
        (bench.work / "ext").write_bytes(file.read(8 << 20))
    run("e2fsck", "-fn", bench.work / "ext")


@each_way(GROWING)
def test_images_are_mounted_from_inside(bench: Bench, way: Way) -> None:
    needs("mkfs.vfat", "mcopy", "mount")
    pytest.importorskip("dissect.fat")

    def lay_all(work: Path) -> None:
        lay_fat(work)
        iso_image(work / "iso", rock_ridge="1.09")
        with zipfile.ZipFile(work / "zip", "w") as archive:
            archive.write(work / "iso", "inside.iso")
        for name in ("a", "b", "c"):
            (work / name).mkdir()

    bench.prepare = lay_all
    script = f"""
        {INSIDE} mount image:fat a && cat a/file && echo changed > a/file && {INSIDE} umount a
        {INSIDE} mount -o ro image:fat a && cat a/file; echo x > a/file; {INSIDE} umount a
        {INSIDE} mount zip:zip b && mount -t image b/inside.iso c && cat "c/sub/A long name.txt" c/link
        {INSIDE} umount c && ls -A c
        """
    found = bench.inside(way, ["bash", "-c", script])
    assert found.stdout == "content\nchanged\nhello\nhello\n"
    assert "Read-only file system" in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"no image"), "no file system and no partitions are found in it"),
        (lambda path: path.write_bytes(bytes(510) + b"\x55\xaa"), "no file system and no partitions"),
        (os.mkfifo, "it is no regular file"),
        (lambda path: path.mkdir(), "is a directory"),
    ],
)
def test_what_is_no_image_is_one_line(bench: Bench, make: object, words: str) -> None:
    bench.prepare = lambda work: make(work / "image")  # type: ignore[operator]
    found = bench.inside(run_with("--mount", "image:image=/mnt"), ["true"])
    assert (found.status, found.stdout) == (125, "")
    assert len(found.stderr.splitlines()) == 1
    assert found.stderr.startswith("diorama: cannot mount image:image")
    assert words in found.stderr


def test_a_file_of_a_squashfs_keeps_its_mode(bench: Bench) -> None:
    needs("mksquashfs", "squashfuse")
    bench.prepare = lay
    found = bench.inside(SQUASHFS, ["stat", "-c", "%f %s", "/mnt/program"])
    mode, size = found.stdout.split()
    assert (int(mode, 16), int(size)) == (stat.S_IFREG | 0o755, 26)
