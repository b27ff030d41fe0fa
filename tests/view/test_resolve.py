"""Paths lead where the kernel would lead, in the view."""

from __future__ import annotations

import errno
import stat

import pytest

from diorama.abi.fcntl import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from diorama.testing.fakes import FakeStatus
from diorama.view.mounts import Mount
from diorama.view.resolve import ResolutionError
from view.support import World

HOST = {
    "/etc/passwd": "root",
    "/home/me/data": None,
    "/mnt": None,
    "/src/sub/file": "text",
    "/src/absolute": b"/etc/passwd",
    "/src/up": b"../etc",
    "/lib": b"usr/lib",
    "/usr/lib/libc": "elf",
    "/loop": b"loop",
}


@pytest.fixture
def world() -> World:
    return World(HOST)


def code(world: World, path: str, **options: bool | int) -> int | None:
    with pytest.raises(ResolutionError) as caught:
        world.resolve(path, **options)
    return caught.value.errno


def test_a_path_of_the_host_is_not_touched(world: World) -> None:
    place = world.resolve("/etc/passwd")
    assert place.host_path == b"/etc/passwd"
    assert not place.touched


def test_root_is_itself_and_its_own_parent(world: World) -> None:
    assert world.resolve("/").host_path == b"/"
    assert world.resolve("/../..//.").host_path == b"/"


def test_symbolic_links_are_followed(world: World) -> None:
    assert world.resolve("/lib/libc").host_path == b"/usr/lib/libc"


def test_a_link_at_the_end_is_followed_on_request_or_by_a_slash(world: World) -> None:
    assert world.resolve("/lib", follow=False).host_path == b"/lib"
    assert world.resolve("/lib").host_path == b"/usr/lib"
    assert world.resolve("/lib/", follow=False).host_path == b"/usr/lib"


def test_a_loop_of_links_ends(world: World) -> None:
    assert code(world, "/loop") == errno.ELOOP
    assert world.resolve("/loop", follow=False).host_path == b"/loop"


def test_a_missing_last_component_is_a_place(world: World) -> None:
    place = world.resolve("/etc/new")
    assert place.missing
    assert place.host_path == b"/etc/new"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", errno.ENOENT),
        ("/no/such", errno.ENOENT),
        ("/etc/passwd/x", errno.ENOTDIR),
        ("/etc/passwd/.", errno.ENOTDIR),
        ("/etc/passwd/", errno.ENOTDIR),
        ("/" + "a" * 4096, errno.ENAMETOOLONG),
    ],
)
def test_what_leads_nowhere(world: World, path: str, expected: int) -> None:
    assert code(world, path) == expected


def test_a_bind_mount_leads_to_its_source(world: World) -> None:
    mount = world.bind("/src", "/mnt")
    place = world.resolve("/mnt/sub/file")
    assert place.mount is mount
    assert place.host_path == b"/src/sub/file"
    assert place.view_path == b"/mnt/sub/file"
    assert place.touched


def test_links_in_a_bind_mount_are_read_in_the_view(world: World) -> None:
    world.bind("/src", "/mnt")
    assert world.resolve("/mnt/absolute").host_path == b"/etc/passwd"
    assert world.resolve("/mnt/up/passwd").host_path == b"/etc/passwd"
    assert world.resolve("/mnt/absolute").touched


def test_dot_dot_onto_a_mount_has_met_it(world: World) -> None:
    below = world.resolve("/src/sub")
    world.bind("/etc", "/src")
    place = world.resolve("..", start=below)
    assert (place.host_path, place.touched) == (b"/etc", True)
    with pytest.raises(ResolutionError) as error:
        world.resolve("../none/x", start=below)
    assert error.value.touched


def test_dot_dot_leaves_a_mount_by_its_mount_point(world: World) -> None:
    world.bind("/src", "/home/me/data")
    assert world.resolve("/home/me/data/sub/../..").host_path == b"/home/me"


def test_the_last_mount_on_a_place_is_on_top(world: World) -> None:
    world.bind("/src", "/mnt")
    world.bind("/etc", "/mnt")
    assert world.resolve("/mnt/passwd").host_path == b"/etc/passwd"
    assert world.resolve("/mnt/..").host_path == b"/"


def test_a_file_can_be_mounted_on_a_file(world: World) -> None:
    world.mount(Mount(host=b"/src/sub/file", kind=stat.S_IFREG), "/etc/passwd")
    assert world.resolve("/etc/passwd").host_path == b"/src/sub/file"
    assert code(world, "/etc/passwd/") == errno.ENOTDIR


def test_a_mount_point_may_be_missing(world: World) -> None:
    world.bind("/src", "/mnt/new")
    assert world.resolve("/mnt/new/sub/file").host_path == b"/src/sub/file"


def test_mounts_nest(world: World) -> None:
    _, tree = world.synthetic("/mnt", a="text")
    tree.add_directory(b"inner")
    world.bind("/src", "/mnt/inner")
    place = world.resolve("/mnt/inner/sub/file")
    assert place.host_path == b"/src/sub/file"
    assert place.view_path == b"/mnt/inner/sub/file"
    up = world.resolve("/mnt/inner/sub/../../a")
    assert up.filesystem is tree


def test_a_synthetic_mount_leads_to_its_inode(world: World) -> None:
    _, tree = world.synthetic("/mnt", sub__file="text")
    place = world.resolve("/mnt/sub/file")
    assert place.inode == tree.find(b"sub/file")
    assert world.resolve("/mnt/sub/../sub").inode == tree.find(b"sub")
    assert world.resolve("/mnt/sub/none").missing
    assert code(world, "/mnt/none/none") == errno.ENOENT
    assert code(world, "/mnt/sub/file/x") == errno.ENOTDIR
    assert code(world, "/mnt/" + "n" * 256) == errno.ENAMETOOLONG


def test_links_in_a_synthetic_mount_leave_it(world: World) -> None:
    _, tree = world.synthetic("/mnt", file="text")
    tree.add_symlink(b"etc", b"/etc")
    tree.add_symlink(b"up", b"../etc/passwd")
    assert world.resolve("/mnt/etc/passwd").host_path == b"/etc/passwd"
    assert world.resolve("/mnt/up").host_path == b"/etc/passwd"


def test_a_host_link_into_a_mount_is_touched(world: World) -> None:
    world.host.add(b"/home/me/link", b"/mnt/file")
    world.synthetic("/mnt", file="text")
    place = world.resolve("/home/me/link")
    assert place.filesystem is not None
    assert place.touched


def test_names_to_be_made_or_removed_are_not_followed(world: World) -> None:
    world.bind("/src", "/mnt")
    assert world.resolve("/mnt/up/", parent=True).host_path == b"/src/up/"
    assert world.resolve("/mnt/new/", parent=True).host_path == b"/src/new/"
    assert world.resolve("/mnt/sub/..", parent=True).host_path == b"/src/sub/.."
    assert world.resolve("/mnt", parent=True).path == b""


def test_a_failure_tells_whether_the_way_met_a_mount(world: World) -> None:
    world.bind("/src", "/mnt")
    for path, touched in (("/none/x", False), ("/mnt/none/x", True)):
        with pytest.raises(ResolutionError) as caught:
            world.resolve(path)
        assert caught.value.touched is touched


# -- what belongs to the task ---------------------------------------------------------------------


def test_proc_self_is_the_tasks(world: World) -> None:
    world.host.add(b"/proc/self", b"999")
    world.host.add(b"/proc/thread-self", b"999/task/999")
    world.host.add(b"/proc/10/status", "")
    world.host.add(b"/proc/10/task/12/status", "")
    assert world.resolve("/proc/self/status").host_path == b"/proc/10/status"
    assert world.resolve("/proc/thread-self/status").host_path == b"/proc/10/task/12/status"


def test_a_descriptor_of_a_virtual_file_leads_to_it(world: World) -> None:
    world.synthetic("/mnt", file="text")
    world.host.add(b"/proc/self", b"999")
    world.host.add(b"/dev/fd", b"/proc/self/fd")
    world.link("/proc/10/fd/3", b"/memfd:file (deleted)", FakeStatus(stat.S_IFREG, 5, 55))
    world.inodes.add(FakeStatus(stat.S_IFREG, 5, 55), world.resolve("/mnt/file"))
    place = world.resolve("/dev/fd/3")
    assert place.view_path == b"/mnt/file"
    assert place.touched


def test_a_descriptor_without_a_path_is_placed_at_its_link(world: World) -> None:
    world.host.add(b"/proc/self", b"999")
    world.link("/proc/10/fd/0", b"pipe:[7]", FakeStatus(stat.S_IFIFO, 5, 7))
    place = world.resolve("/proc/self/fd/0")
    assert place.host_path == b"/proc/10/fd/0"
    assert not place.touched


def test_a_directory_descriptor_leads_on(world: World) -> None:
    world.host.add(b"/proc/self", b"999")
    world.link("/proc/10/fd/4", b"/src", FakeStatus(stat.S_IFDIR, 1, 9))
    assert world.resolve("/proc/self/fd/4/sub/file").host_path == b"/src/sub/file"


def test_a_directory_opened_through_a_mount_stays_in_it(world: World) -> None:
    mount = world.bind("/src", "/mnt")
    status = FakeStatus(stat.S_IFDIR, 1, 9)
    world.link("/proc/12/fd/4", b"/src/sub", status)
    world.task.opened[status.st_dev, status.st_ino] = mount
    place = world.tasks.descriptor(world.task, 4)
    assert place.view_path == b"/mnt/sub"
    assert world.resolve("../..", start=place).host_path == b"/"
    world.task.opened.clear()
    assert world.tasks.descriptor(world.task, 4).view_path == b"/src/sub"


def test_the_current_directory_is_where_the_kernel_says(world: World) -> None:
    world.link("/proc/12/cwd", b"/src/sub", FakeStatus(stat.S_IFDIR, 1, 9))
    assert world.tasks.cwd(world.task).view_path == b"/src/sub"
    world.task.context.cwd_mount = world.bind("/src", "/mnt")
    assert world.tasks.cwd(world.task).view_path == b"/mnt/sub"
    world.link("/proc/12/cwd", b"/etc", FakeStatus(stat.S_IFDIR, 1, 10))
    assert world.tasks.cwd(world.task).view_path == b"/etc"


# -- openat2(2) -----------------------------------------------------------------------------------


def test_restrictions_of_openat2(world: World) -> None:
    world.bind("/src", "/mnt")
    start = world.resolve("/mnt")
    assert code(world, "absolute", start=start, restrict=RESOLVE_NO_SYMLINKS) == errno.ELOOP
    assert code(world, "absolute", start=start, restrict=RESOLVE_BENEATH) == errno.EXDEV
    assert code(world, "sub/../../etc", start=start, restrict=RESOLVE_BENEATH) == errno.EXDEV
    assert code(world, "..", start=start, restrict=RESOLVE_NO_XDEV) == errno.EXDEV
    assert code(world, "/mnt/sub", restrict=RESOLVE_NO_XDEV) == errno.EXDEV
    assert world.resolve("../../sub", start=start, restrict=RESOLVE_IN_ROOT).host_path == b"/src/sub"
