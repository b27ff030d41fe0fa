"""The mounts that a task sees, as lines."""

from __future__ import annotations

import pytest

from diorama.abi.mountinfo import MountLine
from diorama.view.mounts import Mount, Place
from diorama.view.table import MountTable, Row
from view.support import World

HOST_LINES = rb"""
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard
21 20 0:20 / /dev rw,nosuid - devtmpfs dev rw
22 21 0:21 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw
23 20 8:2 /data /src ro,noatime - xfs /dev/sda2 rw,quota
24 23 0:30 / /src/inner rw - tmpfs scratch rw
25 24 0:31 / /src/inner rw - tmpfs top rw
"""


@pytest.fixture
def world() -> World:
    return World({"/dev/shm": None, "/src/inner/x": "", "/src/sub": None, "/at": None, "/jail/etc": None})


LINES = [MountLine.parse(line) for line in HOST_LINES.splitlines() if line]


def rows(world: World, table: MountTable | None = None) -> list[Row]:
    return (table or MountTable(world.host)).rows(world.tree, world.task.root, LINES)


def shown(world: World) -> dict[bytes, MountLine]:
    return {row.line.point: row.line for row in rows(world)}


def test_without_mounts_it_is_the_hosts(world: World) -> None:
    assert b"".join(row.line.info() for row in rows(world)) == HOST_LINES.lstrip()


def test_a_host_directory_is_shown_as_the_kernel_shows_a_bind_mount(world: World) -> None:
    mount = world.bind("/src/sub", "/at", read_only=True)
    line = shown(world)[b"/at"]
    assert line.info() == b"%d 20 8:2 /data/sub /at ro,noatime - xfs /dev/sda2 rw,quota\n" % mount.id
    assert line.mount() == b"/dev/sda2 /at xfs ro,noatime,quota 0 0\n"


def test_what_is_mounted_below_a_host_directory_is_shown_with_it(world: World) -> None:
    mount, table = world.bind("/src", "/at"), MountTable(world.host)
    found = [row for row in rows(world, table) if row.line.point.startswith(b"/at/")]
    lower, upper = (row.line for row in found)
    assert (lower.point, lower.parent, lower.source) == (b"/at/inner", mount.id, b"scratch")
    assert (upper.point, upper.parent, upper.source) == (b"/at/inner", lower.id, b"top")
    assert [row.inner for row in found] == [24, 25]
    inside = world.bind("/jail", "/at/inner/x")
    last = rows(world, table)[-1].line
    assert (last.point, last.parent, last.id) == (b"/at/inner/x", upper.id, inside.id)
    assert len({row.line.id for row in rows(world)}) == len(rows(world))


def test_ids_stay_what_they_are(world: World) -> None:
    world.bind("/src", "/at")
    table = MountTable(world.host)
    assert rows(world, table) == rows(world, table)


def test_what_is_hidden_is_not_shown(world: World) -> None:
    world.synthetic("/dev")
    found = shown(world)
    assert b"/dev/shm" not in found
    lower, upper = (row.line for row in rows(world) if row.line.point == b"/dev")
    assert (lower.id, upper.parent) == (21, 21)
    assert (upper.type, upper.device[0], upper.root) == (b"none", 0, b"/")


def test_under_another_root_only_what_is_in_it_is_shown(world: World) -> None:
    world.tree.attach(Mount(host=b"/jail"), world.tree.root.root)
    world.task.context.root = world.tree.base.root
    world.bind("/src", "/etc")
    assert list(shown(world)) == [b"/", b"/etc", b"/etc/inner"]
    assert (shown(world)[b"/"].root, shown(world)[b"/"].parent) == (b"/jail", 20)


def test_a_changed_root_shows_what_is_below_it(world: World) -> None:
    mount = world.bind("/src", "/at")
    world.task.context.root = mount.root
    assert list(shown(world)) == [b"/", b"/inner"]
    world.task.context.root = Place(mount, b"/sub")
    assert not shown(world)
    world.task.context.root = Place(world.tree.root, b"/dev")
    assert list(shown(world)) == [b"/", b"/shm"]
