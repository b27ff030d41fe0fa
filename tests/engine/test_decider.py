"""Verdicts of the native library on calls that this process could make, against the view's own resolution."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from diorama.abi.numbers import NUMBERS
from diorama.abi.signal import SA_RESTART, SIG_DFL, SIG_IGN
from diorama.dispatch.settling import settle_calls, settle_mounts
from diorama.engine import stubs
from diorama.engine.decider import Decider, Verdict, VerdictKind
from diorama.engine.ourcall import make_call
from diorama.interfaces.tree import Tree
from diorama.view.host import RealHost
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, MountTree, Place
from diorama.view.resolve import ResolutionError, Resolver
from diorama.view.task import Task, Tasks

NATIVE = Abi.native()[0]
NUMBER = NUMBERS[NATIVE.title]
DECISIONS = settle_calls()
ASK, RUN, VALUE, GIVE, PATH = VerdictKind

NAMES = ["a", "b", "c", "link", "abs", "up", "file", "none", ".", "..", ""]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=7).map("/".join)
nodes = st.one_of(st.none(), st.just("file"), paths.map(lambda text: ("link", text or ".")))
places = st.lists(st.sampled_from(NAMES[:7]), min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(places, nodes, max_size=12)
likely = st.sampled_from(["file", "a/link", "b/../file", "../bound/file", "a/../file", "a/../a/link"])
mounted = st.lists(
    st.tuples(paths, st.sampled_from(["bind", "ro", "synthetic", "file", "self"])), max_size=3
)


def build(top: Path, tree: dict[str, object]) -> None:
    for name, node in tree.items():
        path = top / name
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(top)):
            continue  # a link that was made before leads out of the tree: nothing is made there
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if node is None:
                path.mkdir()
            elif isinstance(node, tuple):
                target = str(node[1])
                inside = name.startswith("a") and target.startswith("/")
                path.symlink_to(f"{top}{target}" if inside else target)
            else:
                path.write_text("content")
        except OSError:
            continue


def synthetic() -> Mount:
    tree = Tree("test")
    tree.add_file(b"file", b"made")
    tree.add_file(b"a/b", b"made")
    return Mount(filesystem=tree)


@dataclass
class World:
    """A mount tree on the host's, as Python sees it and as the native library does."""

    tree: MountTree = field(default_factory=MountTree)
    inodes: Inodes = field(default_factory=Inodes)
    decider: Decider = field(default_factory=Decider)

    def __post_init__(self) -> None:
        self.tasks = Tasks(self.tree, RealHost(), self.inodes)
        self.resolver = Resolver(self.tree, RealHost(), self.inodes, self.tasks)
        self.task: Task = self.tasks.first(os.getpid())

    def mount(self, mount: Mount, target: str) -> None:
        place = self.resolver.resolve(self.task, self.task.root, os.fsencode(target))
        self.tree.attach(mount, place)

    def load(self, private: bytes | None = None, **options: bool) -> World:
        privates = [] if private is None else [private]
        self.decider.load(DECISIONS, settle_mounts(self.tree), privates, on_behalf=True, **options)
        return self

    def ask(self, name: str, *args: object, may_give: bool = False, may_lead: bool = False) -> Verdict:
        kept = [ctypes.create_string_buffer(one) if isinstance(one, bytes) else one for one in args]
        raw = [
            one if isinstance(one, int) else ctypes.addressof(one)  # type: ignore[arg-type]
            for one in kept
        ]
        raw = [one & (1 << 64) - 1 for one in raw] + [0] * (6 - len(raw))
        decide = self.decider.decide
        return decide(os.getpid(), NATIVE.audit, NUMBER[name], raw, may_give=may_give, may_lead=may_lead)

    def resolve(self, start: Place, path: bytes, *, follow: bool) -> Place | ResolutionError:
        begin = self.task.root if path.startswith(b"/") else start
        try:
            return self.resolver.resolve(self.task, begin, path, follow=follow)
        except ResolutionError as error:
            return error


def mount_all(world: World, name: str, mounts: Sequence[tuple[str, str]]) -> None:
    sources = {
        "bind": lambda: Mount(host=os.fsencode(f"{name}/source")),
        "ro": lambda: Mount(host=os.fsencode(f"{name}/source"), read_only=True),
        "synthetic": synthetic,
        "file": lambda: Mount(host=os.fsencode(f"{name}/source/.file"), kind=stat.S_IFREG),
        "self": lambda: Mount(host=os.fsencode(f"{name}/view")),
    }
    for path, kind in mounts:
        try:
            world.mount(sources[kind](), f"{name}/view/{path}")
        except OSError:
            continue


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(os.path.realpath(name))


def open_through(world: World, fd: int, mount: Mount) -> None:
    status = os.fstat(fd)
    world.task.opened[status.st_dev, status.st_ino] = mount
    number = world.tree.mounts.index(mount)
    world.decider.opened(os.getpid(), status.st_dev, status.st_ino, number)


def expected(found: Place | ResolutionError, *, follow: bool) -> object:
    """The status that Python would have the kernel find."""
    try:
        if isinstance(found, ResolutionError):
            raise found
        status = os.stat(found.host_path, follow_symlinks=follow)
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_mode, status.st_size


def told(world: World, dirfd: int, path: bytes, flags: int) -> tuple[Verdict, object]:
    buffer = ctypes.create_string_buffer(256)
    verdict = world.ask("newfstatat", dirfd, path, buffer, flags)
    if verdict.kind != VALUE:
        return verdict, None
    if verdict.value:
        return verdict, -verdict.value
    ino = int.from_bytes(buffer.raw[8:16], "little")
    mode_at = 24 if NATIVE is Abi.X86_64 else 16
    mode = int.from_bytes(buffer.raw[mode_at : mode_at + 4], "little")
    return verdict, (ino, mode, int.from_bytes(buffer.raw[48:56], "little"))


@pytest.mark.timeout(300)
@settings(max_examples=600, deadline=None)
@given(
    tree=trees, source=trees, mounts=mounted, path=paths, absolute=st.booleans(), follow=st.booleans(),
    crawl=st.booleans(), inside=st.booleans(),
)  # fmt: skip
def test_verdicts_on_paths_are_those_of_the_resolver(
    scratch: Path,
    tree: dict[str, object],
    source: dict[str, object],
    mounts: list[tuple[str, str]],
    path: str,
    absolute: bool,
    follow: bool,
    crawl: bool,
    inside: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        for part, content in (("view", tree), ("source", source)):
            (Path(name) / part).mkdir()
            build(Path(name) / part, content)
        (Path(name) / "source/.file").write_text("mounted")
        world = World()
        mount_all(world, name, mounts)
        world.load(crawl=crawl)
        text = os.fsencode(f"{name}/view/{path}" if absolute else path.lstrip("/") or ".")
        binds = [one for one in world.tree.mounts[1:] if one.host and stat.S_ISDIR(one.kind)]
        begin = binds[-1].host if inside and binds else os.fsencode(f"{name}/view")
        dirfd = os.open(begin, os.O_PATH)
        try:
            if inside and binds:
                open_through(world, dirfd, binds[-1])
            start = world.tasks.descriptor(world.task, dirfd)
            found = world.resolve(start, text, follow=follow)
            verdict, have = told(world, dirfd, text, 0 if follow else AT_SYMLINK_NOFOLLOW)
            rewritten = world.ask("truncate", text).kind if absolute and follow else verdict.kind
        finally:
            os.close(dirfd)
        event(verdict.kind.name)
        assert (verdict.kind == RUN) is not found.touched
        assert (rewritten == RUN) is (verdict.kind == RUN)
        if verdict.kind == VALUE:
            assert have == expected(found, follow=follow)


@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None)
@given(source=trees, path=st.one_of(paths, likely), flags=st.sampled_from([
    os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_NOFOLLOW, os.O_WRONLY | os.O_CREAT,
    os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_DIRECTORY, os.O_PATH, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC,
]), read_only=st.booleans(), crawl=st.booleans())  # fmt: skip
def test_what_is_opened_is_what_the_resolver_leads_to(
    scratch: Path, source: dict[str, object], path: str, flags: int, read_only: bool, crawl: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        (Path(name) / "source").mkdir()
        build(Path(name) / "source", {**source, "file": "file", "a/link": ("link", "../file")})
        world = World()
        world.mount(Mount(host=os.fsencode(f"{name}/source"), read_only=read_only), f"{name}/bound")
        world.load(crawl=crawl)
        text = os.fsencode(f"{name}/bound/{path}")
        follow = not (flags & os.O_NOFOLLOW or flags & os.O_EXCL)
        found = world.resolve(world.task.root, text, follow=follow)
        verdict = world.ask("openat", AT_FDCWD, text, flags, 0o644, may_give=True)
        event(verdict.kind.name)
        if verdict.kind == GIVE:
            assert isinstance(found, Place)
            try:
                assert os.path.samestat(os.fstat(verdict.fd), os.lstat(found.host_path))
                status = os.fstat(verdict.fd)
                noted = world.decider.opened_through(os.getpid(), status.st_dev, status.st_ino)
                is_noted = found.mount.read_only or stat.S_ISDIR(status.st_mode)
                assert noted == (world.tree.mounts.index(found.mount) or None if is_noted else None)
                assert verdict.close_on_exec is bool(flags & os.O_CLOEXEC)
                assert not read_only or not flags & (os.O_ACCMODE | os.O_TRUNC)
            finally:
                os.close(verdict.fd)
        if verdict.kind == VALUE:
            assert expected(found, follow=follow) == -verdict.value
        assert verdict.kind != RUN or not found.touched


@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None)
@given(source=trees, path=st.one_of(paths, likely), flags=st.sampled_from([
    os.O_RDONLY, os.O_RDWR | os.O_NOFOLLOW, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT,
    os.O_DIRECTORY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_PATH,
]), read_only=st.booleans())  # fmt: skip
def test_a_guardian_leads_to_what_the_resolver_finds(
    scratch: Path, source: dict[str, object], path: str, flags: int, read_only: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        (Path(name) / "source").mkdir()
        build(Path(name) / "source", {**source, "file": "file", "a/link": ("link", "../file")})
        world = World()
        world.mount(Mount(host=os.fsencode(f"{name}/source"), read_only=read_only), f"{name}/bound")
        world.load()
        text = os.fsencode(f"{name}/bound/{path}")
        found = world.resolve(world.task.root, text, follow=not flags & os.O_NOFOLLOW)
        verdict = world.ask("openat", AT_FDCWD, text, flags, 0o644, may_lead=True)
        event(verdict.kind.name)
        assert verdict.kind != GIVE
        if verdict.kind != PATH:
            return
        assert isinstance(found, Place)
        assert not read_only
        assert verdict.value == 1
        assert os.path.samestat(os.lstat(verdict.path), os.lstat(found.host_path))
        assert stat.S_ISREG(os.lstat(verdict.path).st_mode)


@pytest.fixture
def bound(tmp_path: Path) -> tuple[World, Path]:
    """`source` is bound on `bound`, and there is something synthetic on `made`."""
    (tmp_path / "source" / "dir").mkdir(parents=True)
    (tmp_path / "source" / "file").write_text("content")
    (tmp_path / "source" / "link").symlink_to("file")
    (tmp_path / "plain").mkdir()
    world = World()
    world.mount(Mount(host=os.fsencode(tmp_path / "source")), f"{tmp_path}/bound")
    world.mount(synthetic(), f"{tmp_path}/made")
    return world.load(private=os.fsencode(tmp_path / "private")), tmp_path


def test_a_link_in_a_mount_is_read(bound: tuple[World, Path]) -> None:
    world, top = bound
    buffer = ctypes.create_string_buffer(16)
    verdict = world.ask("readlinkat", AT_FDCWD, os.fsencode(top / "bound/link"), buffer, 16)
    assert (verdict.kind, verdict.value, buffer.value) == (VALUE, 4, b"file")
    verdict = world.ask("readlinkat", AT_FDCWD, os.fsencode(top / "bound/file"), buffer, 16)
    assert verdict.value == -errno.EINVAL
    assert world.ask("readlinkat", AT_FDCWD, os.fsencode(top / "made/file"), buffer, 16).kind == ASK


def test_access_in_a_mount_is_told(bound: tuple[World, Path]) -> None:
    world, top = bound
    path = os.fsencode(top / "bound/file")
    assert world.ask("faccessat", AT_FDCWD, path, os.R_OK) == Verdict(VALUE)
    assert world.ask("faccessat", AT_FDCWD, path + b"/x", os.R_OK).value == -errno.ENOTDIR
    assert world.ask("faccessat", AT_FDCWD, path, 8).kind == ASK


def test_extended_status_is_the_host_s(bound: tuple[World, Path]) -> None:
    world, top = bound
    buffer = ctypes.create_string_buffer(256)
    assert world.ask("statx", AT_FDCWD, os.fsencode(top / "bound/file"), 0, 0x7FF, buffer) == Verdict(VALUE)
    assert int.from_bytes(buffer.raw[32:40], "little") == (top / "source/file").stat().st_ino


def test_directories_that_are_closed_are_forgotten_some_time(bound: tuple[World, Path]) -> None:
    world, top = bound
    kept = os.open(top / "source", os.O_RDONLY)
    status = os.fstat(kept)
    world.decider.opened(os.getpid(), status.st_dev, status.st_ino, 1)
    for number in range(5000):
        world.decider.opened(os.getpid(), 1 << 40, number + 1, 1)
    known = [world.decider.opened_through(os.getpid(), 1 << 40, number + 1) for number in range(5000)]
    assert sum(one is not None for one in known) <= 1024
    assert world.decider.opened_through(os.getpid(), status.st_dev, status.st_ino) == 1
    os.close(kept)


def test_nothing_is_opened_when_nothing_can_be_given(bound: tuple[World, Path]) -> None:
    world, top = bound
    assert world.ask("openat", AT_FDCWD, os.fsencode(top / "bound/file"), os.O_RDONLY).kind == ASK


def test_a_relative_path_stays_in_the_mount_its_directory_was_opened_by(bound: tuple[World, Path]) -> None:
    world, top = bound
    fd = os.open(top / "source/dir", os.O_RDONLY)
    buffer = ctypes.create_string_buffer(256)
    try:
        status = os.fstat(fd)
        assert world.ask("newfstatat", fd, b"../file", buffer, 0).kind == RUN
        world.decider.opened(os.getpid(), status.st_dev, status.st_ino, 1)
        assert world.ask("newfstatat", fd, b"../file", buffer, 0).kind == VALUE
        assert world.ask("newfstatat", fd, b"../../made/file", buffer, 0).kind == ASK
        assert world.ask("fchdir", fd).kind == ASK
        world.decider.opened(os.getpid(), status.st_dev, status.st_ino, -1)
        assert world.ask("fchdir", fd).kind == RUN
        world.decider.opened(1, status.st_dev, status.st_ino, 1)
        assert world.ask("newfstatat", fd, b"../file", buffer, 0).kind == RUN
        world.decider.inherit(1, os.getpid())
        assert world.ask("newfstatat", fd, b"../file", buffer, 0).kind == VALUE
        world.decider.forget(os.getpid())
        assert world.ask("newfstatat", fd, b"../file", buffer, 0).kind == RUN
    finally:
        os.close(fd)


def test_the_current_directory_may_have_been_entered_through_a_mount(
    bound: tuple[World, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, top = bound
    monkeypatch.chdir(top / "source/dir")
    buffer = ctypes.create_string_buffer(256)
    assert world.ask("newfstatat", AT_FDCWD, b"../link", buffer, 0).kind == RUN
    world.decider.process(os.getpid(), cwd_mount=1)
    assert world.ask("newfstatat", AT_FDCWD, b"../link", buffer, 0).kind == VALUE
    assert world.ask("newfstatat", AT_FDCWD, b"../../made/file", buffer, 0).kind == ASK
    assert world.ask("getcwd", buffer, 256).kind == ASK
    world.decider.process(os.getpid(), cwd_mount=2)
    assert world.ask("newfstatat", AT_FDCWD, b"../link", buffer, 0).kind == ASK
    world.decider.process(os.getpid())
    assert world.ask("getcwd", buffer, 256).kind == RUN


def test_a_removed_current_directory_is_asked_about(
    bound: tuple[World, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, top = bound
    (top / "gone").mkdir()
    monkeypatch.chdir(top / "gone")
    (top / "gone").rmdir()
    assert world.ask("truncate", b"../made/file").kind == ASK


def test_threads_of_a_special_process_are_special(bound: tuple[World, Path]) -> None:
    import threading

    world, top = bound
    world.decider.process(os.getpid(), ask_all=True)
    path = ctypes.create_string_buffer(os.fsencode(top / "plain"))
    found: list[VerdictKind] = []

    def decide() -> None:
        args = [ctypes.addressof(path), 0, 0, 0, 0, 0]
        verdict = world.decider.decide(threading.get_native_id(), NATIVE.audit, NUMBER["truncate"], args)
        found.append(verdict.kind)

    thread = threading.Thread(target=decide)
    thread.start()
    thread.join()
    world.decider.process(os.getpid())
    decide()
    assert found == [ASK, RUN]


def test_descriptors_of_virtual_objects_are_asked_about(bound: tuple[World, Path]) -> None:
    world, _ = bound
    fd = os.memfd_create("virtual")
    buffer = ctypes.create_string_buffer(256)
    try:
        assert world.ask("fstat", fd, buffer).kind == RUN
        world.decider.identity(os.fstat(fd).st_dev, os.fstat(fd).st_ino)
        assert world.ask("fstat", fd, buffer).kind == ASK
        assert world.ask("newfstatat", fd, b"", buffer, AT_EMPTY_PATH).kind == ASK
        assert world.ask("newfstatat", fd, b"", buffer, 0).kind == RUN
        assert world.ask("utimensat", fd, 0, 0, 0).kind == ASK
        assert world.ask("openat", fd, b"x", 0).kind == ASK
    finally:
        os.close(fd)
    assert world.ask("fstat", fd, buffer).kind == RUN


@pytest.mark.parametrize(("path", "kind"), [
    ("/proc/self/status", RUN), ("/proc/thread-self/comm", RUN),
    ("/proc/mounts", ASK), ("/proc/thread-self/maps", ASK), ("/proc/self/fdinfo/1", ASK),
    ("/proc/net/unix", ASK), ("/proc/self/smaps_rollup", RUN), ("/proc/self", RUN),
    ("/proc/sys/kernel/ostype", RUN), ("/proc/self/exe", ASK),
    ("/proc/self/cwd", ASK), ("/proc/1/task/1/fd/0", ASK), ("/proc/self/../self/status", ASK),
    ("/dev/fd/0", ASK), ("/proc/self/root", ASK),
])  # fmt: skip
def test_links_of_proc_that_are_not_text_are_asked_about_and_what_tells_of_the_view(
    bound: tuple[World, Path], path: str, kind: VerdictKind
) -> None:
    if path.startswith("/dev/") and not os.path.lexists("/dev/fd"):
        pytest.skip("no /dev/fd here")
    world, _ = bound
    assert world.ask("truncate", os.fsencode(path)).kind == kind


def test_a_mount_on_what_a_process_has_in_proc_makes_all_of_them_unsure(bound: tuple[World, Path]) -> None:
    world, top = bound
    source = Mount(host=os.fsencode(top / "source/file"), kind=stat.S_IFREG)
    world.mount(source, "/proc/version")
    world.load()
    assert world.ask("truncate", b"/proc/version").kind == ASK
    assert world.ask("truncate", b"/proc/uptime").kind == RUN
    assert world.ask("truncate", b"/proc/self/status").kind == RUN
    world.mount(Mount(host=source.host, kind=stat.S_IFREG), "/proc/1/comm")
    world.load()
    assert world.ask("truncate", b"/proc/self/status").kind == ASK
    assert world.ask("truncate", b"/proc/uptime").kind == RUN


def test_the_directory_of_stand_ins_is_private(bound: tuple[World, Path]) -> None:
    world, top = bound
    assert world.ask("truncate", os.fsencode(top / "private/d0")).kind == ASK
    assert world.ask("truncate", os.fsencode(top / "private2")).kind == RUN


def test_a_script_is_for_python_and_a_binary_is_not(bound: tuple[World, Path]) -> None:
    world, top = bound
    script = top / "plain" / "script"
    script.write_text("#!/bin/sh\n")
    assert world.ask("execve", os.fsencode(script), 0, 0).kind == ASK
    assert world.ask("execve", os.fsencode(os.path.realpath("/proc/self/exe")), 0, 0).kind == RUN
    assert world.ask("execve", os.fsencode(top / "plain/none"), 0, 0).kind == RUN
    assert world.ask("execve", os.fsencode(top / "bound/file"), 0, 0).kind == ASK
    world.decider.process(os.getpid(), ask_exec=True)
    assert world.ask("execve", os.fsencode(top / "plain/none"), 0, 0).kind == ASK


def test_a_bad_pointer_is_for_the_kernel_to_refuse(bound: tuple[World, Path]) -> None:
    world, top = bound
    assert world.ask("truncate", 8).kind == RUN
    assert world.ask("truncate", b"/x" * 3000).kind == RUN
    verdict = world.ask("newfstatat", AT_FDCWD, os.fsencode(top / "bound/file"), 8, 0)
    assert verdict == Verdict(VALUE, -errno.EFAULT)


@pytest.mark.skipif(NATIVE is not Abi.X86_64, reason="handlers have stubs on x86-64 only")
def test_only_handlers_that_interrupt_calls_are_asked_about(bound: tuple[World, Path]) -> None:
    world, _ = bound

    def ask(handler: int | None, flags: int = 0, *, old: bool = False) -> VerdictKind:
        new = 0 if handler is None else struct.pack("=4Q", handler, flags, 0, 0)
        return world.ask("rt_sigaction", 10, new, bytes(32) if old else 0, 8).kind

    assert [ask(SIG_DFL), ask(SIG_IGN, old=True), ask(4096, SA_RESTART), ask(None, old=True)] == [RUN] * 4
    assert ask(4096) == ASK
    # What a program with stubs has there.
    make_call(NUMBER["mmap"], stubs.ADDRESS, 4096, mmap.PROT_READ, 0x100022, (1 << 64) - 1, 0)
    try:
        assert [ask(None, old=True), ask(SIG_DFL, old=True), ask(SIG_DFL)] == [ASK, ASK, RUN]
    finally:
        make_call(NUMBER["munmap"], stubs.ADDRESS, 4096)


def test_mounts_that_make_no_tree_are_refused() -> None:
    decider = Decider()
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        decider.load(DECISIONS, [])


def test_no_descriptor_is_left_open(bound: tuple[World, Path]) -> None:
    world, top = bound
    before = os.listdir("/proc/self/fd")
    for name in ("plain", "bound/file", "bound/link", "bound/none", "made/file", "none/x", "bound/../plain"):
        for call in ("newfstatat", "openat", "faccessat", "readlinkat"):
            buffer = ctypes.create_string_buffer(256)
            world.ask(call, AT_FDCWD, os.fsencode(top / name), buffer, 64)
    assert os.listdir("/proc/self/fd") == before


def test_all_are_alike_until_one_has_a_namespace_of_its_own() -> None:
    decider = Decider()
    alone = os.geteuid() != 0 and not RealHost.credentials(os.getpid()).capabilities
    assert decider.are_alike() == alone
    decider.strangers()
    assert not decider.are_alike()
