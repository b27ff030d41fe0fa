"""Disks: what /sys tells of the devices of a view, beside those of the host.

Each disk has a directory in /sys/devices/diorama, as the kernel has one for each piece of hardware, and in
that its block device, with its partitions; links in /sys/block, /sys/class/block and /sys/dev/block lead
there.  Names are those of /proc/partitions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from diorama.dispatch.files.numbered import devices_of, name_of_device
from diorama.interfaces.blockfile import BlockFile
from diorama.interfaces.device import BlockDevice
from diorama.interfaces.devicefile import DeviceFile
from diorama.modules.filesystems.sysfs.nodes import (
    Folder,
    HostFolder,
    Link,
    Names,
    Node,
    lines,
    number,
    text,
)
from diorama.view.asking import asker

__all__ = ["DEVICES", "shows_block", "shows_by_number", "shows_characters", "shows_class", "shows_devices"]

DEVICES: Final = b"/sys/devices/diorama"
_SECTOR: Final = 512
_RANGE: Final = 64
_NO_TRAFFIC: Final = b" ".join([b"%8d" % 0] * 17)


@dataclass(slots=True)
class _Disk:
    """A block device, with its partitions by their names."""

    name: bytes
    file: BlockFile
    parts: dict[bytes, BlockFile] = field(default_factory=dict[bytes, BlockFile])


def _special(kind: int) -> Iterator[tuple[bytes, DeviceFile]]:
    """The devices of a type that who asks finds in his namespace, by name: each number once."""
    who = asker()
    seen: set[int] = set()
    names: set[bytes] = set()
    for mount in devices_of(who.task.tree, kind) if who is not None else ():
        file, name = mount.filesystem, name_of_device(mount)
        if isinstance(file, DeviceFile) and file.number not in seen and name not in names:
            seen.add(file.number)
            names.add(name)
            yield name, file


def _disks() -> list[_Disk]:
    """What there is of block devices; a partition without its disk stands for itself."""
    found = [(name, file) for name, file in _special(stat.S_IFBLK) if isinstance(file, BlockFile)]
    whole = {file.disk: _Disk(name, file) for name, file in found if not file.partition}
    alone: list[_Disk] = []
    for name, file in found:
        if file.partition and file.disk in whole:
            whole[file.disk].parts[name] = file
        elif file.partition:
            alone.append(_Disk(name, file))
    return [*whole.values(), *alone]


def _places() -> Iterator[tuple[bytes, DeviceFile, bytes]]:
    """Each block device: its name, its file, and where it is below /sys."""
    for disk in _disks():
        place = b"devices/diorama/%b/block/%b" % (disk.name, disk.name)
        yield disk.name, disk.file, place
        for name, part in disk.parts.items():
            yield name, part, place + b"/" + name


def _number(file: DeviceFile) -> bytes:
    return b"%d:%d" % (os.major(file.number), os.minor(file.number))


# -- the folders ----------------------------------------------------------------------------------


def shows_block() -> Folder:
    """/sys/block: the disks."""
    return _beside(b"/sys/block", {d.name: Link(b"../" + _place_of(d)) for d in _disks()})


def _place_of(disk: _Disk) -> bytes:
    return b"devices/diorama/%b/block/%b" % (disk.name, disk.name)


def shows_class() -> Folder:
    """/sys/class/block: disks and partitions."""
    found = {name: Link(b"../../" + place) for name, _file, place in _places()}
    return _beside(b"/sys/class/block", found)


def shows_by_number() -> Folder:
    """/sys/dev/block: the same by their numbers."""
    found = {_number(file): Link(b"../../" + place) for _name, file, place in _places()}
    return _beside(b"/sys/dev/block", found)


def shows_characters() -> Folder:
    """/sys/dev/char: the character devices by their numbers; what the host has is what it says."""
    found: dict[bytes, Node] = {}
    for name, file in _special(stat.S_IFCHR):
        if not os.path.lexists(b"/sys/dev/char/" + _number(file)):
            found[_number(file)] = Link(b"../../devices/diorama/" + name)
    return HostFolder(b"/sys/dev/char", found)


def _beside(path: bytes, nodes: Mapping[bytes, Node]) -> Folder:
    """What the host has in a directory of links, and these; without what it has of the same names."""
    names = {os.path.basename(node.target) for node in nodes.values() if isinstance(node, Link)}

    def hidden(name: bytes) -> bool:
        try:
            return os.path.basename(os.readlink(path + b"/" + name)) in names
        except OSError:
            return False

    return HostFolder(path, nodes, hidden)


def shows_devices() -> Folder:
    """/sys/devices/diorama: each with what the kernel tells of it."""
    found: dict[bytes, Node] = {disk.name: _hardware(disk) for disk in _disks()}
    for name, file in _special(stat.S_IFCHR):
        found.setdefault(name, Names({b"dev": text(_number(file)), b"uevent": _event(name, file)}))
    return Names(found)


def _event(name: bytes, file: DeviceFile, **more: object) -> Node:
    told = os.fsdecode(name).replace("!", "/")
    return lines({"MAJOR": os.major(file.number), "MINOR": os.minor(file.number), "DEVNAME": told, **more})


def _hardware(disk: _Disk) -> Folder:
    device = disk.file.device
    return Names(
        {
            b"block": Names({disk.name: _whole(disk)}),
            b"model": text(device.model),
            b"serial": text(f"{disk.file.number:X}"),
            b"uevent": lines({"DRIVER": "diorama"}),
        }
    )


def _common(name: bytes, file: BlockFile, **more: object) -> dict[bytes, Node]:
    """What disks and partitions have alike (testing/sysfs-block)."""
    return {
        b"alignment_offset": number(0),
        b"dev": text(_number(file)),
        b"discard_alignment": number(0),
        b"holders": Names({}),
        b"inflight": text(b"%8d %8d" % (0, 0)),
        b"ro": number(file.is_read_only),
        b"size": number(file.size // _SECTOR),
        b"stat": text(_NO_TRAFFIC),
        b"uevent": _event(name, file, **more),
    }


def _whole(disk: _Disk) -> Folder:
    file = disk.file
    nodes = _common(disk.name, file, DEVTYPE="disk", DISKSEQ=file.disk.sequence)
    nodes |= {
        b"capability": number(0),
        b"device": Link(b"../../../" + disk.name),
        b"diskseq": number(file.disk.sequence),
        b"events": text(""),
        b"events_async": text(""),
        b"events_poll_msecs": number(-1),
        b"ext_range": number(256 if file.device.has_partitions else 1),
        b"hidden": number(0),
        b"queue": _queue(file),
        b"range": number(_RANGE if file.device.has_partitions else 1),
        b"removable": number(0),
        b"slaves": Names({}),
        b"subsystem": Link(b"../../../../../class/block"),
    }
    return Names(nodes | {name: _part(name, part) for name, part in disk.parts.items()})


def _part(name: bytes, file: BlockFile) -> Folder:
    nodes = _common(name, file, DEVTYPE="partition", PARTN=file.partition)
    nodes |= {
        b"partition": number(file.partition),
        b"start": number(file.start // _SECTOR),
        b"subsystem": Link(b"../../../../../../class/block"),
    }
    return Names(nodes)


def _queue(file: BlockFile) -> Folder:
    device = file.device
    discards = type(device).discard is not BlockDevice.discard
    told: dict[str, int | str] = {
        "add_random": 0,
        "chunk_sectors": 0,
        "dax": 0,
        "discard_granularity": device.sector if discards else 0,
        "discard_max_bytes": (1 << 32) - _SECTOR if discards else 0,
        "discard_max_hw_bytes": (1 << 32) - _SECTOR if discards else 0,
        "discard_zeroes_data": 0,
        "fua": 0,
        "hw_sector_size": device.sector,
        "io_poll": 0,
        "iostats": 0,
        "logical_block_size": device.sector,
        "max_hw_sectors_kb": 1280,
        "max_sectors_kb": 1280,
        "minimum_io_size": device.physical_sector,
        "nomerges": 0,
        "nr_requests": 128,
        "nr_zones": 0,
        "optimal_io_size": 0,
        "physical_block_size": device.physical_sector,
        "read_ahead_kb": file.ahead // 2,
        "rotational": 0,
        "scheduler": "[none]",
        "write_cache": "write back",
        "zone_append_max_bytes": 0,
        "zoned": "none",
    }
    return Names({name.encode(): text(str(value)) for name, value in told.items()})
