"""The real objects behind virtual files, and how long they are kept."""

from __future__ import annotations

import errno
import gc
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diorama.dispatch.files import contents
from diorama.dispatch.files.content import Content
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


def test_changed_attributes_mean_changed_content(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Contents(Inodes())
    first = one.pin(place, attributes(place))
    changed = Attributes(0o100644, size=7, modified=1)
    monkeypatch.setattr(place.filesystem, "attributes", lambda inode: changed)
    second = one.pin(place, changed)
    assert first is not second
    os.fstat(first.fd)
    one.unpin(first)
    one.unpin(second)
    one.close()


def test_a_status_from_before_a_save_does_not_bring_back_what_was_there(place: Place) -> None:
    """Who opens a file has looked at it first, and somebody may have saved it since."""
    one = Contents(Inodes())
    first = one.pin(place, attributes(place))
    looked_at, began = Attributes(0o100644, size=100, modified=1), threading.Event()
    found: list[Content] = []

    def opens() -> None:
        began.set()
        found.append(one.pin(place, looked_at))

    opening = threading.Thread(target=opens)
    with first.lock:
        first.told = (looked_at.size, looked_at.modified)
        one.unpin(first)
        first.told = (-1, -1)  # it is being saved
        opening.start()
        began.wait(60)
        opening.join(0.05)
        assert not found, "what is there is told when it is saved"
        now = attributes(place)
        first.told = (now.size, now.modified)
    opening.join(60)
    assert found == [first]
    one.unpin(first)
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


class Opened:
    """What a file system keeps of an open file; `closing` is called while it is closed."""

    def __init__(self, closing: Callable[[], object] = bool) -> None:
        self.writes = False
        self.is_closed = False
        self._closing = closing

    def close(self) -> None:
        self._closing()
        self.is_closed = True


@pytest.fixture
def files(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Of a file system that wants to know what is open."""
    monkeypatch.setattr(place.filesystem, "tells_at_close", True)
    files = Files()
    yield files
    files.close()


def hold(files: Files, place: Place, opened: Opened) -> Content:
    """As for a program that is about to open it."""
    content = files.synthetic.contents.pin(place, attributes(place))
    files.synthetic.contents.holding.hold(content, opened)  # type: ignore[arg-type]
    return content


def test_what_nobody_has_open_is_closed_before_its_name_goes(files: Files, place: Place) -> None:
    """Also where nobody has told yet that it was closed: a server hides what it takes to be open."""
    opened = Opened()
    content = hold(files, place, opened)
    assert place.filesystem is not None
    files.synthetic.keep_for_holders(place.filesystem, place.inode)
    assert not opened.is_closed  # somebody is about to open it
    with Path(os.fsdecode(content.path)).open("rb"):
        files.synthetic.contents.unpin(content)
        files.synthetic.keep_for_holders(place.filesystem, place.inode)
        assert not opened.is_closed
    files.synthetic.keep_for_holders(place.filesystem, place.inode)
    assert opened.is_closed


def test_who_needs_it_closed_waits_for_who_is_closing_it(files: Files, place: Place) -> None:
    asked, kept_on = threading.Event(), threading.Event()
    opened = Opened(lambda: (asked.set(), kept_on.wait(0.2)))
    content = hold(files, place, opened)
    files.synthetic.contents.unpin(content)
    found: list[bool] = []

    def ask() -> None:
        assert place.filesystem is not None
        asked.wait(60)
        files.synthetic.keep_for_holders(place.filesystem, place.inode)
        found.append(opened.is_closed)
        kept_on.set()

    asking = threading.Thread(target=ask)
    asking.start()
    files.synthetic.contents.holding.gone(content, content.watch, wrote=False)
    asking.join()
    assert found == [True]


def test_who_only_looks_does_not_keep_it_open(files: Files, place: Place) -> None:
    opened = Opened()
    content = hold(files, place, opened)
    files.synthetic.contents.unpin(content)
    assert place.filesystem is not None
    with files.synthetic.contents.kept(place.filesystem, place.inode):
        files.synthetic.keep_for_holders(place.filesystem, place.inode)
        assert opened.is_closed


def test_what_is_told_late_of_one_does_not_close_another(files: Files, place: Place) -> None:
    watches = iter(range(100))
    contents = files.synthetic.contents

    def listen(content: Content) -> None:
        content.watch = next(watches)

    contents.holding.on_hold = contents.holding.on_left = listen
    first, second = Opened(), Opened()
    content = hold(files, place, first)
    watch = content.watch
    contents.unpin(content)
    assert first.is_closed
    hold(files, place, second)
    contents.holding.gone(content, watch, wrote=False)
    assert not second.is_closed
    contents.holding.gone(content, content.watch, wrote=False)
    assert second.is_closed
    contents.unpin(content)


def test_what_we_write_ourselves_hides_nobody_who_is_gone(files: Files, place: Place) -> None:
    """The kernel tells of both at once."""
    opened = Opened()
    opened.writes = True
    content = hold(files, place, opened)
    content.ours = 1
    files.synthetic.contents.pin(place, attributes(place))
    files.synthetic.contents.unpin(content)
    files.synthetic.contents.holding.gone(content, content.watch, wrote=True)
    assert not opened.is_closed, "somebody is about to open it"
    files.synthetic.contents.unpin(content)
    assert opened.is_closed


def test_who_only_goes_on_does_not_wait_for_a_server_that_does_not_answer(files: Files, place: Place) -> None:
    opened = Opened()
    content = hold(files, place, opened)
    is_saving, is_done = threading.Event(), threading.Event()

    def save() -> None:
        with content.lock:
            is_saving.set()
            is_done.wait(60)

    saving = threading.Thread(target=save)
    saving.start()
    is_saving.wait(60)
    files.synthetic.contents.unpin(content)
    assert not opened.is_closed
    is_done.set()
    saving.join()
    deadline = time.monotonic() + 60
    while not opened.is_closed:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("there", "is_copied"),
    [(b"content", False), (b"CONTENT", True), (b"content and more", True), (b"", True)],
)
def test_what_is_read_again_is_copied_only_if_it_is_another(
    place: Place, monkeypatch: pytest.MonkeyPatch, there: bytes, is_copied: bool
) -> None:
    """Also if its file system does not tell yet that it is longer, or shorter."""
    filesystem, copied = place.filesystem, list[int]()
    assert isinstance(filesystem, Tree)

    def copy(inode: int, fd: int) -> None:
        copied.append(inode)
        os.write(fd, there)

    monkeypatch.setattr(filesystem, "writable", True)
    monkeypatch.setattr(filesystem, "large_above", 1 << 20)
    one = Contents(Inodes())
    content = one.pin(place, attributes(place))
    monkeypatch.setattr(filesystem, "read", lambda _inode, offset, size: there[offset : offset + size])
    monkeypatch.setattr(filesystem, "copy_content", copy)
    before = os.fstat(content.fd)
    assert one.pin(place, attributes(place), fresh=True) is content
    assert os.pread(content.fd, 100, 0) == there
    assert bool(copied) == is_copied
    assert is_copied or os.fstat(content.fd).st_ctime_ns == before.st_ctime_ns
    for _ in range(2):
        one.unpin(content)
    one.close()


def test_what_is_written_while_it_is_read_again_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by who has opened it nor by who is about to: what the file system has is older."""
    filesystem = place.filesystem
    assert isinstance(filesystem, Tree)
    monkeypatch.setattr(filesystem, "writable", True)
    one = Contents(Inodes())
    content = one.pin(place, attributes(place))
    one.opening(content, os.O_WRONLY)
    writer = os.open(content.path, os.O_WRONLY)
    writers = [writer]

    def read(_inode: int, fd: int) -> None:
        os.write(fd, b"earlier")
        if writers:
            os.pwrite(writer, b"written", 0)

    monkeypatch.setattr(filesystem, "copy_content", read)
    assert one.pin(place, attributes(place), fresh=True) is content  # before the writer has said that it has
    one.unpin(content)
    one.unpin(content)
    os.pwrite(writer, b"written", 0)
    content.is_dirty = False
    content.agree()
    assert one.pin(place, attributes(place), fresh=True) is content
    one.store(filesystem, place.inode, 7, b" and more")
    assert os.pread(content.fd, 100, 0) == b"written and more"
    assert content.needs_saving(), "what is written meanwhile would not be"
    os.close(writers.pop())
    one.unpin(content)
    content.is_dirty = content.writers = False
    content.agree()
    assert one.pin(place, attributes(place), fresh=True) is content
    assert os.pread(content.fd, 100, 0) == b"earlier"
    one.unpin(content)
    one.close()


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR], ids=["writing", "both"])
@pytest.mark.parametrize("wrote", [b"", b"written"], ids=["nothing", "something"])
def test_who_has_closed_it_writes_no_more_whatever_there_was_to_save(
    place: Place, monkeypatch: pytest.MonkeyPatch, flags: int, wrote: bytes
) -> None:
    """What was saved while it was open, or never written to, must not stay one that may be written."""
    filesystem = place.filesystem
    assert isinstance(filesystem, Tree)
    saved: list[bytes] = []
    differs: list[bool] = []
    monkeypatch.setattr(filesystem, "writable", True)
    monkeypatch.setattr(filesystem, "saves_late", False)
    monkeypatch.setattr(filesystem, "save_content", lambda _inode, fd: saved.append(os.pread(fd, 100, 0)))
    monkeypatch.setattr(filesystem, "set_attributes", lambda _inode, _changes: None)
    monkeypatch.setattr(filesystem, "differs", lambda _inode, does: differs.append(does))
    one = Contents(Inodes())
    content = one.pin(place, attributes(place))
    one.opening(content, flags)
    program = os.open(content.path, flags)
    one.unpin(content)
    os.write(program, wrote)
    one.save(content)
    assert content.writers
    os.close(program)
    one.save_closed(content)
    assert [content.writers, content.mappers] == [False, False]
    assert not differs[-1]
    assert not wrote or saved[-1] == wrote
    one.close()


def test_what_fails_while_another_waits_is_told_to_him_and_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to him, and then to the next who asks, who has not seen it fail."""
    filesystem = place.filesystem
    assert isinstance(filesystem, Tree)
    begun, waiting, goes_on = threading.Event(), threading.Event(), threading.Event()

    def save(_inode: int, _fd: int) -> None:
        if not begun.is_set():
            begun.set()
            goes_on.wait()
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(filesystem, "writable", True)
    monkeypatch.setattr(filesystem, "saves_late", False)
    monkeypatch.setattr(filesystem, "save_content", save)
    monkeypatch.setattr(filesystem, "set_attributes", lambda _inode, _changes: None)
    one = Contents(Inodes())
    content = one.pin(place, attributes(place))
    one.opening(content, os.O_WRONLY)
    with open(content.path, "wb") as program:
        program.write(b"written")
    one.unpin(content)
    first = threading.Thread(target=one.save_closed, args=[content])
    first.start()
    begun.wait()
    told: list[OSError | None] = []
    save_now = one.save

    def saved(content: Content) -> bool:
        waiting.set()
        return save_now(content)

    monkeypatch.setattr(one, "save", saved)
    second = threading.Thread(target=lambda: told.append(one.settle_closing(content)))
    second.start()
    waiting.wait()
    goes_on.set()
    first.join()
    second.join()
    assert [error and error.errno for error in told] == [errno.EDQUOT]
    assert content.failure is None
    one.close()
