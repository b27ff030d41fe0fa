"""The conversation with a server, made up here: what is asked, what is understood, what is refused."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diorama.fuse.attributes import GetXattrIn, SetAttrIn, SetXattrIn
from diorama.fuse.connection import Caller, Connection, Notification, ProtocolError, Reply
from diorama.fuse.flags import MINOR, ROOT_ID, Init
from diorama.fuse.handles import IoctlIn, IoctlOut, ReadIn, WriteIn, WriteOut
from diorama.fuse.notices import NotifyInvalEntry, NotifyInvalInode, NotifyStore
from diorama.fuse.wire import Attr, DirEnt, EntryOut, InHeader, InitIn, InitOut, OutHeader

WANTS = Init.ASYNC_READ | Init.BIG_WRITES | Init.MAX_PAGES | Init.WRITEBACK_CACHE | Init.HAS_EXPIRE_ONLY


def answer(unique: int, body: bytes = b"", error: int = 0) -> bytes:
    return OutHeader(OutHeader.width() + len(body), -error, unique).encode() + body


def header_of(message: bytes) -> InHeader:
    return InHeader.decode(message[: InHeader.width()])


def started(**out: int) -> Connection:
    connection = Connection(wants=WANTS)
    init = header_of(connection.start())
    values = {"major": 7, "minor": MINOR, "max_write": 1 << 20, "flags": (1 << 32) - 1, "flags2": 0xFFFF}
    connection.receive(answer(init.unique, InitOut(**{**values, "max_pages": 256, **out}).encode()))
    return connection


def ask(connection: Connection, name: str = "LOOKUP", node: int = ROOT_ID) -> int:
    return connection.request(name, node, names=(b"x",))[0]


def test_init_offers_what_is_wanted_and_agrees_on_what_both_can() -> None:
    connection = Connection(wants=WANTS)
    message = connection.start()
    offer = InitIn.decode(message[InHeader.width() :])
    assert (offer.major, offer.minor) == (7, MINOR)
    assert Init(offer.flags | offer.flags2 << 32) == WANTS | Init.INIT_EXT
    wanted = Init.BIG_WRITES | Init.MAX_PAGES | Init.POSIX_LOCKS
    reply = InitOut(major=7, minor=31, max_write=1 << 17, flags=int(wanted), max_pages=32, time_gran=1000)
    connection.receive(answer(header_of(message).unique, reply.encode()))
    assert connection.is_ready
    assert connection.features == Init.BIG_WRITES | Init.MAX_PAGES
    assert (connection.minor, connection.max_write, connection.granularity) == (31, 1 << 17, 1000)


def test_an_old_server_answers_init_shortly() -> None:
    connection = Connection(wants=WANTS)
    init = header_of(connection.start())
    connection.receive(answer(init.unique, InitOut(major=7, minor=12, max_write=4096).encode("short")))
    assert (connection.minor, connection.features, connection.max_write) == (12, Init(0), 4096)
    assert not connection.knows("READDIRPLUS")
    assert not connection.knows("BATCH_FORGET")


@pytest.mark.parametrize(
    ("out", "pages"),
    [({"max_write": 1 << 30}, 256), ({"max_write": 1}, 1), ({"max_pages": 0}, 32), ({"max_pages": 999}, 256)],
)
def test_a_write_has_a_page_at_least_and_what_was_agreed_at_most(out: dict[str, int], pages: int) -> None:
    assert started(**out).max_write == pages * 4096


@pytest.mark.parametrize(("most", "size"), [(None, 131072), (8192, 8192), (100, 4096), (1 << 30, 131072)])
def test_how_much_a_read_asks_for_is_no_matter_of_writes(most: int | None, size: int) -> None:
    connection = Connection(wants=WANTS)
    if most is not None:
        connection.most_read = most
    init = header_of(connection.start())
    connection.receive(answer(init.unique, InitOut(major=7, minor=19, max_write=4096).encode("short")))
    assert (connection.max_read, connection.max_write) == (size, 4096)


@pytest.mark.parametrize("version", [(6, 40), (8, 0), (7, 11)])
def test_a_version_that_is_not_spoken_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(ProtocolError, match="is not spoken"):
        started(major=version[0], minor=version[1])


def test_a_request_is_header_records_names_and_data() -> None:
    connection = started()
    caller = Caller(1000, 100, 42)
    unique, message = connection.request(
        "SETXATTR", 7, SetXattrIn(size=3), names=(b"user.a",), data=b"xyz", caller=caller
    )
    header = header_of(message)
    assert header == InHeader(len(message), 21, unique, 7, 1000, 100, 42)
    assert message[InHeader.width() :] == SetXattrIn(size=3).encode("short") + b"user.a\0xyz"


@pytest.mark.parametrize(
    ("name", "records", "names", "data"),
    [
        ("LOOKUP", (), (), b""),
        ("LOOKUP", (SetAttrIn(),), (b"x",), b""),
        ("LOOKUP", (), (b"a\0b",), b""),
        ("LOOKUP", (), (b"x",), b"data"),
    ],
)
def test_a_request_that_is_not_put_together_so_is_refused(
    name: str, records: tuple[SetAttrIn, ...], names: tuple[bytes, ...], data: bytes
) -> None:
    with pytest.raises(ValueError, match=r"LOOKUP|zero byte"):
        started().request(name, 1, *records, names=names, data=data)


def test_an_entry_is_a_reference_until_it_is_forgotten() -> None:
    connection = started()
    body = EntryOut(nodeid=5, generation=1, entry_valid=1).encode() + Attr(ino=5, mode=0o100644).encode()
    for _ in range(3):
        reply = connection.receive(answer(ask(connection), body))
        assert isinstance(reply, Reply)
        assert (reply.entry[0].nodeid, reply.entry[1].mode) == (5, 0o100644)
        assert reply.entered == [5]
    message = connection.forget((5, 3))
    assert message is not None
    assert (header_of(message).opcode, header_of(message).nodeid) == (2, 5)
    assert message[InHeader.width() :] == (3).to_bytes(8, "little")
    assert connection.forget((5, 0), (1, 3)) is None


def test_many_are_forgotten_at_once_where_the_server_knows_how() -> None:
    new, old = started(), started(minor=15, flags2=0)
    together, one_by_one = new.forget((5, 1), (6, 2)), old.forget((5, 1), (6, 2))
    assert together is not None
    assert one_by_one is not None
    assert header_of(together).opcode == 42
    assert len(together) == InHeader.width() + 8 + 2 * 16
    assert header_of(one_by_one).opcode == 2
    assert len(one_by_one) == 2 * (InHeader.width() + 8)


def test_a_negative_entry_refers_to_nothing() -> None:
    connection = started()
    reply = connection.receive(answer(ask(connection), EntryOut(entry_valid=1).encode() + Attr().encode()))
    assert isinstance(reply, Reply)
    assert reply.entry[0].nodeid == 0
    assert reply.entered == []
    assert connection.forget((0, 1)) is None


def test_an_error_ends_a_request() -> None:
    connection = started()
    reply = connection.receive(answer(ask(connection), error=errno.ENOENT))
    assert isinstance(reply, Reply)
    assert reply.error == errno.ENOENT
    assert connection.pending() == []


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", 0, "too short"),
        (bytes(128 + 1), 0, "more than were asked"),
        (b"x", errno.EIO, "error with"),
        (b"", 512, "no errno"),
        (b"", -1, "no errno"),
    ],
)
def test_an_answer_of_another_form_is_an_error_of_the_server(body: bytes, error: int, says: str) -> None:
    connection = started()
    with pytest.raises(ProtocolError, match=says):
        connection.receive(answer(ask(connection), body, error))


def test_an_answer_to_nobody_or_of_another_length_is_an_error_of_the_server() -> None:
    connection = started()
    unique = ask(connection)
    with pytest.raises(ProtocolError, match="nobody"):
        connection.receive(answer(unique + 2))
    with pytest.raises(ProtocolError, match="says that it has"):
        connection.receive(OutHeader(100, 0, unique).encode())
    with pytest.raises(ProtocolError, match="says that it has"):
        connection.receive(b"")
    connection.receive(answer(unique, error=errno.EIO))
    with pytest.raises(ProtocolError, match="nobody"):
        connection.receive(answer(unique, error=errno.EIO))


def test_at_most_what_was_asked_for_is_read() -> None:
    connection = started()
    for size, fits in ((5, True), (6, False)):
        unique, _ = connection.request("READ", 5, ReadIn(fh=1, size=5), room=5)
        if fits:
            reply = connection.receive(answer(unique, b"x" * size))
            assert isinstance(reply, Reply)
            assert reply.data == b"x" * size
        else:
            with pytest.raises(ProtocolError):
                connection.receive(answer(unique, b"x" * size))


def test_a_write_tells_how_much() -> None:
    connection = started()
    unique, message = connection.request("WRITE", 5, WriteIn(size=3), data=b"abc")
    assert message.endswith(b"abc")
    reply = connection.receive(answer(unique, WriteOut(size=3).encode()))
    assert isinstance(reply, Reply)
    assert reply.records == (WriteOut(size=3),)


def test_sizes_and_values_of_attributes_and_ioctls_share_an_answer() -> None:
    connection = started()
    unique, _ = connection.request("GETXATTR", 5, GetXattrIn(size=9), names=(b"user.a",), room=9)
    reply = connection.receive(answer(unique, b"value"))
    assert isinstance(reply, Reply)
    assert reply.data == b"value"
    unique, _ = connection.request("IOCTL", 5, IoctlIn(in_size=2, out_size=4), data=b"ab", room=4)
    reply = connection.receive(answer(unique, IoctlOut(result=1).encode() + b"back"))
    assert isinstance(reply, Reply)
    assert (reply.records, reply.data) == ((IoctlOut(result=1),), b"back")


def test_an_interrupt_names_its_request_once_and_again_if_the_server_asks_for_it() -> None:
    connection = started()
    unique = ask(connection)
    message = connection.interrupt(unique)
    assert message is not None
    assert header_of(message).unique == unique + 1
    assert message[InHeader.width() :] == unique.to_bytes(8, "little")
    assert connection.interrupt(unique) is None
    assert connection.receive(answer(unique + 1, error=errno.EAGAIN)) is None
    assert connection.interrupt(unique) is not None
    connection.receive(answer(unique, error=errno.EINTR))
    assert connection.interrupt(unique) is None


def test_an_answer_to_an_interrupt_may_come_late_and_not_out_of_nothing() -> None:
    connection = started()
    unique = ask(connection)
    assert connection.interrupt(unique) is not None
    connection.receive(answer(unique, error=errno.EINTR))
    assert connection.receive(answer(unique + 1, error=errno.EAGAIN)) is None
    for other in (unique + 1, ask(connection) + 1, 1):
        with pytest.raises(ProtocolError):
            connection.receive(answer(other))


def test_notifications_are_told_with_their_names_and_data() -> None:
    connection = started()
    inode = NotifyInvalInode(ino=5, off=-1, len=0)
    told = connection.receive(notification(2, inode.encode()))
    assert isinstance(told, Notification)
    assert (told.notice.name, told.record) == ("INVAL_INODE", inode)
    told = connection.receive(notification(3, NotifyInvalEntry(parent=1, namelen=4).encode() + b"name\0"))
    assert isinstance(told, Notification)
    assert told.data == b"name"
    told = connection.receive(notification(4, NotifyStore(nodeid=5, size=3).encode() + b"abc"))
    assert isinstance(told, Notification)
    assert told.data == b"abc"


def notification(code: int, body: bytes) -> bytes:
    return OutHeader(OutHeader.width() + len(body), code, 0).encode() + body


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (99, b""),
        (2, b"short"),
        (2, NotifyInvalInode().encode() + b"more"),
        (3, NotifyInvalEntry(namelen=4).encode() + b"name"),
        (3, NotifyInvalEntry(namelen=9).encode() + b"name\0"),
        (4, NotifyStore(size=4).encode() + b"abc"),
    ],
)
def test_a_notification_of_another_form_is_an_error_of_the_server(code: int, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        started().receive(notification(code, body))


def dirents(*names: bytes, plus: bool = False) -> bytes:
    data = b""
    for off, name in enumerate(names, 1):
        before = EntryOut(nodeid=off + 10).encode() + Attr(ino=off + 10).encode() if plus else b""
        one = before + DirEnt(ino=off + 10, off=off, namelen=len(name), type=8).encode() + name
        data += one + bytes(-len(one) % 8)
    return data


@pytest.mark.parametrize("plus", [False, True])
@given(names=st.lists(st.binary(min_size=1, max_size=40).filter(lambda n: not set(n) & {0, 47}), max_size=9))
def test_names_are_listed_and_referred_to(*, plus: bool, names: list[bytes]) -> None:
    connection = started()
    names = [name for name in names if name not in (b".", b"..")]
    listed = listing(connection, dirents(b".", b"..", *names, plus=plus), plus=plus)
    assert [one.name for one in listed] == [b".", b"..", *names]
    assert [one.dirent.off for one in listed] == list(range(1, len(names) + 3))
    entries = [one.entry for one in listed if one.entry is not None]
    assert [entry.nodeid for entry in entries] == list(range(11, 13 + len(names)) if plus else ())


def listing(connection: Connection, data: bytes, *, plus: bool) -> list[object]:
    name = "READDIRPLUS" if plus else "READDIR"
    unique, _ = connection.request(name, 1, ReadIn(fh=1, size=len(data)), room=len(data))
    reply = connection.receive(answer(unique, data))
    assert isinstance(reply, Reply)
    return list(connection.listed(reply))


def test_a_name_that_is_cut_off_is_left_for_the_next_time() -> None:
    data = dirents(b"first", b"second")
    assert [one.name for one in listing(started(), data[:-4], plus=False)] == [b"first"]


@pytest.mark.parametrize("name", [b"a/b", b"a\0b", b"x" * 1025])
def test_what_is_no_name_is_an_error_of_the_server(name: bytes) -> None:
    with pytest.raises(ProtocolError):
        listing(started(), dirents(name), plus=False)


def test_a_name_that_is_too_long_is_an_error_also_if_it_is_cut_off() -> None:
    with pytest.raises(ProtocolError):
        listing(started(), dirents(b"x" * 1025)[:100], plus=False)


@pytest.mark.parametrize("name", [b"", b"a/b", b"a\0b", b"x" * 1025])
def test_all_that_is_referred_to_is_told_whatever_its_name(name: bytes) -> None:
    connection = started()
    data = dirents(b".", b"..", b"before", name, b"behind", b"cut off", plus=True)[:-4]
    unique, _ = connection.request("READDIRPLUS", 1, ReadIn(fh=1, size=len(data)), room=len(data))
    reply = connection.receive(answer(unique, data))
    assert isinstance(reply, Reply)
    assert reply.entered == [13, 14, 15]


@given(st.data())
def test_garbage_costs_a_server_its_connection_and_nothing_else(data: st.DataObject) -> None:
    connection = started()
    uniques = [ask(connection), connection.request("READDIRPLUS", 1, ReadIn(size=999), room=999)[0]]
    body = data.draw(st.binary(max_size=400))
    unique = data.draw(st.sampled_from([0, *uniques, *(one + 1 for one in uniques), 12345678]))
    error = data.draw(st.integers(-600, 10))
    length = data.draw(st.sampled_from([OutHeader.width() + len(body), data.draw(st.integers(0, 2**32 - 1))]))
    message = OutHeader(length, error, unique).encode() + body
    try:
        told = connection.receive(message[: data.draw(st.sampled_from([len(message), 7]))])
        if isinstance(told, Reply) and told.operation.name == "READDIRPLUS":
            connection.listed(told)
    except ProtocolError:
        pass
