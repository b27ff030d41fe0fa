"""Support: a view on a fake host, as most tests of this folder want it."""

from __future__ import annotations

from collections.abc import Mapping

from diorama.interfaces.tree import Tree
from diorama.testing.fakes import FakeHost, FakeStatus
from diorama.view.inodes import Inodes
from diorama.view.mounts import Mount, MountTree, Place
from diorama.view.resolve import Resolver
from diorama.view.task import Task, Tasks


class World:
    """A mount tree on a host, with one task (thread 12 of process 10)."""

    def __init__(self, host: Mapping[str, bytes | str | None] | None = None) -> None:
        self.host = FakeHost(host)
        self.inodes = Inodes()
        self.tree = MountTree()
        self.tasks = Tasks(self.tree, self.host, self.inodes)
        self.resolver = Resolver(self.tree, self.host, self.inodes, self.tasks)
        self.task: Task = self.tasks.first(12)
        self.task.pid = 10

    def mount(self, mount: Mount, target: str) -> Mount:
        self.tree.attach(mount, self.resolve(target))
        return mount

    def bind(self, source: str, target: str, *, read_only: bool = False) -> Mount:
        return self.mount(Mount(host=source.encode(), read_only=read_only), target)

    def synthetic(self, target: str, **files: str) -> tuple[Mount, Tree]:
        tree = Tree("test")
        for name, content in files.items():
            tree.add_file(name.replace("__", "/").encode(), content.encode())
        return self.mount(Mount(filesystem=tree), target), tree

    def resolve(self, path: str, *, start: Place | None = None, **options: bool | int) -> Place:
        where = self.task.root if path.startswith("/") or start is None else start
        return self.resolver.resolve(self.task, where, path.encode(), **options)  # type: ignore[arg-type]

    def link(self, path: str, text: bytes, status: FakeStatus) -> None:
        self.host.link(path.encode(), text, status)
