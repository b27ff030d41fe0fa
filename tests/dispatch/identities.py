"""Identities: what `tests/programs/credentials.c` tells, and what the model makes of the same calls."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diorama.abi.capability import ALL_CAPABILITIES, FileCapabilities
from diorama.dispatch.identity.capabilities import OPTIONS
from diorama.view import capabilities
from diorama.view.identity import Identity

EFFECTIVE = 1
REVISION_2 = 0x02000000
VERSION_3 = 0x20080522


@dataclass(frozen=True, slots=True)
class File:
    """A program whose mode, owner and capabilities change who runs it."""

    name: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    capabilities: FileCapabilities | None = None

    def make(self, directory: Path, program: bytes) -> None:
        """Make it; `OSError` where we may not."""
        path = directory / self.name
        path.write_bytes(program)
        os.chown(path, self.uid, self.gid)
        path.chmod(self.mode)
        if self.capabilities is not None:
            os.setxattr(path, "security.capability", self.attribute())

    def attribute(self) -> bytes:
        """Its attribute `security.capability`."""
        assert self.capabilities is not None
        permitted, inheritable, effective = self.capabilities
        words = [one >> shift & 0xFFFFFFFF for shift in (0, 32) for one in (permitted, inheritable)]
        return struct.pack("<5I", REVISION_2 | (EFFECTIVE if effective else 0), *words)

    def privileges(self) -> capabilities.Privileges:
        """What it gives who executes it."""
        return capabilities.Privileges(
            self.uid if self.mode & 0o4000 else None,
            self.gid if self.mode & 0o2010 == 0o2010 else None,
            self.capabilities,
        )


def able(permitted: int, inheritable: int = 0, *, effective: bool = True) -> FileCapabilities:
    """Capabilities of a file."""
    return FileCapabilities(permitted, inheritable, effective)


FILES = (
    File("plain"),
    File("of_root", 0o4755),
    File("of_1000", 0o4755, 1000),
    File("group_7", 0o2755, 0, 7),
    File("both", 0o6755, 1, 7),
    File("group_without_x", 0o2745, 0, 5),
    File("able", capabilities=able(1 << 7 | 1)),
    File("able_if_inherited", capabilities=able(0, 1 << 6 | 1 << 5)),
    File("permitted_only", capabilities=able(1 << 8, effective=False)),
    File("root_and_able", 0o4755, capabilities=able(1 << 5)),
    File("nothing", capabilities=able(0, effective=False)),
)
BY_NAME = {file.name: file for file in FILES}


@dataclass
class Model:
    """The same calls, made with the model; `directory` is where the files are."""

    who: Identity
    told: list[str] = field(default_factory=list[str])

    def make(self, line: str) -> None:
        """One line of input."""
        name, *words = line.split()
        result = error = 0
        try:
            outcome = self._call(name, words)
            if isinstance(outcome, int):
                result = outcome
            else:
                self.who = outcome
        except OSError as refusal:
            result, error = -1, refusal.errno or 0
        if not (name == "exec" and not words and error):
            self.told.append(f"{name.removesuffix('16')} {result} {error}{shown(self.who)}")

    def _call(self, name: str, words: list[str]) -> Identity | int:
        if name == "exec":
            file = BY_NAME[os.path.basename(words[0])] if words else File("")
            return capabilities.execute(self.who, file.privileges()).identity
        numbers = [int(word, 0) for word in words]
        if name == "prctl":
            option, *others = [*numbers, 0, 0, 0, 0]
            fields = ("second", "third", "fourth", "fifth")
            others = [number & (1 << 64) - 1 for number in others]
            call: Any = SimpleNamespace(**dict(zip(fields, others, strict=False)))
            return OPTIONS[option](self.who, call)
        if name == "capset":
            sets = [number & ALL_CAPABILITIES for number in numbers[2:]]
            return capabilities.capset(self.who, *sets)
        if name == "setgroups":
            return self.who.setgroups(tuple(numbers))
        changed: Identity = getattr(self.who, name)(*numbers)
        if name in ("setfsuid", "setfsgid"):
            before = self.who.fsuid if name == "setfsuid" else self.who.fsgid
            self.who = changed
            return before
        return changed


def shown(who: Identity) -> str:
    """An identity as the program tells it."""
    users = f"{who.uid} {who.euid} {who.suid} {who.fsuid}"
    groups = f"{who.gid} {who.egid} {who.sgid} {who.fsgid}"
    others = "".join(f" {group}" for group in who.groups)
    sets = (who.effective, who.permitted, who.inheritable, who.bounding, who.ambient)
    told = " ".join(f"{one:x}" for one in sets)
    return f" | {users} | {groups} |{others} | {told} | {who.securebits:x} {int(who.no_new_privs)}"


def parse(line: str) -> Identity:
    """An identity that the program has told."""
    _, users, groups, others, sets, flags = line.split("|")
    effective, permitted, inheritable, bounding, ambient = (int(one, 16) for one in sets.split())
    securebits, no_new_privs = flags.split()
    return Identity(
        *map(int, users.split()),
        *map(int, groups.split()),
        tuple(map(int, others.split())),
        permitted, effective, inheritable, bounding, ambient, int(securebits, 16), no_new_privs == "1",
    )  # fmt: skip
