"""Sysfs: what the directories have, for networks, disks and machines of any kind."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from diorama.abi.netdevice import IFF_UP
from diorama.interfaces.localstory import LocalStory, loopback
from diorama.interfaces.network import Endpoint, Network
from diorama.modules.filesystems.sysfs.filesystem import SystemFiles
from diorama.modules.filesystems.sysfs.links import has_own_links, shows_class, shows_devices
from diorama.modules.filesystems.sysfs.nodes import File, HostFolder, Lazy, Link, Names, text
from diorama.modules.networks.none import NoNetwork
from diorama.view.asking import asked, asks
from diorama.view.host import RealHost
from diorama.view.inodes import Inodes
from diorama.view.mounts import MountTree
from diorama.view.stacks import Stacks
from diorama.view.task import Task, Tasks
from interfaces.office import ETH0, office


class Office(Network):
    """A network with a story."""

    def __init__(self, story: LocalStory) -> None:
        self.story = story

    def make(self, family: int, type: int, protocol: int) -> Endpoint:
        raise NotImplementedError


@pytest.fixture
def task() -> Iterator[Task]:
    """Who asks on this thread."""
    tasks = Tasks(MountTree(), RealHost(), Inodes())
    made = tasks.first(os.getpid())
    asks(tasks, made)
    yield made
    asked()


def find(files: SystemFiles, path: str) -> int:
    inode = files.root
    for name in filter(None, path.split("/")):
        inode = files.lookup(inode, name.encode())
    return inode


def read(files: SystemFiles, path: str) -> bytes:
    """A file's content, which must be as long as its status says."""
    inode = find(files, path)
    size = files.attributes(inode).size
    fd = os.memfd_create("content")
    try:
        files.copy_content(inode, fd)
        content = os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
    assert len(content) == size
    return content


def test_the_interfaces_are_those_of_who_asks(task: Task) -> None:
    files, links = SystemFiles(shows_devices), SystemFiles(shows_class)
    first, second = Office(office()), Office(LocalStory([loopback()]))
    task.stacks = Stacks(first)
    assert has_own_links(task)
    assert [entry.name for entry in files.entries(files.root)] == [b"lo", b"eth0"]
    assert links.readlink(find(links, "eth0")) == b"../../devices/virtual/net/eth0"
    mine = find(files, "lo/mtu")
    task.stacks = Stacks(second)
    assert [entry.name for entry in links.entries(links.root)] == [b"lo"]
    assert find(files, "lo/mtu") != mine
    task.stacks = Stacks(NoNetwork())
    assert has_own_links(task)
    assert not files.entries(files.root)
    task.stacks = Stacks()
    assert not has_own_links(task)


def test_an_interface_is_told_as_it_is_now(task: Task) -> None:
    story = office()
    task.stacks = Stacks(Office(story))
    files = SystemFiles(shows_devices)
    assert read(files, "eth0/mtu") == b"1400\n"
    assert (read(files, "eth0/address"), read(files, "eth0/operstate")) == (b"02:00:00:00:00:01\n", b"up\n")
    assert read(files, "eth0/uevent") == b"INTERFACE=eth0\nIFINDEX=3\n"
    before = files.attributes(find(files, "eth0/mtu"))
    assert files.attributes(find(files, "eth0/mtu")) == before
    story.set_link(ETH0, mtu=1300, flags=0)
    assert files.attributes(find(files, "eth0/mtu")).modified > before.modified
    assert (read(files, "eth0/mtu"), read(files, "eth0/operstate")) == (b"1300\n", b"down\n")
    assert int(read(files, "eth0/flags"), 16) & IFF_UP == 0
    with pytest.raises(OSError, match="Invalid"):
        read(files, "eth0/carrier")
    story.set_link(ETH0, name="wan0")
    assert read(files, "wan0/ifindex") == b"3\n"
    with pytest.raises(FileNotFoundError):
        find(files, "eth0")


def test_a_folder_of_the_host_has_what_is_told_otherwise(tmp_path: Path) -> None:
    for name in ("cpu0", "cpu1", "power"):
        (tmp_path / name).mkdir()
    (tmp_path / "power/state").write_text("on\n")
    (tmp_path / "link").symlink_to("power")
    (tmp_path / "online").write_text("0-1\n")
    made: list[bytes] = []

    def make(name: bytes) -> Names:
        made.append(name)
        return Names({b"id": text(name)})

    nodes = Lazy([b"cpu0"], make, {b"online": text("0")})
    top = HostFolder(os.fsencode(tmp_path), nodes, lambda name: name.startswith(b"cpu"))
    files = SystemFiles(lambda: (None, top))
    assert {entry.name for entry in files.entries(files.root)} == {b"cpu0", b"power", b"link", b"online"}
    assert (read(files, "online"), read(files, "cpu0/id"), read(files, "power/state")) == (
        b"0\n",
        b"cpu0\n",
        b"on\n",
    )
    assert files.readlink(find(files, "link")) == b"power"
    assert stat.S_IMODE(files.attributes(find(files, "power/state")).mode) == 0o444
    assert made == [b"cpu0"]
    for path in ("cpu1", "power/no", "cpu0/id/x"):
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            find(files, path)


def test_what_cannot_be_read_any_more_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    files = SystemFiles(lambda: (None, Names({b"a": File((tmp_path / "a").read_bytes), b"b": Link(b"a")})))
    assert read(files, "a") == b"1\n"
    with pytest.raises(OSError, match="Invalid"):
        files.readlink(find(files, "a"))
    (tmp_path / "a").unlink()
    assert files.attributes(find(files, "a")).size == 0
    with pytest.raises(FileNotFoundError):
        read(files, "a")
