"""FUSE servers that are started for a view, outside of it: any will do, and nothing of them is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, finish, run_with
from behaviour.test_fuse import lay, needs
from diorama.engine.choice import GUARDIANS, NOTIFY
from diorama.modules.filesystems.fuse.server import has_libfuse
from engines import needs_notify

each_engine = pytest.mark.parametrize("engine", [GUARDIANS, pytest.param(NOTIFY, marks=needs_notify)])


def mounted(bench: Bench, engine: str, command: str, script: str) -> Outcome:
    """A script where a server's mount is at mnt."""
    needs(command.split()[0])
    bench.prepare = bench.prepare or lay
    way = run_with("--mount", f"fuse:{command}={bench.work / 'mnt'}").on(engine)
    return bench.inside(way, ["bash", "-c", script])


@each_engine
@pytest.mark.parametrize(
    "command",
    [
        "bindfs -f source",
        "bindfs source {} -o noatime",
        "mergerfs -f source",
        "mergerfs source",
        "fuse-overlayfs -f -o lowerdir=source,upperdir=upper,workdir=work",
    ],
)
def test_any_server_is_written_through_and_ends_with_the_view(
    bench: Bench, engine: str, command: str
) -> None:
    script = "ls mnt; cat mnt/file; echo new > mnt/file; cat mnt/file; mkdir mnt/d"
    out = mounted(bench, engine, command, script)
    assert out.stdout == "file\nsub\ncontent\nnew\n"
    where = "upper" if "upper" in command else "source"
    assert (bench.work / where / "file").read_text() == "new\n"


@each_engine
@pytest.mark.parametrize("server", ["squashfuse -f image", "fuse2fs image"])
def test_an_image_is_served(bench: Bench, engine: str, server: str) -> None:
    command = ["mksquashfs", "source", "image", "-quiet", "-no-progress"]
    if server.startswith("fuse2fs"):
        command = ["mke2fs", "-q", "-F", "-d", "source", "image", "8M"]
    needs(command[0])

    def lay_image(work: Path) -> None:
        lay(work)
        subprocess.run(command, cwd=work, check=True, timeout=50)

    bench.prepare = lay_image
    script = "cat mnt/file; cmp mnt/sub/large source/sub/large; sed -n \"s=.*$PWD/mnt ==p\" /proc/self/mounts"
    out = mounted(bench, engine, server, script)
    assert out.stdout.startswith(f"content\nfuse.{server.split()[0]} ")


LOOKING = """
import ctypes, fcntl, os, struct, sys
from diorama.abi.ioctl import FUSE_DEV_IOC_CLONE
from modules.fuse_server import Server

libc = ctypes.CDLL(None, use_errno=True)
point = os.fsencode(sys.argv[1])
first, device = os.open("/dev/fuse", os.O_RDWR), os.open("/dev/fuse", os.O_RDWR)
fcntl.ioctl(device, FUSE_DEV_IOC_CLONE, struct.pack("I", first))

class Device:
    recv = staticmethod(lambda size: os.read(device, size))
    send = staticmethod(lambda data: os.write(device, data))
    shutdown = staticmethod(lambda how: None)

options = b"fd=%d,rootmode=40000,user_id=%d,group_id=%d" % (first, os.getuid(), os.getgid())
with open("written", "w+") as file:
    print(libc.mount(b"test", point, b"fuse.looking", 0, options), file=file)
server = Server(Device)
served = server.nodes[server.add(b"file", b"")]
server.start()
served.content = f"{os.listdir(point)} {point in open('/proc/self/mounts', 'rb').read()}".encode()
server.thread.join()
with open("written", "a") as file:
    print(libc.umount2(point, 2), file=file)
"""


@each_engine
@pytest.mark.parametrize(("option", "seen"), [("", "[b'file'] True"), (":bare", "[] False")])
def test_a_server_sees_what_it_serves_unless_it_needs_not_to(
    bench: Bench, engine: str, option: str, seen: str
) -> None:
    """What it needs to serve it has either way: the device, a clone of it, mounting and unmounting."""

    def lay_server(work: Path) -> None:
        lay(work)
        paths = f"import sys; sys.path[:0] = {[*sys.path, str(Path(__file__).parents[1])]!r}\n"
        (work / "server.py").write_text(paths + LOOKING)

    bench.prepare = lay_server
    mount = f"fuse:{sys.executable} -P server.py={bench.work / 'mnt'}{option}"
    script = "while [ ! -s mnt/file ]; do sleep 0.05; done; cat mnt/file"
    out = bench.inside(run_with("--mount", mount).on(engine), ["bash", "-c", script])
    assert (out.stdout, out.stderr) == (seen, "")
    assert (bench.work / "written").read_text() == "0\n0\n"


def test_who_is_linked_with_libfuse_is_known_by_it() -> None:
    needs("bindfs")
    needs("sshfs")
    assert [has_libfuse(name) for name in ("bindfs", "sshfs", "sh", sys.executable, "/nowhere")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/nonexistent/server", "/nonexistent/server: No such file or directory"),
        ("true", "true: it ended with status 0 and has mounted nothing"),
        ("sh -c 'echo one; echo the reason >&2; exit 3' {}", "sh: the reason"),
        ("bindfs nowhere", "bindfs: Failed to resolve source directory `nowhere': No such file or directory"),
    ],
)
def test_a_server_that_does_not_start_is_told_in_one_line(bench: Bench, command: str, told: str) -> None:
    if command.startswith("bindfs"):
        needs("bindfs")
    bench.prepare = lay
    out = bench.inside(run_with("--mount", f"fuse:{command}={bench.work / 'mnt'}"), ["true"])
    assert (out.status, out.stdout) == (125, "")
    assert out.stderr == f"diorama: cannot mount fuse:{command}: {told}\n"


def test_a_server_that_never_mounts_is_waited_for_until_somebody_has_enough(bench: Bench) -> None:
    """It writes its name, so that it is known to run."""
    bench.fresh()
    way = run_with("--mount", f"fuse:sh -c 'touch started; exec sleep 1000' {{}}={bench.work / 'mnt'}")
    process = bench.start(way(["true"]))
    deadline = time.monotonic() + 40
    while not (bench.work / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out = finish(process)
    assert (out.status, out.stdout) == (130, "")
    assert "Traceback" not in out.stderr
