"""Files: what `/proc/net` tells a program of its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.abi.socket import AF_INET
from diorama.dispatch.files.generated import Subject, makes

if TYPE_CHECKING:
    from diorama.dispatch.files.state import Files
    from diorama.view.task import Task

__all__: list[str] = []


def _concerns(task: Task, name: bytes) -> bool:
    network = task.stacks.find(AF_INET)
    return network is not None and f"/proc/{name.decode(errors='replace')}" in network.files()


@makes(rb"net/.+", concerns=_concerns)
def make_file(files: Files, subject: Subject) -> bytes:
    """A file that the network of the process has."""
    network = subject.task.stacks.find(AF_INET)
    content: bytes = network.files()[f"/proc/{subject.name.decode()}"]()
    return content
