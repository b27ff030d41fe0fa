"""House rules of the tree: sizes, first lines, layers, and what must not stand in it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "diorama"
MOST_LINES = 500
GENERATED = {"abi/numbers.py", "calls.py"}

MODULES = sorted(SOURCE.rglob("*.py"))
C_FILES = sorted(file for file in (ROOT / "native").rglob("*.[ch]"))
FIRST_LINE = re.compile(r"[A-Z_a-z][\w '`/-]{0,40}[:,] \S.*\.$")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", [*MODULES, *C_FILES], ids=name)
def test_a_file_has_at_most_500_lines(file: Path) -> None:
    text = file.read_text()
    generated = re.search(r"^\S.*\b[Gg]enerated by tools/", text, re.MULTILINE)
    assert generated or len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_a_module_s_docstring_begins_with_a_noun_and_what_it_is_for(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring, "no docstring"
    assert FIRST_LINE.match(docstring.splitlines()[0]), docstring.splitlines()[0]


@pytest.mark.parametrize("file", C_FILES, ids=name)
def test_a_c_file_begins_with_a_comment(file: Path) -> None:
    assert file.read_text().startswith("/*")


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_no_module_leaves_something_to_do(file: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", file.read_text())


def test_nothing_is_left_of_a_merge() -> None:
    out = subprocess.run(
        ["git", "grep", "--untracked", "-nIE", "^(<{7}|>{7}) "],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if out.returncode not in (0, 1):
        pytest.skip("not in a repository, or without git")
    assert not out.stdout


def test_public_functions_and_classes_have_docstrings() -> None:
    missing = [
        f"{name(file)}:{node.lineno} {node.name}"
        for file in MODULES
        if not file.name.startswith("_") or file.name == "__init__.py"
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs the git repository")
    command = [git, "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [ROOT / word for word in listed.split("\0") if word]


def test_no_file_names_a_path_of_one_machine() -> None:
    places = re.compile(r"(?<![\w.])/(?:home/(?!me\b)|root/|work/|var/tmp/|opt/|Users/)[\w.-]+")
    found = [
        f"{name(file)}:{number}: {match[0]}"
        for file in tracked_files()
        if file.is_file()
        for number, line in enumerate(file.read_text(errors="ignore").splitlines(), 1)
        for match in places.finditer(line)
    ]
    assert not found


def test_no_built_file_is_tracked() -> None:
    assert not [name(file) for file in tracked_files() if file.suffix in {".so", ".o", ".pyc", ".whl"}]


def test_layers_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("needs import-linter")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_importing_the_package_is_cheap() -> None:
    heavy = {
        "asyncio",
        "click",
        "ctypes",
        "fsspec",
        "greenlet",
        "msgspec",
        "rich",
        "subprocess",
        "typing_extensions",
    }
    code = "import sys; before = set(sys.modules); import diorama; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
