"""A private memory tree: where it is, and that nothing is left of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.modules.sources import make_mount
from diorama.view.mounts import Mount


def path_of(mount: Mount) -> Path:
    assert mount.host is not None
    return Path(os.fsdecode(mount.host))


def closed(mount: Mount) -> None:
    assert mount.backing is not None
    mount.backing.close()


def test_it_is_empty_and_everybody_s() -> None:
    mount = make_mount("tmp:")
    assert list(path_of(mount).iterdir()) == []
    assert stat.S_IMODE(path_of(mount).stat().st_mode) == 0o1777
    assert mount.type == "tmpfs"
    assert stat.S_IMODE(path_of(mount).parent.stat().st_mode) == 0o711
    closed(mount)


def test_its_permissions_can_be_chosen() -> None:
    mount = make_mount("tmp:", "mode=0750")
    assert stat.S_IMODE(path_of(mount).stat().st_mode) == 0o750
    closed(mount)


def test_two_are_not_one() -> None:
    one, other = make_mount("tmp:"), make_mount("tmp:")
    assert one.host != other.host
    closed(one)
    closed(other)


def test_nothing_is_left_whatever_was_made_in_it() -> None:
    mount = make_mount("tmp:")
    path = path_of(mount)
    (path / "deep/er").mkdir(parents=True)
    (path / "deep/er/file").write_text("x")
    (path / "dangling").symlink_to("nothing")
    (path / "outside").symlink_to("/etc")
    os.mkfifo(path / "fifo")
    (path / "deep/er").chmod(0)
    (path / "deep").chmod(0o500)
    path.chmod(0)
    closed(mount)
    assert not path.parent.exists()
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("options", [("mode=9",), ("mode=",), ("mode=-1",), ("size=1M",), ("other",)])
def test_what_cannot_be_had_is_said(options: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot mount tmp:"):
        make_mount("tmp:", *options)


def test_it_is_always_a_new_one() -> None:
    with pytest.raises(UsageError, match="write tmp: alone"):
        make_mount("tmp:name")
