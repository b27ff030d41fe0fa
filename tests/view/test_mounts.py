"""Mount trees: what is on top of what, what a loose mount is, and namespaces of one's own."""

from __future__ import annotations

import stat

import pytest

from diorama.interfaces.tree import Tree
from diorama.testing.fakes import FakeHost
from diorama.view.layers import Layers, LayersBelow
from diorama.view.mounts import Mount, MountTree, Place, below, copy_mounts
from diorama.view.task import CLONE_FS, CLONE_NEWNS
from view.support import World

HOST = {"/a/x/deep": None, "/b/y": None, "/c": None, "/mnt/inner": None, "/other": None}


@pytest.fixture
def world() -> World:
    return World(HOST)


def seen(world: World, path: str) -> bytes:
    """The host path that a path leads to."""
    return world.resolve(path).host_path


def test_the_last_mount_on_a_place_is_seen_until_it_is_taken_away(world: World) -> None:
    first = world.bind("/a", "/mnt")
    second = world.bind("/b", "/mnt")
    assert seen(world, "/mnt/y") == b"/b/y"
    assert second.point is not None
    assert second.point.mount is first
    assert world.tree.detach(second) == [second]
    assert seen(world, "/mnt/x") == b"/a/x"
    world.tree.detach(first)
    assert seen(world, "/mnt/inner") == b"/mnt/inner"
    assert world.tree.mounts == (world.tree.root,)


def test_what_is_mounted_on_a_mount_goes_with_it_and_each_is_loose_then(world: World) -> None:
    outer = world.bind("/a", "/mnt")
    inner = world.bind("/b", "/mnt/x")
    assert world.tree.detach(outer) == [outer, inner]
    assert outer.is_loose
    assert inner.is_loose
    assert not outer.children
    assert inner.point is None
    assert world.tree.mounts == (world.tree.root,)


def test_the_way_up_ends_at_the_root_of_a_loose_mount(world: World) -> None:
    mount = world.bind("/a", "/mnt")
    start = world.resolve("/mnt/x/deep")
    assert start.is_reachable
    assert start.view_path == b"/mnt/x/deep"
    world.tree.detach(mount)
    found = world.resolve("../../../..", start=start)
    assert (found.mount, found.path) == (mount, b"")
    assert not start.is_reachable
    assert start.view_path == b"/x/deep"
    assert world.resolve("../../x", start=start).host_path == b"/a/x"


def test_a_moved_mount_takes_along_what_is_mounted_on_it(world: World) -> None:
    outer = world.bind("/a", "/mnt")
    world.bind("/b", "/mnt/x")
    world.tree.move(outer, world.resolve("/other"))
    assert seen(world, "/other/x/y") == b"/b/y"
    assert seen(world, "/mnt/inner") == b"/mnt/inner"
    assert world.resolve("/other/x").view_path == b"/other/x"
    assert len(world.tree.mounts) == 3


def test_what_is_below_the_top_of_a_stack_can_be_moved_from_under_it(world: World) -> None:
    first = world.bind("/a", "/mnt")
    second = world.bind("/b", "/mnt")
    world.tree.move(second, world.resolve("/other"))
    assert (seen(world, "/mnt/x"), seen(world, "/other/y")) == (b"/a/x", b"/b/y")
    assert first.children == {}


def test_another_namespace_begins_with_the_same_and_goes_its_own_way(world: World) -> None:
    outer = world.bind("/a", "/mnt")
    inner = world.bind("/b", "/mnt/x")
    tree, twins = world.tree.copy()
    assert [twins[mount] for mount in world.tree.mounts] == list(tree.mounts)
    world.tree.detach(outer)
    top = MountTree.top(Place(tree.root, b"/mnt"))
    assert top.mount is twins[outer]
    assert top.mount.host == b"/a"
    assert MountTree.top(Place(top.mount, b"/x")).mount is twins[inner]
    tree.attach(Mount(host=b"/c"), Place(tree.root, b"/other"))
    assert seen(world, "/other") == b"/other"
    assert twins[world.tree.root].is_bottom
    assert tree.root is not world.tree.root


def test_a_child_in_a_new_namespace_stands_in_the_copies(world: World) -> None:
    mount, tree = world.synthetic("/mnt", f="text")
    child = world.tasks.enter(world.task.child(20, 20, CLONE_NEWNS))
    grandchild = world.tasks.enter(child.child(21, 21, CLONE_NEWNS))
    assert len({world.task.tree, child.tree, grandchild.tree}) == 3
    assert grandchild.child(22, 22, 0).tree is grandchild.tree
    place = Place(mount, b"", tree.root)
    ours = grandchild.context.here(place)
    assert ours.mount in grandchild.tree.mounts
    assert ours.mount.filesystem is tree
    assert world.task.context.here(place) is place
    assert not world.tasks.is_plain(child)
    assert world.tasks.is_plain(world.task)


def test_unsharing_the_mounts_ends_the_sharing_of_root_and_directory(world: World) -> None:
    thread = world.task.child(13, 10, CLONE_FS)
    thread.unshare(CLONE_NEWNS)
    thread.tree.attach(Mount(host=b"/b"), Place(thread.tree.root, b"/mnt"))
    assert thread.root.mount is thread.tree.root
    assert thread.context is not world.task.context
    assert seen(world, "/mnt/inner") == b"/mnt/inner"
    found = world.resolver.resolve(thread, thread.root, b"/mnt/y")
    assert found.host_path == b"/b/y"
    assert found.touched


def test_a_part_of_a_mount_shows_what_is_below_a_place() -> None:
    tree = Tree("test")
    tree.add_file(b"d/e/f", b"text")
    whole = Mount(filesystem=tree, source="made", read_only=True)
    inode = tree.find(b"d")
    part = whole.part(Place(whole, b"/d", inode), stat.S_IFDIR)
    assert (part.root.inode, part.subtree, part.device) == (inode, b"/d", whole.device)
    assert part.read_only
    assert part.source == "made"
    assert part.number != whole.number
    deeper = part.part(Place(part, b"/e", tree.find(b"d/e")), stat.S_IFDIR)
    assert deeper.subtree == b"/d/e"
    bind = Mount(host=b"/a").part(Place(Mount(host=b"/a"), b"/x"), stat.S_IFDIR)
    assert bind.host == b"/a/x"
    assert bind.subtree == b""


def test_names_are_looked_up_from_the_root_of_a_part(world: World) -> None:
    mount, tree = world.synthetic("/mnt", d__e__f="text")
    part = mount.part(world.resolve("/mnt/d"), stat.S_IFDIR)
    world.mount(part, "/other")
    found = world.resolve("/other/e/f")
    assert found.inode == tree.find(b"d/e/f")
    start = world.resolve("/other/e")
    assert world.resolve("../e/../e/f", start=start).inode == found.inode


def test_submounts_are_copied_where_they_are_below_the_part(world: World) -> None:
    outer = world.bind("/a", "/mnt")
    inner = world.bind("/b", "/mnt/x/deep")
    copies = copy_mounts(outer, outer.part(Place(outer, b"/x"), stat.S_IFDIR), b"/x")
    top = copies[outer]
    assert set(copies) == {outer, inner}
    assert [*below(top)] == [top, copies[inner]]
    world.tree.attach(top, world.resolve("/other"))
    assert seen(world, "/other/deep/y") == b"/b/y"
    assert set(copy_mounts(outer, outer.part(Place(outer, b"/y"), stat.S_IFDIR), b"/y")) == {outer}


class Prefixed(Layers):
    """Layers that are one directory."""

    def __init__(self, host: FakeHost, top: bytes) -> None:
        self.host, self.top = host, top

    def look(self, path: bytes):  # type: ignore[no-untyped-def]
        return self.host.lstat(self.top + path)

    def readlink(self, path: bytes) -> bytes:
        return self.host.readlink(self.top + path)

    def real(self, path: bytes) -> bytes:
        return self.top + path

    def inside(self, real: bytes) -> bytes | None:
        return real[len(self.top) :] if real.startswith(self.top) else None

    def close(self) -> None:
        return


def test_a_part_of_layers_is_layers() -> None:
    whole = Mount(layers=Prefixed(FakeHost({"/low/d/link": b"target", "/low/d/e": None}), b"/low"))
    part = whole.part(Place(whole, b"/d"), stat.S_IFDIR)
    assert isinstance(part.layers, LayersBelow)
    assert part.subtree == b"/d"
    assert part.real(b"/e") == b"/low/d/e"
    assert part.inside(b"/low/d/e") == b"/e"
    assert part.inside(b"/low/d") == b""
    assert part.inside(b"/low/dd") is None
    assert part.inside(b"/elsewhere") is None
    assert part.layers.readlink(b"/link") == b"target"
    assert stat.S_ISDIR(part.layers.look(b"/e").st_mode)
    assert whole.part(whole.root, stat.S_IFDIR).layers is whole.layers
