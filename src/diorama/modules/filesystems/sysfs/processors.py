"""Processors: /sys/devices/system/cpu and node, for as many CPUs as a view tells of.

Each is like one of the machine's, of more than there are the last ones like the first; they are cores of one
processor, as /proc/cpuinfo tells it.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import Final

from diorama.dispatch.names.memory import scaled_node
from diorama.modules.filesystems.sysfs.nodes import File, Folder, HostFolder, Lazy, Link, Node, number, text
from diorama.view.system import Cpus

__all__ = ["Processors"]

_PROCESSORS: Final = b"/sys/devices/system/cpu"
_NODES: Final = b"/sys/devices/system/node"
_NUMBERED: Final = re.compile(rb"(?:cpu|policy)(\d+)")
_OWN: Final = (b"thread_siblings", b"core_cpus", b"cluster_cpus")
_COMMON: Final = (b"core_siblings", b"package_cpus", b"die_cpus")
_PRIVATE_LEVELS: Final = 2
_LISTS: Final = (b"online", b"possible", b"present", b"enabled")


class Processors:
    """What is told of so many CPUs, and of memory; None for what is the machine's."""

    def __init__(self, count: int | None, memory: int | None) -> None:
        self._memory = memory
        self._has_own = count is not None
        self._count = count = count or 1
        self._all = Cpus(count, (1 << count) - 1)

    @cached_property
    def _machine(self) -> list[int]:
        """The CPUs of the machine."""
        found = [_NUMBERED.fullmatch(name) for name in os.listdir(_PROCESSORS) if name.startswith(b"cpu")]
        return sorted(int(match[1]) for match in found if match) or [0]

    def _like(self, cpu: int) -> int:
        """The CPU of the machine that one is like."""
        return self._machine[cpu % len(self._machine)]

    def _one(self, cpu: int) -> Cpus:
        return Cpus(self._count, 1 << cpu)

    @staticmethod
    def _is_numbered(name: bytes) -> bool:
        return _NUMBERED.fullmatch(name) is not None

    # -- CPUs ---------------------------------------------------------------------------------

    def processors(self) -> Folder:
        """/sys/devices/system/cpu."""
        nodes: dict[bytes, Node] = {b"offline": text("")}
        for name in _LISTS:
            if os.path.exists(_PROCESSORS + b"/" + name):
                nodes[name] = text(self._all.as_list)
        if self._count > _number_in(_PROCESSORS + b"/kernel_max"):
            nodes[b"kernel_max"] = number(self._count - 1)
        if os.path.isdir(_PROCESSORS + b"/cpufreq"):
            nodes[b"cpufreq"] = HostFolder(_PROCESSORS + b"/cpufreq", hidden=self._is_of_none)
        cpus = [b"cpu%d" % cpu for cpu in range(self._count)]
        return HostFolder(_PROCESSORS, Lazy(cpus, self._processor, nodes), self._is_numbered)

    def _is_of_none(self, name: bytes) -> bool:
        match = _NUMBERED.fullmatch(name)
        return match is not None and int(match[1]) >= self._count

    def _processor(self, name: bytes) -> Folder:
        cpu = int(name[3:])
        path = _PROCESSORS + b"/cpu%d" % self._like(cpu)
        nodes: dict[bytes, Node] = {}
        if os.path.isdir(path + b"/topology"):
            nodes[b"topology"] = self._topology(cpu, path + b"/topology")
        if os.path.isdir(path + b"/cache"):
            nodes[b"cache"] = self._caches(cpu, path + b"/cache")
        return HostFolder(path, nodes, lambda name: name == b"firmware_node")

    def _topology(self, cpu: int, path: bytes) -> Folder:
        told: dict[bytes, Node] = {
            b"core_id": number(cpu),
            b"die_id": number(0),
            b"physical_package_id": number(0),
        }
        for names, cpus in ((_OWN, self._one(cpu)), (_COMMON, self._all)):
            for name in names:
                told |= {name: text(cpus.as_words), name + b"_list": text(cpus.as_list)}
        there = set(os.listdir(path))
        return HostFolder(path, {name: node for name, node in told.items() if name in there})

    def _caches(self, cpu: int, path: bytes) -> Folder:
        numbered = [name for name in os.listdir(path) if re.fullmatch(rb"index\d+", name)]
        return HostFolder(path, {name: self._cache(cpu, path + b"/" + name) for name in numbered})

    def _cache(self, cpu: int, path: bytes) -> Folder:
        """One of the caches of a CPU, its own or shared by all."""
        is_shared = _number_in(path + b"/level") > _PRIVATE_LEVELS
        cpus = self._all if is_shared else self._one(cpu)
        told: dict[bytes, Node] = {
            b"id": number(0 if is_shared else cpu),
            b"shared_cpu_list": text(cpus.as_list),
            b"shared_cpu_map": text(cpus.as_words),
        }
        return HostFolder(
            path, {name: node for name, node in told.items() if os.path.exists(path + b"/" + name)}
        )

    # -- nodes --------------------------------------------------------------------------------

    def nodes(self) -> Folder:
        """/sys/devices/system/node."""
        names = [name for name in os.listdir(_NODES) if re.fullmatch(rb"node\d+", name)]
        paths = [_NODES + b"/" + name for name in names]
        return HostFolder(_NODES, {name: self._node(_NODES + b"/" + name, paths) for name in names})

    def _node(self, path: bytes, all_nodes: list[bytes]) -> Folder:
        memory = self._memory
        nodes: dict[bytes, Node] = {}
        if memory is not None:
            nodes[b"meminfo"] = File(lambda: scaled_node(path, all_nodes, memory))
        if not self._has_own:
            return HostFolder(path, nodes)
        there = set(os.listdir(path))
        own = [cpu for cpu in range(self._count) if b"cpu%d" % self._like(cpu) in there]
        cpus = Cpus(self._count, sum(1 << cpu for cpu in own))
        nodes |= {b"cpu%d" % cpu: Link(b"../../cpu/cpu%d" % cpu) for cpu in own}
        nodes |= {b"cpulist": text(cpus.as_list), b"cpumap": text(cpus.as_words)}
        return HostFolder(path, nodes, self._is_numbered)


def _number_in(path: bytes) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
