"""Mounts of what is mounted, whatever is seen in a view, and views in views."""

from __future__ import annotations

import os
import sys
import textwrap
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Way, each_way, finish, run_with
from engines import needs_notify
from modules.imaging import needs, run

INSIDE = " ".join(DIORAMA)
OVERLAY = "overlay:lower=/o:upper=upper"
COW = "cow:lower=/o:layer=layer"
# For what is settled before a program runs, with the engine that the view takes by itself.
ON_A_DISK = [run_with("--mount", source, "--mount", "disk:/o/disk=/dev/hda") for source in (OVERLAY, COW)]
AN_IMAGE = run_with("--mount", COW, "--mount", "image:/o/disk=/m")
READ_ONLY = run_with(
    "--mount", "lower=/o:ro", "--mount", "disk:/o/disk=/dev/hda", "--mount", "image:/o/disk=/m"
)
INNER = run_with(
    "--mount", "zip:disk.zip=/z", "--mount", "disk:/z/disk=/dev/hda",
    "--mount", "disk:/dev/hda1=/dev/inner", "--mount", "/dev/inner=/dev/again",
)  # fmt: skip
PATH = f"PATH=$PATH:{os.environ['PATH']}:/usr/sbin:/sbin; export LC_ALL=C.UTF-8; "
SIZE = 4 << 20
START = 1 << 20
MARK = b"of the partition"


def sh(script: str) -> list[str]:
    return ["bash", "-c", PATH + script]


def lay_disk(work: Path) -> None:
    """A disk with one partition in a directory that is to stay as it is, an archive of it, and others."""
    for name in ("lower", "upper", "mnt", "mnt2"):
        (work / name).mkdir()
    with (work / "lower/disk").open("wb") as file:
        file.truncate(SIZE)
    run("sfdisk", "-q", work / "lower/disk", stdin="label: dos\n1MiB,2MiB\n")
    with (work / "lower/disk").open("r+b") as file:
        file.seek(START)
        file.write(MARK)
    with zipfile.ZipFile(work / "disk.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(work / "lower/disk", "disk")


def lay_image(work: Path) -> None:
    """The same with an ext4 file system."""
    lay_disk(work)
    (work / "lower/disk").unlink()
    run("mke2fs", "-q", "-E", f"root_owner={os.getuid()}:{os.getgid()}", work / "lower/disk", "2M")


def lay_fat(work: Path) -> None:
    """And with a FAT."""
    lay_disk(work)
    (work / "lower/disk").unlink()
    run("mkfs.vfat", "-C", work / "lower/disk", "2048")


def run_laid(bench: Bench, way: Way, lay: Callable[[Path], None], script: str) -> list[str]:
    """What a script says, which leaves what is in `lower` as it is."""
    kept: list[bytes] = []

    def prepare(work: Path) -> None:
        lay(work)
        kept[:] = [(work / "lower/disk").read_bytes()]

    bench.prepare = prepare
    found = bench.inside(way, sh(script), limit=100)
    assert found.stderr == ""
    assert [(bench.work / "lower/disk").read_bytes()] == kept
    return found.lines


def test_a_partition_on_a_disk_in_an_archive_is_a_disk(bench: Bench) -> None:
    needs("sfdisk", "blockdev")
    script = "blockdev --getsize64 --getro /dev/hda1 /dev/inner; head -c 16 /dev/hda1 /dev/inner /dev/again"
    told = [str(2 << 20), "1"] * 2
    shown = [f"==> /dev/{name} <==\n{MARK.decode()}" for name in ("hda1", "inner", "again")]
    assert run_laid(bench, INNER, lay_disk, script) == [*told, *"\n".join(shown).splitlines()]


@pytest.mark.parametrize("way", ON_A_DISK, ids=["overlay", "cow"])
def test_a_disk_on_layers_is_written_in_the_upper_one(bench: Bench, way: Way) -> None:
    needs("sfdisk")
    script = "printf other >/dev/hda1; head -c 16 /dev/hda1; echo; cmp -n 4M /dev/hda /o/disk && echo same"
    assert run_laid(bench, way, lay_disk, script) == ["other" + MARK.decode()[5:], "same"]
    where = "layer/tree" if COW in way.words else "upper"
    assert (bench.work / where / "disk").read_bytes()[START:].startswith(b"other")


@pytest.mark.parametrize(
    ("lay", "tools"),
    [(lay_image, ("mke2fs", "fuse2fs")), (lay_fat, ("mkfs.vfat", "mcopy"))],
    ids=["ext4", "fat"],
)
def test_an_image_on_layers_is_written_in_the_upper_one(
    bench: Bench, lay: Callable[[Path], None], tools: tuple[str, ...]
) -> None:
    needs("sfdisk", *tools)
    assert run_laid(bench, AN_IMAGE, lay, "echo text >/m/file; cat /m/file") == ["text"]
    again = finish(bench.start(AN_IMAGE(["cat", "/m/file"])), limit=100)
    assert (again.stdout, again.stderr) == ("text\n", "")


def test_what_is_on_a_read_only_mount_is_read_only(bench: Bench) -> None:
    needs("mke2fs", "fuse2fs", "sfdisk", "blockdev")
    script = "blockdev --getro /dev/hda; touch /m/file 2>&1 | grep -o 'Read-only file system'"
    assert run_laid(bench, READ_ONLY, lay_image, script) == ["1", "Read-only file system"]


@each_way(run_with("--grow", "--cow", "layer"))
def test_what_is_mounted_inside_of_a_view_of_changes_changes_nothing_outside(bench: Bench, way: Way) -> None:
    needs("sfdisk")
    script = f"""
        {INSIDE} mount disk:lower/disk /dev/hda; printf other >/dev/hda1
        cmp -n 4M /dev/hda lower/disk && echo same
        for options in 'layer=l cow:lower' 'upper=upper overlay:/proc' 'ro overlay:lower,upper'; do
            {INSIDE} mount -o $options mnt 2>&1 || echo $?
        done
    """
    told = "it is no directory of the host, or is in layers already"
    lines = run_laid(bench, way, lay_disk, script)
    assert lines[0] == "same"
    assert lines[2::2] == ["125"] * 3
    assert all(told in line for line in lines[1::2]), lines
    assert sorted(path.name for path in bench.work.iterdir()) == [
        "disk.zip", "layer", "lower", "mnt", "mnt2", "upper",
    ]  # fmt: skip


@each_way(run_with("--grow"))
def test_a_server_serves_what_another_serves(bench: Bench, way: Way) -> None:
    needs("sfdisk", "bindfs")
    script = """
        bindfs lower mnt; bindfs mnt mnt2; cmp lower/disk mnt2/disk && echo same
        echo text >mnt2/new; cat mnt/new; rm mnt2/new; umount mnt2; umount -l mnt; ls mnt mnt2
    """
    assert run_laid(bench, way, lay_disk, script) == ["same", "text", "mnt:", "", "mnt2:"]


@each_way(run_with("--mount", "zip:disk.zip=/z", "--mount", "/z=/y", "--mount", "/y=/x",
                   "--mount", "/x/disk=/w", "--mount", "memory:=/x/sub/memory"))  # fmt: skip
def test_a_mount_of_a_mount_of_a_mount(bench: Bench, way: Way) -> None:
    needs("sfdisk")
    script = "cmp /w lower/disk && echo same; echo text >/x/sub/memory/f; cat /x/sub/memory/f; ls /x /y"
    assert run_laid(bench, way, lay_disk, script) == ["same", "text", "/x:", "disk", "sub", "", "/y:", "disk"]


@each_way(run_with("--mount", "/=/unreal:rbind", "--mount", "/=/unreal:rbind"))
def test_the_whole_tree_again_and_again(bench: Bench, way: Way) -> None:
    script = "ls -d /unreal/etc /unreal/unreal/etc; ls -d /unreal/unreal/unreal 2>&1 | grep -o 'No such.*'"
    found = bench.inside(way, sh(script))
    assert found.lines == ["/unreal/etc", "/unreal/unreal/etc", "No such file or directory"]


@each_way(run_with("--mount", "/=/r", "--mount", "memory:=/r/tmp"))
def test_another_root_in_a_user_namespace(bench: Bench, way: Way) -> None:
    if bench.native(["unshare", "-r", "chroot", "/", "true"]).status:
        pytest.skip("needs user namespaces")
    script = "cd /tmp; echo text >file; ls /tmp; ls -d /etc; pwd"
    found = bench.inside(way, ["unshare", "-r", "chroot", "/r", "sh", "-c", script])
    assert (found.lines, found.stderr) == (["file", "/etc", "/tmp"], "")


# -- views in views -------------------------------------------------------------------------------


@each_way(run_with("--mount", "memory:=/mnt/outer"))
def test_of_views_in_one_another_one_handles_something(bench: Bench, way: Way) -> None:
    inner = f"{INSIDE} run --mount memory:=/mnt/inner"
    script = f"""
        {INSIDE} run -- sh -c 'echo text >/mnt/outer/file; cat /mnt/outer/file; exit 7'; echo $?
        {inner} -- true; echo $?
        {inner} --engine guardians -- true; echo $?
        {INSIDE} run -- {inner} --engine guardians -- true; echo $?
        {INSIDE} trace -o /dev/null -- true; echo $?
    """
    found = bench.inside(way, sh(script), limit=100)
    assert found.lines == ["text", "7", *["125"] * 4], found.stderr
    assert len(found.stderr.splitlines()) == 4
    told = "cannot handle or trace calls inside of the view "
    assert all(told in line for line in found.stderr.splitlines()), found.stderr


@each_way(run_with())
def test_a_view_in_one_that_handles_nothing_may(bench: Bench, way: Way) -> None:
    inner = f"{INSIDE} run --engine guardians --mount memory:=/mnt/inner --"
    found = bench.inside(way, sh(f"{inner} sh -c 'echo text >/mnt/inner/file; cat /mnt/inner/file'"))
    assert (found.lines, found.stderr) == (["text"], "")


@needs_notify
def test_a_library_in_a_view_that_is_notified_traces_nothing(bench: Bench) -> None:
    code = """
        import diorama
        with diorama.View(engine="guardians") as view:
            view.answer("getppid", result=1)
            try:
                view.run(["true"])
            except diorama.UsageError as error:
                print(error)
    """
    way = run_with("--engine", "notify", "--mount", "memory:=/mnt/outer")
    found = bench.inside(way, [sys.executable, "-P", "-c", textwrap.dedent(code)])
    told = "cannot handle or trace calls inside of a view that handles some already"
    assert (found.lines, found.stderr) == ([told], "")


@each_way(run_with("--net", "lan:NAME"))
def test_a_lan_needs_the_loopback_of_the_kernel(bench: Bench, way: Way) -> None:
    """In a network whose loopback is another there is none, which is said at once."""
    name = f"t{uuid.uuid4().hex[:12]}"
    way = Way(way.name, tuple(word.replace("NAME", name) for word in way.words))
    inner = [*DIORAMA, "run", "--net", f"lan:{name}i", "--", "true"]
    out = bench.inside(way, inner)
    assert out.stderr == (
        f"diorama: cannot mount lan:{name}i inside of this view's network: its loopback is not the kernel's\n"
    )
