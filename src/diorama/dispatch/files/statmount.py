"""Statmount: statmount(2) and listmount(2), which tell the same as the tables of /proc, by unique ids."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from diorama.abi import statmount as abi
from diorama.abi.arch import Abi
from diorama.abi.numbers import NUMBERS
from diorama.abi.stat import StatFs
from diorama.abi.statmount import LSMT_ROOT, MountRequest, StatMountTold, pack_statmount
from diorama.catalogue.mounts import ListMount, StatMount
from diorama.dispatch.files.answers import Outcome, answers, fail
from diorama.dispatch.files.identities import unique_id
from diorama.dispatch.files.tables import rows_of
from diorama.engine.ourcall import OurMemory, make_call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diorama.catalogue.model import Tracee
    from diorama.dispatch.files.state import Files
    from diorama.view.table import Row

_CHUNK: Final = 512
_MOST: Final = 1_000_000
_OLD_ID: Final = slice(56, 60)
_NAMESPACE: Final = slice(112, 120)


@dataclass(frozen=True, slots=True)
class _Table:
    """The mounts of a task by unique ids, and the kernel's unique ids by those that are used again."""

    rows: dict[int, Row]
    native: dict[int, int]

    def unique(self, id: int) -> int:
        """The unique id of one that mountinfo tells."""
        return self.native.get(id) or unique_id(id)


@answers(ListMount)
def list_mounts(files: Files, call: ListMount) -> Outcome:
    """The ids of the mounts below one, or of all."""
    request = _request(call.tracee, call.request)
    if request is None:
        return None
    if call.flags & ~abi.LISTMOUNT_REVERSE or 0 < request.param <= abi.MNT_UNIQUE_ID_OFFSET:
        raise fail(errno.EINVAL)
    if call.count > _MOST:
        raise fail(errno.EOVERFLOW)
    table = _table(files, call.tracee)
    ids = sorted(_below(table, request.id), reverse=bool(call.flags))
    if request.param:
        ids = [id for id in ids if (id < request.param if call.flags else id > request.param)]
    ids = ids[: call.count]
    call.tracee.memory.write(call.ids, b"".join(id.to_bytes(8, "little") for id in ids))
    return len(ids)


@answers(StatMount)
def stat_mount(files: Files, call: StatMount) -> Outcome:
    """What a mount is: of one of the host the kernel tells."""
    request = _request(call.tracee, call.request)
    if request is None or call.flags:
        return None
    table = _table(files, call.tracee)
    row = table.rows.get(request.id)
    if row is None:
        if request.id in table.native.values():
            raise fail(errno.ENOENT)  # something hides it
        return None
    if row.inner == row.line.id:
        return None
    parent = table.unique(row.line.parent)
    told = StatMountTold(row.line, request.id, parent, _magic(row), _namespace(table))
    data = pack_statmount(told, request.param)
    if len(data) > abi.FIXED_SIZE and len(data) > call.size:
        raise fail(errno.EOVERFLOW)
    call.tracee.memory.write(call.buffer.address, data[: call.size])
    return 0


def _request(tracee: Tracee, address: int) -> MountRequest | None:
    """What is asked for; None if the kernel has another answer, an error first of all."""
    data = tracee.memory.read(address, 32)
    try:
        request = MountRequest.parse(data)
    except ValueError:
        return None
    if request.namespace or (request.id != LSMT_ROOT and request.id <= abi.MNT_UNIQUE_ID_OFFSET):
        return None
    return request


def _table(files: Files, tracee: Tracee) -> _Table:
    native = {int.from_bytes(_native_stat(id)[_OLD_ID], "little"): id for id in _native_ids()}
    rows: dict[int, Row] = {}
    for row in rows_of(files, files.task(tracee), tracee.tid):
        is_hosts = row.inner == row.line.id
        rows[native.get(row.line.id, 0) if is_hosts else unique_id(row.line.id)] = row
    rows.pop(0, None)  # gone meanwhile
    return _Table(rows, native)


def _below(table: _Table, id: int) -> Iterable[int]:
    if id == LSMT_ROOT:
        return table.rows
    if id not in table.rows:
        raise fail(errno.ENOENT)
    top = table.rows[id].line.id
    parents = {row.line.id: row.line.parent for row in table.rows.values()}
    return [one for one, row in table.rows.items() if top in _ancestors(row.line.parent, parents)]


def _ancestors(id: int, parents: dict[int, int]) -> Iterable[int]:
    while id in parents:
        yield id
        id = parents[id]
    yield id


# -- the kernel's own -----------------------------------------------------------------------------


def _native_ids() -> list[int]:
    found: list[int] = []
    while True:
        data, count = _call("listmount", LSMT_ROOT, found[-1] if found else 0, 8 * _CHUNK, _CHUNK)
        found += [int.from_bytes(data[at : at + 8], "little") for at in range(0, 8 * count, 8)]
        if count < _CHUNK:
            return found


def _native_stat(id: int) -> bytes:
    mask = abi.STATMOUNT_MNT_BASIC | abi.STATMOUNT_MNT_NS_ID
    try:
        return _call("statmount", id, mask, abi.FIXED_SIZE, abi.FIXED_SIZE)[0]
    except FileNotFoundError:
        return bytes(abi.FIXED_SIZE)


def _namespace(table: _Table) -> int:
    for id in table.native.values():
        return int.from_bytes(_native_stat(id)[_NAMESPACE], "little")
    return 0


def _magic(row: Row) -> int:
    """The type of the file system, as statfs(2) tells it."""
    if row.real is None:
        assert row.mount.filesystem is not None
        return row.mount.filesystem.magic
    memory, native = OurMemory(), Abi.native()[0]
    size = StatFs.size(native)
    buffer = memory.place(bytes(size))
    make_call(NUMBERS[native.title]["statfs"], memory.place(row.real + b"\0"), buffer)
    return StatFs.unpack(native, memory.copy(buffer, size)).f_type


def _call(name: str, id: int, param: int, size: int, count: int) -> tuple[bytes, int]:
    """One of the two calls, made by us: what it writes to a buffer of that size, and its result."""
    memory = OurMemory()
    buffer = memory.place(bytes(size))
    request = memory.place(MountRequest(id, param).pack())
    result = make_call(NUMBERS[Abi.native()[0].title][name], request, buffer, count, 0)
    return memory.copy(buffer, size), result
