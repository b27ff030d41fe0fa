"""Names of places, and what hides them."""

from __future__ import annotations

import pytest

from diorama.view.mounts import Mount, Place
from diorama.view.naming import is_covered, is_visible, path_from, place_of_name
from view.support import World


@pytest.fixture
def world() -> World:
    return World({"/src/sub/file": "x", "/at": None, "/other/at": None, "/jail/etc": None})


def named(world: World, real: bytes) -> bytes | None:
    place = place_of_name(world.tree, world.task.root, real)
    return None if place is None else path_from(world.task.root, place)


def test_a_host_path_is_its_own_name_unless_it_is_hidden(world: World) -> None:
    world.bind("/src", "/at")
    assert named(world, b"/src/sub/file") == b"/src/sub/file"
    assert named(world, b"/at/file") is None
    assert named(world, b"") == b"/"


def test_what_is_hidden_has_the_name_of_the_mount_that_shows_it(world: World) -> None:
    world.bind("/src", "/at")
    world.synthetic("/src")
    assert named(world, b"/src/sub/file") == b"/at/sub/file"
    assert named(world, b"/src") == b"/at"
    assert named(world, b"/srcx") == b"/srcx"


def test_under_another_root_names_begin_there(world: World) -> None:
    world.tree.attach(Mount(host=b"/jail"), world.tree.root.root)
    world.task.context.root = world.tree.base.root
    assert named(world, b"/jail/etc") == b"/etc"
    assert named(world, b"/jail") == b"/"
    assert named(world, b"/src") is None
    world.bind("/src", "/etc")
    assert named(world, b"/src/sub") == b"/etc/sub"
    assert named(world, b"/jail/etc/x") is None


def test_a_changed_root_ends_names(world: World) -> None:
    mount = world.bind("/src", "/at")
    sub = Place(mount, b"/sub")
    assert path_from(sub, Place(mount, b"/sub/file")) == b"/file"
    assert path_from(sub, sub) == b"/"
    assert path_from(sub, Place(mount, b"/subject")) is None
    assert path_from(world.task.root, Place(mount, b"/sub/file")) == b"/at/sub/file"


def test_what_is_mounted_above_covers(world: World) -> None:
    lower = world.bind("/src", "/at/")
    upper = world.bind("/other", "/at/sub")
    assert is_covered(lower, b"/sub")
    assert is_covered(lower, b"/sub/x")
    assert not is_covered(lower, b"/subx")
    assert not is_covered(lower, b"/sub", exactly=False)
    assert is_visible(upper)
    top = world.bind("/jail", "/at")
    assert is_visible(top)
    assert is_visible(lower)
    assert not is_visible(upper)
    assert is_covered(lower, b"")
    assert is_covered(lower, b"/any")
