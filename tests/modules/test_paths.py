"""File systems in terms of paths."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.interfaces.filesystem import Attributes, Changes
from diorama.interfaces.paths import PathFileSystem, directory_status, file_status, missing

FILE = Attributes(stat.S_IFREG | 0o644)
DIRECTORY = Attributes(stat.S_IFDIR | 0o755)


class Shelf(PathFileSystem):
    """Files and directories in a dictionary, None for a directory; `slow` holds up what is saved."""

    writable = True

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, bytes | None] = {"": None}
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def stat(self, path: str) -> Attributes:
        if path not in self.held:
            missing()
        found = self.held[path]
        return directory_status() if found is None else file_status(len(found))

    def names(self, path: str) -> Iterable[str]:
        start = path + "/" if path else ""
        below = (one[len(start) :] for one in self.held if one.startswith(start) and one)
        return [one for one in below if one and "/" not in one]

    def load(self, path: str) -> bytes:
        found = self.held[path]
        assert found is not None
        return found

    def save(self, path: str, content: bytes) -> None:
        if content:
            self.entered.set()
            assert self.go_on.wait(50)
        self.held[path] = content

    def delete(self, path: str) -> None:
        del self.held[path]

    def make_directory(self, path: str) -> None:
        self.held[path] = None

    def move(self, path: str, to: str) -> None:
        for one in [one for one in self.held if one == path or one.startswith(path + "/")]:
            self.held[to + one[len(path) :]] = self.held.pop(one)


def save(shelf: Shelf, inode: int, text: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.flush()
        shelf.save_content(inode, file.fileno())


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def saving(shelf: Shelf) -> Iterable[tuple[Shelf, int, threading.Thread]]:
    """A file `sub/file` that is being saved."""
    sub = shelf.make(shelf.root, b"sub", DIRECTORY)
    inode = shelf.make(sub, b"file", FILE)
    shelf.go_on.clear()
    thread = threading.Thread(target=save, args=(shelf, inode, b"content"))
    thread.start()
    assert shelf.entered.wait(50)
    yield shelf, inode, thread
    shelf.go_on.set()
    thread.join(10)


def held_up(action: threading.Thread, shelf: Shelf) -> None:
    """An action does not end before what is being saved is."""
    action.start()
    action.join(0.1)
    assert action.is_alive()
    shelf.go_on.set()
    action.join(10)
    assert not action.is_alive()


def test_content_does_not_arrive_where_a_file_was(saving: tuple[Shelf, int, threading.Thread]) -> None:
    shelf, inode, _ = saving
    sub = shelf.lookup(shelf.root, b"sub")
    held_up(threading.Thread(target=shelf.rename, args=(sub, b"file", sub, b"other")), shelf)
    assert shelf.held["sub/other"] == b"content"
    assert shelf.attributes(inode).size == 7


def test_a_directory_is_renamed_when_all_in_it_is_saved(saving: tuple[Shelf, int, threading.Thread]) -> None:
    shelf, inode, _ = saving
    held_up(threading.Thread(target=shelf.rename, args=(shelf.root, b"sub", shelf.root, b"new")), shelf)
    assert shelf.held["new/file"] == b"content"
    assert shelf.lookup(shelf.lookup(shelf.root, b"new"), b"file") == inode


def test_what_is_removed_does_not_come_back(saving: tuple[Shelf, int, threading.Thread]) -> None:
    shelf, inode, _ = saving
    sub = shelf.lookup(shelf.root, b"sub")
    held_up(threading.Thread(target=shelf.remove, args=(sub, b"file")), shelf)
    assert list(shelf.names("sub")) == []
    assert shelf.attributes(inode).links == 0


def test_others_are_not_kept_waiting(saving: tuple[Shelf, int, threading.Thread]) -> None:
    shelf, inode, thread = saving
    sub = shelf.lookup(shelf.root, b"sub")
    assert shelf.attributes(inode).size == 0
    assert [entry.name for entry in shelf.entries(sub)] == [b"file"]
    other = shelf.make(sub, b"other", FILE)
    shelf.rename(sub, b"other", shelf.root, b"another")
    assert shelf.lookup(shelf.root, b"another") == other
    shelf.remove(shelf.root, b"another")
    assert thread.is_alive()


def test_a_number_is_unique_and_stays(shelf: Shelf) -> None:
    first = shelf.make(shelf.root, b"a", FILE)
    shelf.rename(shelf.root, b"a", shelf.root, b"b")
    second = shelf.make(shelf.root, b"a", FILE)
    assert shelf.lookup(shelf.root, b"b") == first != second
    listed = {entry.name: entry.inode for entry in shelf.entries(shelf.root)}
    assert listed == {b"a": second, b"b": first}
    shelf.remove(shelf.root, b"a")
    third = shelf.make(shelf.root, b"a", FILE)
    assert third not in (first, second)
    shelf.forget(second)
    assert shelf.lookup(shelf.root, b"a") == third


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), unique=True
    )
)
def test_a_listing_tells_the_numbers_of_a_look_up(names: list[str]) -> None:
    shelf = Shelf()
    shelf.held |= dict.fromkeys(names, b"")
    for entry in shelf.entries(shelf.root):
        assert shelf.lookup(shelf.root, entry.name) == entry.inode < 1 << 31


def test_names_that_are_not_utf_8(shelf: Shelf) -> None:
    inode = shelf.make(shelf.root, b"\xff\xfe", FILE)
    assert [entry.name for entry in shelf.entries(shelf.root)] == [b"\xff\xfe"]
    assert shelf.lookup(shelf.root, b"\xff\xfe") == inode


def test_what_is_so_already_may_be_set(shelf: Shelf) -> None:
    inode = shelf.make(shelf.root, b"a", FILE)
    shelf.set_attributes(inode, Changes(mode=0o644, uid=os.getuid(), gid=os.getgid(), modified=0))
    with pytest.raises(PermissionError):
        shelf.set_attributes(inode, Changes(mode=0o600))
    save(shelf, inode, b"content")
    shelf.set_attributes(inode, Changes(size=3))
    assert shelf.held["a"] == b"con"


def test_a_read_only_one_refuses(shelf: Shelf) -> None:
    class Fixed(PathFileSystem):
        def stat(self, path: str) -> Attributes:
            return directory_status() if not path else file_status(0)

        def names(self, path: str) -> Iterable[str]:
            return ["file"]

    fixed = Fixed()
    assert not fixed.writable
    for action in (lambda: fixed.make(1, b"new", FILE), lambda: fixed.remove(1, b"file")):
        with pytest.raises(OSError, match="Read-only"):
            action()
