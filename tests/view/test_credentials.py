"""Who may do what: the rules of the kernel, on made-up ids, and against access(2) itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.view.credentials import CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, Credentials
from diorama.view.filesystem import Attributes
from diorama.view.host import RealHost
from diorama.view.inodes import Inodes
from diorama.view.mounts import MountTree
from diorama.view.task import Tasks

ALL = (1 << 41) - 1
R, W, X = os.R_OK, os.W_OK, os.X_OK


def file(mode: int, uid: int = 10, gid: int = 20) -> Attributes:
    return Attributes(stat.S_IFREG | mode, uid=uid, gid=gid)


def directory(mode: int, uid: int = 10, gid: int = 20) -> Attributes:
    return Attributes(stat.S_IFDIR | mode, uid=uid, gid=gid)


def who(uid: int = 1, gid: int = 1, *groups: int, capabilities: int = 0) -> Credentials:
    return Credentials(uid, gid, frozenset(groups), capabilities)


def test_the_most_special_class_counts_alone() -> None:
    assert not who(10, 20).permits(file(0o077), R)
    assert not who(1, 20).permits(file(0o707), R)
    assert not who(1, 1, 20).permits(file(0o707), R)
    assert who(1, 1).permits(file(0o004), R)
    assert not who(1, 1).permits(file(0o004), R | W)


def test_capabilities_stand_in() -> None:
    root = who(0, 0, capabilities=ALL)
    assert root.permits(file(0), R | W)
    assert not root.permits(file(0o644), X)
    assert root.permits(file(0o100), R | X)
    assert root.permits(directory(0), R | W | X)
    searcher = who(capabilities=1 << CAP_DAC_READ_SEARCH)
    assert searcher.permits(file(0), R)
    assert not searcher.permits(file(0), R | W)
    assert searcher.permits(directory(0), R | X)
    assert not searcher.permits(directory(0), W)


def test_the_sticky_bit_keeps_names_for_their_owners() -> None:
    shared = directory(0o1777, uid=30)
    assert who(10).may_replace(shared, file(0, uid=10))
    assert who(30).may_replace(shared, file(0, uid=10))
    assert not who(1).may_replace(shared, file(0, uid=10))
    assert who(1, capabilities=1 << CAP_FOWNER).may_replace(shared, file(0, uid=10))
    assert who(1).may_replace(directory(0o777), file(0, uid=10))


def test_what_is_made_belongs_to_its_maker_or_to_the_group_of_the_directory() -> None:
    maker = who(1, 2)
    assert maker.make(stat.S_IFREG | 0o666, directory(0o777)) == (stat.S_IFREG | 0o644, 1, 2)
    grouped = directory(0o2777, gid=20)
    assert maker.make(stat.S_IFDIR | 0o777, grouped) == (stat.S_IFDIR | 0o2755, 1, 20)
    assert maker.make(stat.S_IFREG | 0o2775, grouped) == (stat.S_IFREG | 0o755, 1, 20)
    assert who(1, 20).make(stat.S_IFREG | 0o2775, grouped)[0] == stat.S_IFREG | 0o2755
    assert maker.make(stat.S_IFLNK | 0o777, directory(0o777))[0] == stat.S_IFLNK | 0o777


def test_special_bits_are_lost() -> None:
    assert who().drops(file(0o6755)) == stat.S_ISUID | stat.S_ISGID
    assert who().drops(file(0o2644)) == stat.S_ISGID
    assert who(1, 20).drops(file(0o2644)) == 0
    assert who(capabilities=1 << CAP_FSETID).drops(file(0o2644)) == 0
    assert who().drops(directory(0o6755)) == 0


def test_access_asks_for_the_real_user() -> None:
    setuid = Credentials(10, 20, capabilities=0, real_uid=1, real_gid=1)
    assert setuid.permits(file(0o600), R)
    assert not setuid.real().permits(file(0o600), R)
    lowered = Credentials(10, 20, capabilities=0, real_uid=0, real_gid=0, permitted=ALL)
    assert lowered.real().permits(file(0), R)


def test_our_own_are_what_the_kernel_tells() -> None:
    ours = RealHost.credentials(os.getpid())
    assert (ours.uid, ours.gid, ours.real_uid) == (os.geteuid(), os.getegid(), os.getuid())
    assert ours.groups == set(os.getgroups())
    mask = os.umask(0o027)
    try:
        assert RealHost.credentials(os.getpid()).umask == 0o027
    finally:
        os.umask(mask)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("modes") / "file"
    path.touch()
    return path


@settings(deadline=None)
@given(mode=st.integers(0, 0o777), wanted=st.integers(1, 7))
def test_access_to_our_files_is_as_the_kernel_has_it(scratch: Path, mode: int, wanted: int) -> None:
    scratch.chmod(mode)
    status = scratch.stat()
    attributes = Attributes(status.st_mode, uid=status.st_uid, gid=status.st_gid)
    expected = os.access(scratch, wanted, effective_ids=True)
    assert RealHost.credentials(os.getpid()).permits(attributes, wanted) == expected


@pytest.mark.parametrize("alike", [False, True])
def test_who_makes_a_file_is_looked_at_once_a_call(*, alike: bool) -> None:
    looked: list[int] = []

    class Host(RealHost):
        @staticmethod
        def credentials(tid: int) -> Credentials:
            looked.append(tid)
            return RealHost.credentials(tid)

    tasks = Tasks(MountTree(), Host(), Inodes())
    tasks.are_alike = lambda: alike
    task = tasks.first(os.getpid())
    umask = os.umask(0o027)
    looked.clear()
    try:
        tasks.credentials(task)
        assert tasks.maker(task).umask == 0o027
        assert tasks.maker(task).umask == 0o027
        assert looked == [task.tid], "each look at /proc takes as long as a question to a server"
    finally:
        os.umask(umask)
