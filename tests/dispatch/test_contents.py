"""The real objects behind virtual files, and how long they are kept."""

from __future__ import annotations

import gc
import os
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from diorama.dispatch.files import contents
from diorama.dispatch.files.contents import Contents
from diorama.dispatch.files.standins import StandIns
from diorama.dispatch.files.state import Files
from diorama.interfaces.tree import Tree
from diorama.view.filesystem import Attributes
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, Place


@pytest.fixture
def place() -> Place:
    tree = Tree("test")
    tree.add_file(b"file", b"content")
    tree.add_file(b"other", b"content of the other")
    return Place(Mount(filesystem=tree), b"/file", tree.find(b"file"))


def attributes(place: Place) -> Attributes:
    assert place.filesystem is not None
    return place.filesystem.attributes(place.inode)


def other(place: Place) -> Place:
    assert isinstance(place.filesystem, Tree)
    return place._replace(path=b"/other", inode=place.filesystem.find(b"other"))


def test_one_memfd_serves_all_opens(place: Place) -> None:
    one = Contents(Inodes())
    first, second = one.pin(place, attributes(place)), one.pin(place, attributes(place))
    assert first is second
    assert os.pread(first.fd, 100, 0) == b"content"
    one.close()


def test_an_identity_is_known_after_its_memfd_was_closed(place: Place) -> None:
    inodes = Inodes()
    one = Contents(inodes)
    content = one.pin(place, attributes(place))
    with Path(os.fsdecode(content.path)).open("rb") as held:
        one.unpin(content)
        one.close()
        assert inodes.find(os.fstat(held.fileno())) == place
        assert held.read() == b"content"


def test_what_is_pinned_is_not_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_MAX_BYTES", 10)
    monkeypatch.setattr(contents, "_PATIENCE", 1)
    one = Contents(Inodes())
    first = one.pin(place, attributes(place))
    second = one.pin(other(place), attributes(other(place)))
    assert os.fstat(first.fd).st_size == 7
    one.unpin(first)
    one.unpin(second)
    third = one.pin(place, attributes(place))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(second.fd)
    one.unpin(third)
    one.close()


def test_changed_attributes_mean_changed_content(place: Place) -> None:
    one = Contents(Inodes())
    first = one.pin(place, attributes(place))
    second = one.pin(place, Attributes(0o100644, size=7, modified=1))
    assert first is not second
    os.fstat(first.fd)
    one.unpin(first)
    one.unpin(second)
    one.close()


def test_nothing_is_left_behind(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A supervisor that is root puts them where others may go.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.collect()  # what tests before have left is not counted
    before = len(os.listdir("/proc/self/fd"))
    one, objects = Contents(Inodes()), StandIns(Inodes())
    content = one.pin(place, attributes(place))
    objects.directory(place.mount.root)
    objects.symlink(place, b"target")
    objects.special(place, stat.S_IFIFO)
    objects.alias(content.path, b"name")
    assert os.listdir(tmp_path)
    one.unpin(content)
    one.close()
    objects.close()
    assert not os.listdir(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_read_leaves_nothing(place: Place) -> None:
    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    assert isinstance(place.filesystem, Tree)
    inode = place.filesystem.add_file(b"bad", failing, Attributes(0o100644, size=3))
    bad = place._replace(inode=inode)
    one = Contents(Inodes())
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            one.pin(bad, attributes(bad))
    one.close()


def test_what_nobody_has_open_is_closed_before_its_name_goes(place: Place) -> None:
    """Also where nobody has told yet that it was closed: a server hides what it takes to be open."""
    files = Files()
    closed: list[bool] = []
    opened = SimpleNamespace(writes=False, close=lambda: closed.append(True))
    content = files.synthetic.contents.pin(place, attributes(place))
    files.synthetic.contents.hold(content, opened)  # type: ignore[arg-type]
    assert place.filesystem is not None
    files.synthetic.keep_for_holders(place.filesystem, place.inode)
    assert not closed  # somebody is about to open it
    with Path(os.fsdecode(content.path)).open("rb"):
        files.synthetic.contents.unpin(content)
        files.synthetic.keep_for_holders(place.filesystem, place.inode)
        assert not closed
    files.synthetic.keep_for_holders(place.filesystem, place.inode)
    assert closed == [True]
    files.close()
