"""House rules of the documents: each command and each file system has its page, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")


def commands() -> list[str]:
    import click

    from diorama.cli import diorama

    return diorama.list_commands(click.Context(diorama))


def test_each_command_stands_in_the_reference() -> None:
    text = "\n".join(page.read_text() for page in (DOCS / "reference").rglob("*.md"))
    assert not [command for command in commands() if f"diorama {command}" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_its_title(page: Path) -> None:
    assert page.read_text().startswith("# ")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "LICENSE", "docs/glossary.md"])
def test_the_documents_that_every_project_needs_are_there(name: str) -> None:
    assert (ROOT / name).is_file()
