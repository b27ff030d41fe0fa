"""What a clone shares and what it copies."""

from __future__ import annotations

from diorama.view.task import CLONE_FILES, CLONE_FS
from view.support import World


def test_clone_fs_shares_root_and_current_directory() -> None:
    world = World({"/src": None, "/mnt": None})
    mount = world.bind("/src", "/mnt")
    shared = world.task.child(13, 10, CLONE_FS)
    copied = world.task.child(14, 14, 0)
    world.task.context.cwd_mount = mount
    assert shared.context.cwd_mount is mount
    assert copied.context.cwd_mount is world.tree.root


def test_clone_files_shares_what_is_known_of_descriptors() -> None:
    world = World({"/src": None, "/mnt": None})
    mount = world.bind("/src", "/mnt")
    shared = world.task.child(13, 10, CLONE_FILES)
    copied = world.task.child(14, 14, 0)
    world.task.opened[1, 2] = mount
    assert shared.opened == {(1, 2): mount}
    assert copied.opened == {}


def test_unshare_ends_the_sharing() -> None:
    world = World({"/src": None, "/mnt": None})
    child = world.task.child(13, 10, CLONE_FS)
    child.unshare(CLONE_FS)
    world.task.context.cwd_mount = world.bind("/src", "/mnt")
    assert child.context.cwd_mount is world.tree.root


def test_a_thread_id_that_passed_on_is_not_forgotten_with_its_old_owner() -> None:
    world = World()
    leader = world.tasks.enter(world.task.child(20, 20, 0))
    thread = world.tasks.enter(leader.child(21, 20, CLONE_FS))
    world.tasks.rename(thread, 20)
    world.tasks.leave(leader)
    assert world.tasks.find(20) is thread
    assert world.tasks.find(21) is None
