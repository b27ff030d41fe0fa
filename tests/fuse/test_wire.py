"""The structures and numbers of the protocol against the C compiler and `<linux/fuse.h>`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from diorama.fuse import attributes, flags, handles, naming, notices, wire
from diorama.fuse.operations import NOTICES, OPERATIONS
from diorama.fuse.wire import Wire

HEADER = Path(os.environ.get("DIORAMA_FUSE_HEADER", "/usr/include/linux/fuse.h"))
"""Another one may be newer: that of libfuse is include/fuse_kernel.h."""
MODULES = (attributes, handles, naming, notices, wire)

# What stands in a structure of its own in C, and what C calls otherwise.
PREFIXES = {
    "fuse_statfs_out": ("st.", set[str]()),
    "fuse_lk_out": ("lk.", set[str]()),
    "fuse_lk_in": ("lk.", {"fh", "owner", "lk_flags"}),
    "fuse_statx_out": ("stat.", {"attr_valid", "attr_valid_nsec", "flags"}),
}
# One structure in C, of which the second record is the end.
ENDS = {"fuse_entry_out": "attr", "fuse_attr_out": "attr", "fuse_dirent": "name"}
# Which minor version has what a header may not know: structures, and members of others.
SINCE = {
    "fuse_statx_in": 39,
    "fuse_statx_out": 39,
    "fuse_backing_map": 40,
    "fuse_open_out.backing_id": 40,
    "fuse_init_out.max_stack_depth": 40,
    "fuse_init_out.request_timeout": 43,
    "fuse_copy_file_range_out": 45,
    "fuse_notify_prune_out": 45,
}
NEWER_FLAGS = {
    "FUSE_CREATE_SUPP_GROUP": 39,
    "FUSE_DIRECT_IO_ALLOW_MMAP": 39,
    "FUSE_PASSTHROUGH": 40,
    "FOPEN_PASSTHROUGH": 40,
    "FUSE_NO_EXPORT_SUPPORT": 40,
    "FUSE_HAS_RESEND": 40,
    "FUSE_ALLOW_IDMAP": 41,
    "FUSE_OVER_IO_URING": 42,
    "FUSE_REQUEST_TIMEOUT": 43,
}

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not HEADER.exists(), reason="needs gcc and the kernel's headers"
)


def header_minor() -> int:
    found = re.search(r"FUSE_KERNEL_MINOR_VERSION (\d+)", HEADER.read_text())
    assert found is not None
    return int(found[1])


def records(module: ModuleType) -> list[type[Wire]]:
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Wire)]
    return [value for value in found if value is not Wire and value.__module__ == module.__name__]


ALL = [one for module in MODULES for one in records(module)]
STRUCTURES = [(one, next(iter(one.LAYOUTS))) for one in ALL]


def evaluate(tmp_path: Path, expressions: list[str]) -> list[int]:
    source = tmp_path / "values.c"
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({text}));' for text in expressions)
    names = ("<stddef.h>", "<stdio.h>", "<sys/ioctl.h>", f'"{HEADER}"')
    includes = "".join(f"#include {name}\n" for name in names)
    source.write_text(f"{includes} int main(void) {{ {lines} return 0; }}")
    program = tmp_path / "values"
    subprocess.run(["gcc", "-o", program, source], check=True, timeout=60)
    output = subprocess.run([program], capture_output=True, check=True, timeout=50).stdout
    return [int(word) for word in output.split()]


def test_every_structure_has_the_kernels_size_and_offsets(tmp_path: Path) -> None:
    wanted: list[tuple[str, int]] = []
    for one, name in STRUCTURES:
        if SINCE.get(name, 0) > header_minor():
            continue
        layout = one.LAYOUTS[name]
        end = ENDS.get(name)
        size = f"sizeof(struct {name})" if end is None else f"offsetof(struct {name}, {end})"
        wanted.append((size, layout.size))
        prefix, plain = PREFIXES.get(name, ("", set[str]()))
        for member, offset in layout.offsets.items():
            if SINCE.get(f"{name}.{member}", 0) > header_minor():
                continue
            inside = member if member in plain else prefix + member
            if name == "fuse_statx_out":
                inside = re.sub(r"^(stat\..time)nsec$", r"\1.tv_nsec", inside)
            wanted.append((f"offsetof(struct {name}, {inside})", offset))
    assert len(wanted) > 150
    assert evaluate(tmp_path, [text for text, _ in wanted]) == [value for _, value in wanted]


@pytest.mark.parametrize("name", SINCE)
def test_what_is_newer_than_the_header_of_some_systems_is_where_newer_ones_have_it(
    tmp_path: Path, name: str
) -> None:
    if SINCE[name] > header_minor():
        pytest.skip(f"{HEADER} is of version 7.{header_minor()}, and {name} of 7.{SINCE[name]}")
    structure, _, member = name.partition(".")
    layout = next(one.LAYOUTS[found] for one, found in STRUCTURES if found == structure)
    wanted = f"offsetof(struct {structure}, {member})" if member else f"sizeof(struct {structure})"
    assert evaluate(tmp_path, [wanted]) == [layout.offsets[member] if member else layout.size]


def test_what_is_newer_has_the_size_that_the_protocol_gives() -> None:
    # What include/uapi/linux/fuse.h of 7.45 says of each, for machines whose header is older.
    newer = (attributes.StatxIn, attributes.StatxOut, handles.BackingMap, handles.CopyFileRangeOut)
    assert [one.width() for one in newer] == [24, 288, 16, 8]
    assert (notices.NotifyPrune.width(), handles.OpenOut.width(), wire.InitOut.width()) == (16, 16, 64)
    assert handles.OpenOut.LAYOUTS["fuse_open_out"].offsets["backing_id"] == 12
    offsets = wire.InitOut.LAYOUTS["fuse_init_out"].offsets
    assert (offsets["max_stack_depth"], offsets["request_timeout"]) == (36, 40)


def test_older_layouts_have_the_sizes_that_the_header_names(tmp_path: Path) -> None:
    names = ["FUSE_COMPAT_SETXATTR_IN_SIZE", "FUSE_COMPAT_22_INIT_OUT_SIZE"]
    short = [attributes.SetXattrIn.width("short"), wire.InitOut.width("short")]
    assert evaluate(tmp_path, names) == short
    assert wire.InitIn.width("short") == 16


def test_every_opcode_and_notification_is_declared_with_its_number() -> None:
    text = HEADER.read_text()
    enumerated = text[text.index("enum fuse_opcode") :]
    opcodes = dict(re.findall(r"\bFUSE_(\w+)\s*= (\d+),", enumerated[: enumerated.index("};")]))
    codes = dict(re.findall(r"FUSE_NOTIFY_(\w+)\s*= (\d+),", text[text.index("enum fuse_notify_code") :]))
    known = {name: int(number) for name, number in opcodes.items() if not name.startswith("NOTIFY_")}
    del known["INIT_BSWAP_RESERVED"], known["SETUPMAPPING"], known["REMOVEMAPPING"]
    known["NOTIFY_REPLY"] = int(opcodes["NOTIFY_REPLY"])
    minor = header_minor()
    declared = {one.name: one.number for one in OPERATIONS.values() if one.since <= minor}
    assert declared == known
    assert {notice.name: notice.code for notice in NOTICES.values() if notice.since <= minor} == {
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
    missing = {f"{prefix}{one.name}" for one in kind} - {f"{prefix}{one.name}" for one in there}
    assert missing == {name for name in missing if NEWER_FLAGS[name] > header_minor()}
    found = evaluate(tmp_path, [f"{prefix}{one.name}" for one in there])
    # The header's 1 << 31 is an int, and negative.
    assert [value & 0xFFFFFFFF if value >> 63 else value for value in found] == there


def test_plain_constants_have_the_kernels_values(tmp_path: Path) -> None:
    text = HEADER.read_text()
    names = [name for name in vars(flags) if name.isupper() and re.search(rf"\bFUSE_{name}\b", text)]
    assert len(names) > 20
    assert evaluate(tmp_path, [f"FUSE_{name}" for name in names]) == [getattr(flags, name) for name in names]
