"""Mounting: `image:FILE`, whatever the file has in it.

What begins the image decides: a file system, or a table of partitions, of which `partition=N` chooses one.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, suppress

from diorama.errors import UsageError
from diorama.interfaces.filesystem import FileSystem
from diorama.interfaces.partitions import DamagedTable, Partition, overlap, partitions_of
from diorama.modules.filesystems.images.claim import Claim, claim
from diorama.modules.filesystems.images.part import Part
from diorama.modules.filesystems.images.serving import Image, Way, way_for
from diorama.modules.filesystems.images.signatures import Found, find_type
from diorama.modules.opening import host_path, open_source, usage_errors
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_image"]

_SHOWN = 8


def open_image(rest: str, options: Options) -> Mount:
    """A mount of what is in the image at a path; `UsageError` in one line for whatever is wrong with it."""
    what = f"image:{rest}"
    number = options.take("partition")
    with usage_errors(what), ExitStack() as held:
        device = claim(what, rest, options)
        if device is not None:
            held.callback(device.release_unless_kept)
        source = Part(_opened(what, rest)) if device is None else device.part()
        whole, chosen, part = _parts(held, what, source, number)
        found = _found(what, part)
        way = way_for(what, found.type, part)
        path = _written_at(rest, way, device, options)
        if device is None and path is not None and not os.path.samestat(os.stat(path), os.fstat(whole.fd)):
            copy = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # in layers
            whole, chosen, part = _parts(held, what, Part(copy), number)
        writable = _may_write(what, whole, chosen, way, path, options)
        flags = tuple(sorted(flag for flag in way.flags if options.is_set(flag)))
        options.finish(what)
        path = path or f"/proc/self/fd/{part.fd}"
        filesystem = _served(Image(what, path, part, found.type, writable, flags), way)
        if device is not None:
            device.keep_for(filesystem)
    return Mount(
        filesystem=filesystem,
        kind=stat.S_IFDIR,
        read_only=not writable,
        source=what,
        type=found.type,
        options=options.shown,
    )


def _written_at(rest: str, way: Way, device: Claim | None, options: Options) -> str | None:
    """Where the image is on the host, if it is to be written and may be."""
    if options.read_only or not (way.writes and way.can_write):
        return None
    return _writable_path(rest) if device is None else device.writable_path


def _parts(
    held: ExitStack, what: str, source: Part, number: str | None
) -> tuple[Part, Partition | None, Part]:
    """All of an image, and what of it is mounted."""
    whole = held.enter_context(source)
    chosen = _chosen(what, whole, number)
    part = whole if chosen is None else held.enter_context(whole.copy(chosen.start, chosen.size))
    return whole, chosen, part


def _opened(what: str, rest: str) -> int:
    """A descriptor of the image; what can't be one is not opened, since that may take for ever (fifo(7))."""
    with suppress(OSError):
        kind = stat.S_IFMT(os.stat(host_path(rest)).st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFBLK, stat.S_IFDIR):
            raise UsageError(f"cannot mount {what}: it is no regular file")
    with open_source(rest) as file:
        return os.dup(file.fileno())


def _chosen(what: str, whole: Part, number: str | None) -> Partition | None:
    """The partition that was asked for, or the only one of a disk; None for an image without any."""
    if not whole.size:
        raise UsageError(f"cannot mount {what}: it is empty")
    if number is None and find_type(whole.at) is not None:
        return None
    try:
        partitions = partitions_of(whole.at, whole.size)
    except DamagedTable as error:
        raise UsageError(f"cannot mount {what}: damaged partition table: {error}") from None
    if not partitions and number is not None:
        raise UsageError(f"cannot mount {what}: it has no partitions")
    if number is None and len(partitions) > 1:
        listed = _list_of(whole, partitions)
        raise UsageError(f"cannot mount {what}: choose a partition with partition=N: {listed}")
    for partition in partitions:
        if number is None or str(partition.number) == number:
            return _checked(what, whole, partition)
    if number is None:
        raise UsageError(f"cannot mount {what}: no file system and no partitions are found in it")
    raise UsageError(
        f"cannot mount {what}: it has no partition {number}; it has {_list_of(whole, partitions)}"
    )


def _checked(what: str, whole: Part, partition: Partition) -> Partition:
    if partition.end > whole.size:
        end = f"{partition.end} bytes, the image {whole.size}"
        raise UsageError(f"cannot mount {what}: truncated: its partition {partition.number} ends at {end}")
    return partition


def _list_of(whole: Part, partitions: list[Partition]) -> str:
    """Partitions in words: `1 (vfat, 64 MiB, EFI), 2 (ext4, 3 GiB)`."""
    texts: list[str] = []
    for partition in partitions[:_SHOWN]:
        with whole.copy(partition.start, partition.size) as part:
            found = find_type(part.at)
        words = [found.type if found else "unknown", _size(partition.size)]
        name = "".join(one for one in partition.name if one.isprintable())
        texts.append(f"{partition.number} ({', '.join(words + [name] * bool(name))})")
    if len(partitions) > _SHOWN:
        texts.append(f"and {len(partitions) - _SHOWN} more")
    return ", ".join(texts)


def _size(size: int) -> str:
    amount, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"


def _found(what: str, part: Part) -> Found:
    found = find_type(part.at)
    if found is None:
        raise UsageError(f"cannot mount {what}: no file system is found in it")
    if found.size > part.size:
        sizes = f"has {found.size} bytes, and {part.size} are there"
        raise UsageError(f"cannot mount {what}: truncated: its {found.type} {sizes}")
    return found


def _writable_path(rest: str) -> str | None:
    """Where the image is on the host if who mounts may write to it."""
    try:
        path = host_path(rest, os.W_OK)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def _may_write(
    what: str, whole: Part, chosen: Partition | None, way: Way, path: str | None, options: Options
) -> bool:
    """Whether it is mounted to be written; `UsageError` if that is asked for and can't be."""
    reason = None
    if not way.writes:
        reason = f"{way.needs[0]} only reads"
    elif not way.can_write:
        reason = f"to write it needs {way.writes_with}"
    elif path is None:
        reason = "the image may not be written"
    elif chosen is not None and overlap(partitions_of(whole.at, whole.size)):
        reason = "its partitions overlap"
    if reason is not None and options.is_set("rw"):
        raise UsageError(f"cannot mount {what} read-write: {reason}")
    return reason is None and not options.read_only


def _served(image: Image, way: Way) -> FileSystem:
    """The file system, which has been asked for its root; libraries raise anything for a damaged image."""
    try:
        filesystem = way.serve(image)
        try:
            filesystem.attributes(filesystem.root)
        except BaseException:
            filesystem.close()
            raise
        return filesystem
    except (UsageError, OSError, ImportError):
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UsageError(f"cannot mount {image.what}: damaged {image.type}: {text}") from error
