"""Fixtures: what the workloads work in: a file, a tree of small files, a C project, a repository."""

from __future__ import annotations

import random
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

# Without system headers and libraries, which not every place has: own headers, in the second directory.
MAKEFILE = """\
OBJECTS := $(patsubst %.c,%.o,$(wildcard part*.c))
all: $(OBJECTS)
	ld -r -o $@ $(OBJECTS)
%.o: %.c
	gcc -O1 -ffreestanding -Iprivate -Iinclude -c -o $@ $<
"""

SOURCE = """\
#include "all.h"

unsigned part{index}(struct item0 *items, unsigned count)
{{
	unsigned sum = 0;

	for (unsigned i = 0; i < count; i++)
		for (unsigned j = i + 1; j < count; j++)
			if (compare0(&items[j], &items[i]) < 0) {{
				struct item0 kept = items[i];

				items[i] = items[j];
				items[j] = kept;
			}}
	for (unsigned i = 0; i < count; i++)
		sum += {index}u * items[i].key ^ sum >> 3;
	return sum;
}}
"""

HEADER = """\
#pragma once
struct item{index} {{
	unsigned key, value;
	const char *name;
}};
static inline int compare{index}(const struct item{index} *left, const struct item{index} *right)
{{
	return left->key == right->key ? *left->name - *right->name : (left->key > right->key) * 2 - 1;
}}
"""
HEADERS = 30


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything."""

    files: int = 2000
    sources: int = 40
    commits: int = 100
    tracked: int = 300


QUICK = Size(files=500, sources=8, commits=20, tracked=100)


def make_base(base: Path, size: Size) -> None:
    """Fill the directory `base`; the content is the same each time."""
    made = random.Random(1)
    base.mkdir()
    (base / "f").write_bytes(made.randbytes(8192))
    for number in range(size.files):
        file = base / "tree" / f"{number % 25}" / f"{number // 25 % 10}" / f"file{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(made.randbytes(200 + number % 1800))
    make_project(base / "project", size.sources)
    make_repository(base / "repository", size)


def make_project(project: Path, sources: int) -> None:
    """A C project of many small files."""
    for directory in (project, project / "include", project / "private"):
        directory.mkdir()
    (project / "Makefile").write_text(MAKEFILE)
    for index in range(HEADERS):
        (project / "include" / f"header{index}.h").write_text(HEADER.format(index=index))
    included = "".join(f'#include "header{index}.h"\n' for index in range(HEADERS))
    (project / "include" / "all.h").write_text(included)
    for index in range(sources):
        (project / f"part{index}.c").write_text(SOURCE.format(index=index))


def make_repository(repository: Path, size: Size) -> None:
    """A git repository with a history, and a branch `other` in which every third file differs."""
    repository.mkdir()
    for number in range(size.tracked):
        file = repository / f"part{number % 20}" / f"file{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n" * (number % 50 + 1))
    git(repository, "init", "-q", "-b", "main")
    for name, value in (("user.name", "Bench"), ("user.email", "bench@example.org"), ("gc.auto", "0")):
        git(repository, "config", name, value)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "The beginning")
    for number in range(size.commits):
        (repository / "changes").write_text(f"change {number}\n")
        git(repository, "add", "changes")
        git(repository, "commit", "-qm", f"Change {number}")
    git(repository, "checkout", "-qb", "other")
    for number in range(0, size.tracked, 3):
        (repository / f"part{number % 20}" / f"file{number}.txt").write_text("other\n")
    git(repository, "commit", "-qam", "Another way")
    git(repository, "checkout", "-q", "main")


def git(repository: Path, *arguments: str) -> None:
    """Run git in the repository."""
    subprocess.run(["git", "-C", str(repository), *arguments], check=True, stdout=subprocess.DEVNULL)


def make_zip(directory: Path, file: Path) -> None:
    """The directory as a zip archive, compressed, with its empty directories."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(directory.rglob("*")):
            archive.write(path, path.relative_to(directory))
