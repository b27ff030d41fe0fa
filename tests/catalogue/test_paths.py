"""Which paths a request has and how they are resolved."""

from __future__ import annotations

from typing import Any

import pytest

from catalogue.fakes import decoded, words
from diorama import calls
from diorama.abi import fcntl, io, mount
from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW
from diorama.catalogue.model import PathRule, Request

P = 0x3000
CONTENTS = {P: b"a\0", P + 8: b"b\0", P + 0x100: words(fcntl.O_CREAT | fcntl.O_EXCL, 0, 0, word=8)}
HOW = P + 0x100


def rule_of(name: str, *args: int, field: str = "path", abi: Abi = Abi.X86_64) -> tuple[Any, PathRule]:
    request = decoded(name, *args, abi=abi, contents=CONTENTS)
    return request, next(rule for rule in request.PATHS if rule.field == field)


FOLLOWED = [
    ("stat", (P, 0), True),
    ("lstat", (P, 0), False),
    ("newfstatat", (5, P, 0, 0), True),
    ("newfstatat", (5, P, 0, AT_SYMLINK_NOFOLLOW), False),
    ("statx", (5, P, AT_SYMLINK_NOFOLLOW, 0, 0), False),
    ("open", (P, 0, 0), True),
    ("open", (P, fcntl.O_NOFOLLOW, 0), False),
    ("open", (P, fcntl.O_CREAT, 0), True),
    ("open", (P, fcntl.O_CREAT | fcntl.O_EXCL, 0), False),
    ("open", (P, fcntl.O_EXCL, 0), True),
    ("openat2", (5, P, HOW, 24), False),
    ("creat", (P, 0), True),
    ("access", (P, 0), True),
    ("faccessat2", (5, P, 0, AT_SYMLINK_NOFOLLOW), False),
    ("chmod", (P, 0), True),
    ("fchmodat2", (5, P, 0, AT_SYMLINK_NOFOLLOW), False),
    ("chown", (P, 0, 0), True),
    ("lchown", (P, 0, 0), False),
    ("fchownat", (5, P, 0, 0, AT_SYMLINK_NOFOLLOW), False),
    ("utimensat", (5, P, 0, 0), True),
    ("utimensat", (5, P, 0, AT_SYMLINK_NOFOLLOW), False),
    ("utime", (P, 0), True),
    ("truncate", (P, 0), True),
    ("unlink", (P,), False),
    ("rmdir", (P,), False),
    ("mkdir", (P, 0), False),
    ("mknod", (P, 0, 0), False),
    ("symlink", (P, P + 8), False),
    ("readlink", (P, 0, 0), False),
    ("chdir", (P,), True),
    ("chroot", (P,), True),
    ("statfs", (P, 0), True),
    ("execve", (P, 0, 0), True),
    ("execveat", (5, P, 0, 0, AT_SYMLINK_NOFOLLOW), False),
    ("getxattr", (P, P, 0, 0), True),
    ("lgetxattr", (P, P, 0, 0), False),
    ("setxattr", (P, P, 0, 0, 0), True),
    ("lsetxattr", (P, P, 0, 0, 0), False),
    ("inotify_add_watch", (3, P, 1), True),
    ("inotify_add_watch", (3, P, io.IN_DONT_FOLLOW), False),
    ("fanotify_mark", (3, io.FAN_MARK_DONT_FOLLOW, 0, 5, P), False),
    ("name_to_handle_at", (5, P, 0, 0, 0), False),
    ("name_to_handle_at", (5, P, 0, 0, AT_SYMLINK_FOLLOW), True),
    ("open_tree", (5, P, AT_SYMLINK_NOFOLLOW), False),
    ("fspick", (5, P, mount.FSPICK_SYMLINK_NOFOLLOW), False),
    ("swapon", (P, 0), True),
]


@pytest.mark.parametrize(("name", "args", "follows"), FOLLOWED)
def test_whether_the_last_symbolic_link_is_followed(name: str, args: tuple[int, ...], follows: bool) -> None:
    request, rule = rule_of(name, *args)
    assert rule.follows(request) is follows


def test_links_and_renames_have_two_paths() -> None:
    for flags, follows in ((0, False), (AT_SYMLINK_FOLLOW, True)):
        request, old = rule_of("linkat", 5, P, 6, P + 8, flags, field="oldpath")
        new = request.PATHS[1]
        assert (old.dirfd(request), new.dirfd(request)) == (5, 6)
        assert (old.follows(request), new.follows(request)) == (follows, False)
        assert (old.creates(request), new.creates(request)) == (False, True)
    rename, old = rule_of("rename", P, P + 8, field="oldpath")
    assert not old.follows(rename)
    assert old.dirfd(rename) == AT_FDCWD
    assert rename.PATHS[1].creates(rename)
    exchange, _ = rule_of("renameat2", 5, P, 6, P + 8, fcntl.RENAME_EXCHANGE, field="oldpath")
    assert not exchange.PATHS[1].creates(exchange)


def test_where_a_relative_path_begins() -> None:
    assert rule_of("openat", 7, P, 0, 0)[1].dirfd(rule_of("openat", 7, P, 0, 0)[0]) == 7
    request, rule = rule_of("chdir", P)
    assert rule.anchor is None
    assert rule.dirfd(request) == AT_FDCWD


def test_an_empty_path_may_stand_for_the_descriptor() -> None:
    for name, args, accepts in (
        ("newfstatat", (5, P, 0, AT_EMPTY_PATH), True),
        ("newfstatat", (5, P, 0, 0), False),
        ("fchownat", (5, P, 0, 0, AT_EMPTY_PATH), True),
        ("execveat", (5, P, 0, 0, AT_EMPTY_PATH), True),
        ("readlinkat", (5, P, 0, 0), True),
        ("unlink", (P,), False),
    ):
        request, rule = rule_of(name, *args)
        assert rule.accepts_empty(request) is accepts, name


def test_null_and_mere_names_are_no_paths() -> None:
    request, rule = rule_of("utimensat", 5, 0, 0, 0)
    assert not rule.applies(request)
    for flags, is_path in ((0, False), (mount.MS_BIND, True)):
        request, rule = rule_of("mount", P, P + 8, P, flags, 0, field="source")
        assert rule.applies(request) is is_path
    assert [rule.field for rule in calls.Mount.PATHS] == ["source", "target"]
    assert calls.SymlinkAt.PATHS[0].field == "path"
    assert len(calls.SymlinkAt.PATHS) == 1, "the target is text"


def test_what_creates_its_last_component() -> None:
    for name, args, creates in (
        ("mkdir", (P, 0), True),
        ("mknod", (P, 0, 0), True),
        ("creat", (P, 0), True),
        ("open", (P, 0, 0), False),
        ("openat2", (5, P, HOW, 24), True),
        ("unlink", (P,), False),
    ):
        request, rule = rule_of(name, *args)
        assert rule.creates(request) is creates, name


@pytest.mark.parametrize(
    ("name", "args", "writes"),
    [
        ("open", (P, fcntl.O_RDONLY, 0), False),
        ("open", (P, fcntl.O_WRONLY, 0), True),
        ("open", (P, fcntl.O_RDWR, 0), True),
        ("open", (P, fcntl.O_CREAT, 0), True),
        ("open", (P, fcntl.O_TRUNC, 0), True),
        ("open", (P, fcntl.O_PATH | fcntl.O_RDWR, 0), False),
        ("openat2", (5, P, HOW, 24), True),
        ("access", (P, fcntl.R_OK), False),
        ("access", (P, fcntl.W_OK | fcntl.R_OK), True),
        ("stat", (P, 0), False),
        ("unlink", (P,), True),
        ("rename", (P, P + 8), True),
        ("utimensat", (5, 0, 0, 0), True),
        ("fchmod", (5, 0), True),
        ("chdir", (P,), False),
        ("lsetxattr", (P, P, 0, 0, 0), True),
        ("getxattr", (P, P, 0, 0), False),
        ("write", (1, P, 1), False),
    ],
)
def test_what_a_read_only_file_system_refuses(name: str, args: tuple[int, ...], writes: bool) -> None:
    assert decoded(name, *args, contents=CONTENTS).writes is writes


def test_descriptors() -> None:
    assert calls.OpenAt.FDS == ("dirfd",)
    assert calls.LinkAt.FDS == ("olddirfd", "newdirfd")
    assert calls.SendFile.FDS == ("out_fd", "in_fd")
    assert calls.GetPid.FDS == ()


def test_classes_follow_from_the_fields() -> None:
    def classes(request: type[Request]) -> set[str]:
        return set(request.CLASSES)

    assert classes(calls.OpenAt) == {"file", "desc"}
    assert classes(calls.Connect) == {"network", "desc"}
    assert classes(calls.FChOwn) == {"creds", "desc"}
    assert classes(calls.Kill) == {"signal", "process"}
    assert classes(calls.MMap) == {"memory", "desc"}
