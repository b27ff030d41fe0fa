"""A class of the user's own is a file system, or a mistake in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diorama.errors import UsageError
from diorama.interfaces.paths import PathFileSystem
from diorama.modules.sources import make_mount
from diorama.view.filesystem import Attributes
from modules.test_archives import content, find, names

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/write-a-file-system.md"
GOOD = """
from diorama.interfaces.tree import Tree

class Mine(Tree):
    def __init__(self, *texts, name=b"file"):
        super().__init__("mine")
        for number, text in enumerate(texts):
            self.add_file(name + b"%d" % number, text.encode())

def make():
    return Mine("made")

ready = Mine("one", "two")
number = 4
class Broken:
    class Inner(Tree):
        def __init__(self):
            raise ValueError("not today")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_text("x = = 1\n")
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("./mine.py:Mine", []),
        ("mine.py:Mine()", []),
        ("./mine.py:Mine('a', 'b')", [b"file0", b"file1"]),
        ("./mine.py:Mine('a', name=b'x')", [b"x0"]),
        ("./mine.py:make", [b"file0"]),
        ("./mine.py:ready", [b"file0", b"file1"]),
        ("mine:Mine('a')", [b"file0"]),
    ],
)
def test_what_can_be_named(file: Path, source: str, found: list[bytes]) -> None:
    mount = make_mount(f"py:{source}")
    assert mount.filesystem is not None
    assert names(mount.filesystem) == found  # type: ignore[arg-type]
    assert mount.type == "mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mine.py", "write py:MODULE:CLASS(ARGUMENTS)"),
        ("./none.py:Mine", "none.py is no Python file"),
        ("no.such.module:Mine", "No module named 'no'"),
        ("./broken.py:Mine", "line 1: invalid syntax"),
        ("./mine.py:None_", "has no None_"),
        ("./mine.py:Mine(x)", "arguments are literals of Python, not (x)"),
        ("./mine.py:Mine(1)", "AttributeError"),
        ("./mine.py:number", "no FileSystem and no Device, but an object of type int"),
        ("./mine.py:ready(1)", "takes no arguments"),
        ("./mine.py:Broken.Inner", "line 18: ValueError: not today"),
    ],
)
def test_mistakes_are_one_line(file: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_mount(f"py:{source}")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"cannot mount py:{source}: ")
    assert "\n" not in str(caught.value)


# -- the examples of the page ---------------------------------------------------------------------


def examples() -> dict[str, str]:
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(blocks)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    for name, text in examples().items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_examples_are_short() -> None:
    assert set(examples()) == {"clock.py", "notes.py"}
    classes = [text[text.index("\nclass ") :] for text in examples().values()]
    assert max(len(text.strip().splitlines()) for text in classes) <= 30


def test_the_clock_of_the_page(page: Path) -> None:
    mounted = make_mount(f'py:{page}/clock.py:Clock("UTC")').filesystem
    assert isinstance(mounted, PathFileSystem)
    assert names(mounted) == [b"now"]
    text = content(mounted, find(mounted, "now"))
    assert re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n", text)
    assert mounted.attributes(find(mounted, "now")).size == len(text)
    with pytest.raises(FileNotFoundError):
        find(mounted, "then")


def test_the_notes_of_the_page(page: Path) -> None:
    mounted = make_mount(f"py:{page}/notes.py:Notes").filesystem
    assert isinstance(mounted, PathFileSystem)
    inode = mounted.make(mounted.root, b"buy", Attributes(0o100644))
    mounted.save("buy", b"milk\n")
    assert content(mounted, inode) == b"milk\n"
    mounted.rename(mounted.root, b"buy", mounted.root, b"sell")
    assert names(mounted) == [b"sell"]
    assert content(mounted, inode) == b"milk\n"
    mounted.remove(mounted.root, b"sell")
    assert names(mounted) == []
    with pytest.raises(PermissionError):
        mounted.make(mounted.root, b"sub", Attributes(0o40755))
