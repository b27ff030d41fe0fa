"""The structures and numbers of the protocol against the C compiler and `<linux/fuse.h>`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from diorama.fuse import attributes, flags, handles, naming, notices, wire
from diorama.fuse.operations import NOTICES, OPERATIONS
from diorama.fuse.wire import Wire

HEADER = Path("/usr/include/linux/fuse.h")
MODULES = (attributes, handles, naming, notices, wire)

# What stands in a structure of its own in C, and what C calls otherwise.
PREFIXES = {
    "fuse_statfs_out": ("st.", set()),
    "fuse_lk_out": ("lk.", set()),
    "fuse_lk_in": ("lk.", {"fh", "owner", "lk_flags"}),
}
# One structure in C, of which the second record is the end.
ENDS = {"fuse_entry_out": "attr", "fuse_attr_out": "attr", "fuse_dirent": "name"}
# Newer than the header of Debian 12.
NEWER = {"fuse_statx_in", "fuse_statx_out"}

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not HEADER.exists(), reason="needs gcc and the kernel's headers"
)


def records(module: ModuleType) -> list[type[Wire]]:
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Wire)]
    return [value for value in found if value is not Wire and value.__module__ == module.__name__]


ALL = [one for module in MODULES for one in records(module)]
STRUCTURES = [(one, next(iter(one.LAYOUTS))) for one in ALL]


def evaluate(tmp_path: Path, expressions: list[str]) -> list[int]:
    source = tmp_path / "values.c"
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({text}));' for text in expressions)
    includes = "#include <stddef.h>\n#include <stdio.h>\n#include <sys/ioctl.h>\n#include <linux/fuse.h>\n"
    source.write_text(f"{includes} int main(void) {{ {lines} return 0; }}")
    program = tmp_path / "values"
    subprocess.run(["gcc", "-o", program, source], check=True, timeout=60)
    output = subprocess.run([program], capture_output=True, check=True, timeout=50).stdout
    return [int(word) for word in output.split()]


def test_every_structure_has_the_kernels_size_and_offsets(tmp_path: Path) -> None:
    wanted: list[tuple[str, int]] = []
    for one, name in STRUCTURES:
        if name in NEWER:
            continue
        layout = one.LAYOUTS[name]
        end = ENDS.get(name)
        size = f"sizeof(struct {name})" if end is None else f"offsetof(struct {name}, {end})"
        wanted.append((size, layout.size))
        prefix, plain = PREFIXES.get(name, ("", set()))
        for member, offset in layout.offsets.items():
            inside = member if member in plain else prefix + member
            wanted.append((f"offsetof(struct {name}, {inside})", offset))
    assert len(wanted) > 150
    assert evaluate(tmp_path, [text for text, _ in wanted]) == [value for _, value in wanted]


def test_what_is_newer_than_the_header_has_the_size_that_the_protocol_gives() -> None:
    # include/uapi/linux/fuse.h of 7.39: three members of 64 bits; 32 bytes before a struct statx of 256.
    assert (attributes.StatxIn.width(), attributes.StatxOut.width()) == (24, 288)


def test_older_layouts_have_the_sizes_that_the_header_names(tmp_path: Path) -> None:
    names = ["FUSE_COMPAT_SETXATTR_IN_SIZE", "FUSE_COMPAT_22_INIT_OUT_SIZE"]
    short = [attributes.SetXattrIn.width("short"), wire.InitOut.width("short")]
    assert evaluate(tmp_path, names) == short
    assert wire.InitIn.width("short") == 16


def test_every_opcode_and_notification_is_declared_with_its_number() -> None:
    text = HEADER.read_text()
    opcodes = dict(re.findall(r"\bFUSE_(\w+)\s*= (\d+),", text[text.index("enum fuse_opcode") :]))
    codes = dict(re.findall(r"FUSE_NOTIFY_(\w+)\s*= (\d+),", text[text.index("enum fuse_notify_code") :]))
    known = {name: int(number) for name, number in opcodes.items() if not name.startswith("NOTIFY_")}
    del known["INIT_BSWAP_RESERVED"], known["SETUPMAPPING"], known["REMOVEMAPPING"]
    known["NOTIFY_REPLY"] = int(opcodes["NOTIFY_REPLY"])
    declared = {one.name: one.number for one in OPERATIONS.values() if one.since <= 38}
    assert declared == known
    assert {notice.name: notice.code for notice in NOTICES.values()} == {
        name: int(code) for name, code in codes.items()
    }


@pytest.mark.parametrize(
    ("kind", "prefix"), [(flags.Init, "FUSE_"), (flags.FAttr, "FATTR_"), (flags.FOpen, "FOPEN_")]
)
def test_flags_have_the_kernels_values(
    tmp_path: Path, kind: type[flags.Init | flags.FAttr | flags.FOpen], prefix: str
) -> None:
    text = HEADER.read_text()
    there = [one for one in kind if re.search(rf"#define {prefix}{one.name}\s", text)]
    assert len(there) >= len(kind) - 2
    expressions = [f"(unsigned long long)({prefix}{one.name}) & ~(-1ULL << 63)" for one in there]
    found = evaluate(tmp_path, expressions)
    # The header's 1 << 31 is an int, and negative.
    assert [value & 0xFFFFFFFF if value >> 40 else value for value in found] == there


def test_plain_constants_have_the_kernels_values(tmp_path: Path) -> None:
    text = HEADER.read_text()
    names = [name for name in vars(flags) if name.isupper() and re.search(rf"\bFUSE_{name}\b", text)]
    assert len(names) > 20
    assert evaluate(tmp_path, [f"FUSE_{name}" for name in names]) == [getattr(flags, name) for name in names]
