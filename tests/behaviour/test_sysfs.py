"""Sysfs: what /sys tells of devices, interfaces and CPUs is what the view has, for each process its own."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest

from behaviour.harness import Bench, run_with
from diorama.view.system import Cpus

DISK = run_with("--mount", "disk:disk=/dev/hda", "--mount", "null:=/dev/nil:major=60,minor=7")
GROWING = run_with("--grow")
TOLD = [
    Path("/sys", name)
    for name in (
        "devices/diorama", "class/block", "dev/block", "block", "class/net", "devices/virtual/net",
        "devices/system/cpu/cpu2",
    )
]  # fmt: skip
COUNT = "grep ' /sys/' /proc/self/mountinfo | grep -vc ' /sys/fs/fuse/connections '"
"""The mounts there, but for the one that every view has which grows."""
PARTED = "printf 'label: gpt\\nsize=20M\\n\\n' | sfdisk -q /dev/hda"
DIORAMA = f"{sys.executable} -P -m diorama"

# What is listed is what is found, of one type and number; files can be read, and links lead somewhere.
WALK = """
import errno, os, stat, sys
for top in sys.argv[1:]:
    found = 0
    for path, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in ('power', 'cpuidle', 'hotplug', 'cpufreq')]
        with os.scandir(path) as entries:
            for entry in entries:
                status = os.lstat(entry.path)
                found += 1
                assert entry.inode() == status.st_ino, entry.path
                assert entry.is_dir(follow_symlinks=False) == stat.S_ISDIR(status.st_mode), entry.path
                if entry.is_symlink():
                    assert len(os.readlink(entry.path)) == status.st_size, entry.path
                    if entry.name in ('subsystem', 'device') or path == top:
                        os.stat(entry.path)
                elif entry.is_file():
                    try:
                        with open(entry.path, 'rb') as file:
                            assert file.read() or entry.name in ('cpulist', 'uevent'), entry.path
                    except OSError as error:
                        assert error.errno in (errno.EINVAL, errno.EACCES), entry.path
        assert os.stat(path).st_dev == os.stat('/sys').st_dev and not os.path.ismount(path), path
    print('walked' if found else top)
"""

DESCRIPTORS = """
import os
top = os.open('/sys/class', os.O_RDONLY)
file = os.open('net/lo/mtu', os.O_RDONLY, dir_fd=top)
print(os.read(file, 100).decode().strip(), os.readlink('/proc/self/fd/%d' % file))
net = os.open('net', os.O_RDONLY, dir_fd=top)
print(*sorted(os.listdir(net)), os.readlink('lo', dir_fd=net))
os.fchdir(net)
print(os.getcwd(), 'net' in os.listdir('..'), os.path.realpath('lo/..'))
os.chdir('lo')
print(os.getcwd(), os.stat('../eth0/mtu').st_mode & 0o777, os.path.samefile('..', '/sys/devices/virtual/net'))
for call, path in (open, 'mtu'), (os.mkdir, 'x'), (os.stat, '../no'), (os.rmdir, '../lo'):
    try: call(path, 'w') if call is open else call(path)
    except OSError as error: print(error.errno, end=' ')
print('sys' in ''.join(line.split()[4] for line in open('/proc/self/mountinfo') if ' diorama' in line))
"""


def lay(work: Path) -> None:
    (work / "disk").write_bytes(b"")
    os.truncate(work / "disk", 64 << 20)


def lan() -> str:
    return f"lan:t{uuid.uuid4().hex[:12]}"


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin") is None:
            pytest.skip(f"needs {program}")


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_disks_and_partitions_are_listed_as_programs_read_them(bench: Bench, engine: str) -> None:
    way = DISK.on(engine)
    needs("sfdisk", "lsblk")
    bench.prepare = lay
    show = "lsblk -rno NAME,PKNAME,MAJ:MIN,SIZE,RO,TYPE,LOG-SEC,START,MODEL /dev/hda"
    listed = "ls /sys/block | grep ^hd; ls /sys/class/block /sys/dev/block | grep -E '^(hd|3:25)'"
    found = bench.inside(way, sh(f"{PARTED}; {show}; {listed}; sfdisk -q --delete /dev/hda; {listed}"))
    assert found.lines[:2] == ["hda  3:256 64M 0 disk 512  Diorama", "hda1 hda 3:257 20M 0 part 512 2048 "]
    assert found.lines[2:] == ["hda", "hda", "hda1", "3:256", "3:257", "hda", "hda", "3:256"], found.stderr


def test_what_belongs_to_devices_is_found_from_each_of_them(bench: Bench, engine: str) -> None:
    way = DISK.on(engine)
    needs("sfdisk")
    bench.prepare = lay
    script = (
        f"{PARTED}; cd /sys/dev/block/3:257; pwd -P; cat partition start size ro dev uevent;"
        "cat ../queue/rotational; readlink -f ../device subsystem; cat /sys/dev/char/60:7/uevent;"
        " tail -n 1 /proc/partitions | xargs;"
        "grep -E '^ +(3|60) (disk|null)' /proc/devices | xargs"
    )
    place = "/sys/devices/diorama/hda/block/hda/hda1"
    event = ["MAJOR=3", "MINOR=257", "DEVNAME=hda1", "DEVTYPE=partition", "PARTN=1"]
    special = ["MAJOR=60", "MINOR=7", "DEVNAME=nil"]
    assert bench.inside(way, sh(script)).lines == [
        place, "1", "2048", "40960", "0", "3:257", *event, "0", "/sys/devices/diorama/hda",
        "/sys/class/block", *special, "3 257 20480 hda1", "60 null 3 disk",
    ]  # fmt: skip


def test_what_the_host_has_besides_is_there(bench: Bench, engine: str) -> None:
    bench.prepare = lay
    others = "grep -vE '^(hda|3:256|diorama|loop.*|7:.*)$'"  # loop devices come and go
    script = f"ls /sys/block /sys/class/block /sys/dev/block /sys/devices | {others}"
    bench.same(DISK.on(engine), sh(script))


def test_what_is_listed_is_found_and_can_be_read(bench: Bench, engine: str) -> None:
    bench.prepare = lay
    disk = ("--mount", "disk:disk=/dev/hda", "--net", f"{lan()},host=a")
    way = run_with(*disk, "--cpus", "3", "--memory", "3G").on(engine)
    found = bench.inside(way, [sys.executable, "-c", WALK, *map(str, TOLD)])
    assert found.lines == ["walked"] * len(TOLD), found.stderr


def test_each_process_has_the_interfaces_of_its_own_stack(bench: Bench, engine: str) -> None:
    way = run_with("--mount", f"{lan()}=/dev/net/lan", "--mount", "none:=/dev/net/none").on(engine)
    show = "cd /sys/class/net; cat */ifindex */operstate | xargs; ls /sys/devices/virtual/net | xargs"
    inner = (
        "tail -n +3 /proc/net/dev; ls -A /sys/class/net /sys/devices/virtual/net;"
        " cat /sys/class/net/lo/mtu; echo $?"
    )
    script = (
        f"ls /sys/class/net | xargs; {DIORAMA} stack /dev/net/lan -- sh -c '{show}';"
        f"{DIORAMA} stack /dev/net/none -- sh -c '{inner}'"
    )
    own = [bench.native(sh("ls /sys/class/net | xargs")).lines]
    found = bench.inside(way, sh(script))
    own.append(bench.native(sh("ls /sys/class/net | xargs")).lines)
    assert found.lines[:1] in own or own[0] != own[1]
    assert found.lines[1:] == [
        "2 1 up unknown", "eth0 lo", "/sys/class/net:", "", "/sys/devices/virtual/net:", "1",
    ]  # fmt: skip


def test_interfaces_are_found_by_paths_and_descriptors(bench: Bench, engine: str) -> None:
    way = run_with("--net", f"{lan()},host=a").on(engine)
    found = bench.inside(way, [sys.executable, "-c", DESCRIPTORS])
    assert found.lines == [
        "65536 /sys/devices/virtual/net/lo/mtu",
        "eth0 lo ../../devices/virtual/net/lo",
        "/sys/class/net True /sys/devices/virtual/net",
        "/sys/devices/virtual/net/lo 292 True",
        "30 30 2 30 False",
    ], found.stderr


def test_all_that_is_told_of_interfaces_agrees(bench: Bench, engine: str) -> None:
    way = run_with("--net", f"{lan()},host=a").on(engine)
    needs("ip")
    script = (
        "cd /sys/class/net/eth0; cat address mtu type flags;"
        ' ip -o link show eth0 | grep -c "mtu $(cat mtu) .*'
        '$(cat operstate | tr a-z A-Z) .*$(cat address)"; cat ../lo/speed; echo $?'
    )
    found = bench.inside(way, sh(script))
    assert found.lines[1:] == ["65535", "1", "0x1003", "1", "1"], found.stderr
    assert found.stderr.endswith("Invalid argument\n")


def test_what_is_mounted_later_is_told_of(bench: Bench, engine: str) -> None:
    needs("mount", "umount")
    way = GROWING.on(engine)
    script = (
        "show() { ls /sys/block /sys/devices | grep -E '^(rdx|diorama)$';"
        " grep -o rdx /proc/partitions; echo; }; show;"
        f"{DIORAMA} mount ramdisk:8M /dev/rdx; show; mkdir x; mount --bind /sys/class x;"
        f" ls x/block | grep rdx; umount x; echo $?; {DIORAMA} umount /dev/rdx; "
        "ls /sys/block /sys/class/block | grep rdx; umount /sys/block; echo $?;"
        f" {COUNT}"
    )
    mounts = bench.native(sh(COUNT)).lines
    found = bench.inside(way, sh(script))
    assert found.lines[:-2] == ["", "rdx", "diorama", "rdx", "", "rdx", "0"], found.stderr
    assert found.lines[-2] != "0"
    assert found.lines[-1:] == mounts


@pytest.mark.parametrize("count", [1, 70])
def test_cpus_are_as_many_everywhere(bench: Bench, engine: str, count: int) -> None:
    way = run_with("--memory", "3G", "--cpus", str(count)).on(engine)
    everything = Cpus(count, (1 << count) - 1)
    script = (
        "cd /sys/devices/system/cpu; cat online possible present; ls | grep -c '^cpu[0-9]'; cd cpu0;"
        "cat topology/core_siblings_list topology/thread_siblings_list topology/core_siblings; cd ..;"
        f"cat cpu{count - 1}/topology/core_id; ls -d cpu{count}; nproc --all; lscpu -p=CPU | grep -vc '#'"
    )
    found = bench.inside(way, sh(script))
    listed = everything.as_list.decode()
    assert found.lines == [
        *[listed] * 3, str(count), listed, "0", everything.as_words.decode(), str(count - 1),
        *[str(count)] * 2,
    ], found.stderr  # fmt: skip


def test_nodes_have_the_cpus_and_the_memory_that_are_told(bench: Bench, engine: str) -> None:
    way = run_with("--cpus", "3", "--memory", "3G").on(engine)
    if not os.path.exists("/sys/devices/system/node/node0/meminfo"):
        pytest.skip("needs a kernel with NUMA nodes")
    script = (
        "cd /sys/devices/system/node; cat node*/cpulist | xargs; ls -d node*/cpu[0-9]* | grep -c .;"
        " awk '/MemTotal/ {total += $4} END {print int(total / 1024 + 0.5)}' node*/meminfo"
    )
    found = bench.inside(way, sh(script))
    assert found.lines[1:] == ["3", "3072"], found.stderr


def test_binds_that_are_older_show_it_too(bench: Bench, engine: str) -> None:
    bench.prepare = lambda work: (work / "net").mkdir()
    binds = [word for bind in ("/sys=net", "/=/mnt", "/sys/class=/srv") for word in ("--mount", bind)]
    way = run_with(*binds, "--net", "none:").on(engine)
    listed = ["net/class/net", "/mnt/sys/class/net", "/srv/net", "/sys/class/net"]
    out = bench.inside(way, ["sh", "-c", f"ls -d {' '.join(listed)} && ls -A {' '.join(listed)}"])
    assert [line for line in out.lines if line and not line.endswith(":")] == sorted(listed), out.stderr
