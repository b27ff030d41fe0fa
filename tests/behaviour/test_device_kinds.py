"""Devices in a view that others serve: disks of virtual machines, over NBD, nested ones, and terminals."""

from __future__ import annotations

import os
import socket
import time
import zipfile
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with
from behaviour.test_devices import GROWING, INSIDE, lay, sh
from modules.imaging import needs, run

FORMATS = ("qcow2", "vdi", "vmdk")
PARTITIONED = """
printf ',20M\\n,\\n' | sfdisk -q /dev/{0}; ls /dev | grep {0} | xargs; mkfs.ext4 -q /dev/{0}1
"""


@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_of_a_virtual_machine_is_partitioned(bench: Bench, format: str) -> None:
    needs("qemu-img", "qemu-nbd", "sfdisk", "mkfs.ext4", "e2fsck")
    bench.prepare = lambda work: _make(work, format)
    found = bench.inside(run_with("--mount", f"disk:image.{format}=/dev/vx"), sh(PARTITIONED.format("vx")))
    assert found.lines == ["vx vx1 vx2"], found.stderr
    run("qemu-img", "convert", "-O", "raw", bench.work / f"image.{format}", bench.work / "raw")
    with (bench.work / "raw").open("rb") as file:
        file.seek(1 << 20)
        (bench.work / "part").write_bytes(file.read(20 << 20))
    assert run("e2fsck", "-fn", bench.work / "part")


def _make(work: Path, format: str) -> None:
    run("qemu-img", "create", "-q", "-f", format, work / f"image.{format}", "64M")


@each_way(run_with("--mount", "nbdkit:memory 64M=/dev/nk"))
def test_nbdkit_serves_a_disk(bench: Bench, way: Way) -> None:
    needs("nbdkit", "sfdisk", "mkfs.ext4", "blkid")
    found = bench.inside(way, sh(PARTITIONED.format("nk") + "blkid -p -o value -s TYPE /dev/nk1"))
    assert found.lines == ["nk nk1 nk2", "ext4"], found.stderr


def test_a_server_that_dies_is_an_error(bench: Bench) -> None:
    needs("nbdkit")
    script = "head -c 512 /dev/nk | wc -c; kill -9 $(cat pid); head -c 512 /dev/nk; echo $?"
    source = "nbdkit:--pidfile=pid memory 8M"
    found = bench.inside(run_with("--mount", f"{source}=/dev/nk"), sh(script))
    assert found.lines == ["512", "1"]
    assert "Input/output error" in found.stderr
    assert "the connection is lost" in found.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nbd://localhost:1/x", "connection refused"), ("nbd:x", "write nbd://"),
        ("nbd+unix:/none", "no such file or directory"), ("nbdkit:", "write nbdkit:PLUGIN"),
        ("nbdkit:nosuch", "nosuch"), ("disk:bad", "bad"), ("nbd+unix:silent", "no NBD server"),
    ],
)  # fmt: skip
def test_what_is_no_disk_is_told_in_one_line(bench: Bench, source: str, said: str) -> None:
    if source.startswith("nbdkit"):
        needs("nbdkit")
    if source == "disk:bad":
        needs("qemu-nbd")
    with socket.socket(socket.AF_UNIX) as listener:
        bench.fresh()
        listener.bind(str(bench.work / "silent"))
        listener.listen()
        (bench.work / "bad").write_bytes(b"QFI\xfb" + os.urandom(600))
        process = bench.start(run_with("--mount", f"{source}=/dev/x")(["true"]))
        if source.endswith("silent"):
            listener.settimeout(60)
            peer, _ = listener.accept()
            peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        found = finish(process, "", 50)
    assert (found.status, len(found.stderr.splitlines())) == (125, 1), found.stderr
    assert said in found.stderr


NESTED = f"""
{INSIDE} mount disk:/z/disk /dev/hda && ls /dev | grep hda | xargs; echo x >/dev/hda
mkdir mem; {INSIDE} mount memory: mem; cp disk mem; {INSIDE} mount disk:mem/disk /dev/hdb
mkfs.ext4 -q /dev/hdb1
{INSIDE} mount disk:/dev/hdb2 /dev/in && printf ',10M\\n' | sfdisk -q /dev/in; ls /dev | grep ^in | xargs
mkfs.ext4 -q /dev/hdb2 2>&1 | grep -o 'apparently in use'
mkfs.ext4 -q /dev/in1; {INSIDE} umount /dev/in; {INSIDE} umount /dev/hdb
dd if=mem/disk of=part bs=1M skip=1 count=20 2>/dev/null
"""


@each_way(run_with("--grow", "--mount", "zip:disk.zip=/z"))
def test_disks_nest(bench: Bench, way: Way) -> None:
    needs("sfdisk", "mkfs.ext4", "e2fsck")

    def prepare(work: Path) -> None:
        lay(work)
        run("sfdisk", "-q", work / "disk", stdin=",20M\n,\n")
        with zipfile.ZipFile(work / "disk.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.write(work / "disk", "disk")

    bench.prepare = prepare
    found = bench.inside(way, sh(NESTED), limit=100)
    assert found.lines == ["hda hda1 hda2", "in in1", "apparently in use"], found.stderr
    assert "/dev/hda: Read-only file system" in found.stderr
    assert run("e2fsck", "-fn", bench.work / "part")


SITTER = '''
from diorama.interfaces.terminal import SerialLine, Terminal

class Sitter(Terminal):
    seen = b""

    def received(self, data):
        self.seen += data
        if self.seen.endswith(b"name? "):
            self.send(b"Eve\\x7fa\\n")
        if self.seen.endswith(b"wait\\r\\n"):
            self.send(b"\\x03")

class Modem(SerialLine):
    def received(self, data):
        if data.endswith(b"\\r"):
            self.send(b"OK\\r\\n")
'''
JOB = """
tty </dev/tty64; stty -F /dev/tty64 size
setsid -w -c sh -c 'trap "echo interrupted >>out; exit 3" INT
printf "name? "; read x; echo "[$x]" >out; echo wait; while :; do sleep 1; done' </dev/tty64 >/dev/tty64 2>&1
echo $?; cat out; printf 'AT\\r' >/dev/ttyS9; head -c 2 /dev/ttyS9; echo
stty -F /dev/ttyS9 4800; stty -F /dev/ttyS9 speed
"""


@each_way(
    run_with("--mount", "py:./sitter.py:Sitter=/dev/tty64", "--mount", "py:./sitter.py:Modem=/dev/ttyS9")
)
def test_somebody_sits_at_a_terminal(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "sitter.py").write_text(SITTER) and None
    found = bench.inside(way, sh(JOB))
    assert found.lines == ["/dev/tty64", "24 80", "3", "[Eva]", "interrupted", "OK", "4800"], found.stderr


LINE = """
import fcntl, os, struct, termios
fd = os.open("/dev/ttyX", os.O_RDWR | os.O_NOCTTY)
print(os.read(fd, 100))
print(bool(struct.unpack("i", fcntl.ioctl(fd, termios.TIOCMGET, bytes(4)))[0] & termios.TIOCM_CAR))
os.write(fd, b"pong")
"""


@each_way(run_with("--mount", "serial:line=/dev/ttyX"))
def test_somebody_outside_is_at_the_other_end_of_a_line(bench: Bench, way: Way) -> None:
    bench.fresh()
    process = bench.start(way(["python3", "-c", LINE]))
    end = time.monotonic() + 60
    while not (bench.work / "line").exists() and time.monotonic() < end:
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        while peer.connect_ex(str(bench.work / "line")):
            assert time.monotonic() < end
            time.sleep(0.01)
        peer.sendall(b"ping")
        answer = peer.recv(10)
        found = finish(process, "", 50)
    assert (found.lines, answer) == (["b'ping'", "True"], b"pong")
    assert not (bench.work / "line").exists()


@each_way(run_with("--mount", "disk:disk=/dev/hda"))
def test_nothing_written_is_lost_when_a_program_is_killed(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    script = "import os; f = os.open('/dev/hda', os.O_RDWR); os.write(f, b'kept'); os.kill(os.getpid(), 9)"
    assert bench.inside(way, ["python3", "-c", script]).status == 137
    assert (bench.work / "disk").read_bytes()[:4] == b"kept"


BY_NUMBER = """
printf hello >/dev/hda; tail -n 1 /proc/partitions | xargs
mknod node b 42 64 && mknod other b 42 63 && mknod character c 42 64
head -c 5 node; echo; head -c 1 other; head -c 1 character
chmod 0 node; setpriv --reuid 1 --clear-groups head -c 5 node
"""


@each_way(run_with("--mount", "disk:disk=/dev/hda:devid,major=42,minor=64"))
def test_all_special_files_of_a_number_are_the_device(bench: Bench, way: Way) -> None:
    if os.getuid():
        pytest.skip("mknod(2) is for root")
    bench.prepare = lay
    found = bench.inside(way, sh(BY_NUMBER))
    assert found.lines == ["42 64 65536 hda", "hello"], found.stderr
    assert found.stderr.count("No such device or address") == 2
    assert found.stderr.count("Permission denied") == 1


@each_way(run_with("--mount", "disk:disk=/dev/hda"))
def test_the_table_of_partitions_has_those_of_the_view(bench: Bench, way: Way) -> None:
    needs("sfdisk")
    bench.prepare = lay
    script = "printf ',20M\\n,\\n' | sfdisk -q /dev/hda; awk '/hda/ {print $3, $4}' /proc/partitions"
    assert bench.inside(way, sh(script)).lines == ["65536 hda", "20480 hda1", "44032 hda2"]


@each_way(GROWING)
def test_a_process_that_is_killed_lets_go_of_a_disk(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    script = f"""
    {INSIDE} mount disk:disk /dev/hda; sleep 60 </dev/hda & sleeper=$!
    until [ -b /proc/$sleeper/fd/0 ]; do :; done; kill -9 $sleeper; wait $sleeper
    {INSIDE} umount /dev/hda; ls /dev | grep -c hda
    """
    assert bench.inside(way, sh(script)).lines == ["0"]



ON_A_DEVICE = f"""
printf ',16M\\n,\\n' | sfdisk -q /dev/rd; mkfs.ext4 -q -E root_owner=$(id -u):$(id -g) /dev/rd1; mkdir a b
{INSIDE} mount image:/dev/rd1 a && echo hello >a/f && ls a/f
mkfs.ext4 -F -q /dev/rd1 2>&1 | grep -o 'apparently in use'
{INSIDE} mount image:/dev/rd1 b 2>&1 | grep -o busy
umount a; e2fsck -fn /dev/rd1 >checked 2>&1; echo $?
mount -t image image:/dev/rd b -o partition=1,ro 2>&1; cat b/f; umount b
mkfs.ext4 -q /dev/rd1; echo $?; {INSIDE} mount image:/dev/own b 2>&1 | grep -o 'in no file'
"""
OWN_DISK = """
from diorama.interfaces.device import BlockDevice
class Own(BlockDevice):
    size = 1 << 20
    has_partitions = False
    def read(self, offset, size):
        return bytes(size)
"""


def lay_own(work: Path) -> None:
    (work / "own.py").write_text(OWN_DISK)


@each_way(run_with("--grow", "--mount", "ramdisk:32M=/dev/rd", "--mount", "py:./own.py:Own=/dev/own"))
def test_what_is_on_a_device_of_the_view_is_mounted(bench: Bench, way: Way) -> None:
    needs("sfdisk", "mkfs.ext4", "fuse2fs", "e2fsck")
    bench.prepare = lay_own
    found = bench.inside(way, sh(ON_A_DEVICE), limit=100)
    told = ["a/f", "apparently in use", "busy", "0", "hello", "0", "in no file"]
    assert found.lines == told, found.stderr
