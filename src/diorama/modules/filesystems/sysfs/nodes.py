"""Nodes: what is in a directory of sysfs, made when somebody looks.

A folder that has something of the host's (`HostFolder`) shows that as it is now, but for what is hidden or
told otherwise.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["File", "Folder", "HostFolder", "Lazy", "Link", "Live", "Names", "Node", "lines", "number", "text"]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: what it has now, `OSError` for who reads it; `mode` are its permissions."""

    read: Callable[[], bytes]
    mode: int = 0o444


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: bytes


class Folder(ABC):
    """A directory."""

    @abstractmethod
    def find(self, name: bytes) -> Node | None:
        """What has a name; None if nothing has."""

    @abstractmethod
    def names(self) -> Iterable[bytes]:
        """The names that there are."""


Node = File | Link | Folder


class Names(Folder):
    """One whose names are known."""

    def __init__(self, nodes: Mapping[bytes, Node]) -> None:
        self._nodes = nodes

    def find(self, name: bytes) -> Node | None:
        return self._nodes.get(name)

    def names(self) -> Iterable[bytes]:
        return self._nodes


class Lazy(Mapping[bytes, "Node"]):
    """A node for each of `names`, made when somebody asks for it first, and others besides."""

    def __init__(
        self, names: Iterable[bytes], make: Callable[[bytes], Node], others: Mapping[bytes, Node]
    ) -> None:
        self._names = dict.fromkeys(names)
        self._make = make
        self._others = others
        self._made: dict[bytes, Node] = {}

    def __getitem__(self, name: bytes) -> Node:
        if name not in self._names:
            return self._others[name]
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._names
        yield from self._others

    def __len__(self) -> int:
        return len(self._names) + len(self._others)

    def __contains__(self, name: object) -> bool:
        return name in self._names or name in self._others


class Live(Folder):
    """One that is put together anew whenever somebody looks."""

    def __init__(self, make: Callable[[], Folder]) -> None:
        self._make = make

    def find(self, name: bytes) -> Node | None:
        return self._make().find(name)

    def names(self) -> Iterable[bytes]:
        return self._make().names()


def _never(_name: bytes) -> bool:
    return False


class HostFolder(Folder):
    """A directory of the host, without what is `hidden`, and with other nodes by their names."""

    def __init__(
        self,
        path: bytes,
        nodes: Mapping[bytes, Node] | None = None,
        hidden: Callable[[bytes], bool] = _never,
    ) -> None:
        self._path = path
        self._nodes: Mapping[bytes, Node] = nodes or {}
        self._hidden = hidden

    def find(self, name: bytes) -> Node | None:
        if name in self._nodes:
            return self._nodes[name]
        if self._hidden(name):
            return None
        path = self._path + b"/" + name
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                return Link(os.readlink(path))
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode):
            return HostFolder(path)
        return File(lambda: _read(path), stat.S_IMODE(status.st_mode) & 0o444)

    def names(self) -> Iterable[bytes]:
        try:
            there = os.listdir(self._path)
        except OSError:
            there = []
        return [*self._nodes, *(name for name in there if name not in self._nodes and not self._hidden(name))]


def _read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def text(value: bytes | str) -> File:
    """A file with a line."""
    line = (os.fsencode(value) if isinstance(value, str) else value) + b"\n"
    return File(lambda: line)


def number(value: int) -> File:
    """A file with a number."""
    return text(b"%d" % value)


def lines(values: Mapping[str, object]) -> File:
    """A file such as `uevent`."""
    whole = "".join(f"{name}={value}\n" for name, value in values.items())
    return File(lambda: os.fsencode(whole))
