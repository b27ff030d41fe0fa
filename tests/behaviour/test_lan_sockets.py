"""Sockets of a LAN: handed over, bound to a link, connected by their first message, told of errors."""

from __future__ import annotations

import sys

import pytest

from behaviour.harness import Bench
from behaviour.lans import HEAD, Lan

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def lan(bench: Bench, engine: str) -> Lan:
    bench.fresh()
    return Lan(bench, engine)


SENDER = """
made = [socket.create_server(("", 80))]
made += [socket.socket(type=kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)]
made[1].bind(("", 53))
made[2].connect((B, 70))
with socket.socket(socket.AF_UNIX) as passing:
    passing.bind("passing")
    passing.listen()
    ready()
    with passing.accept()[0] as to:
        socket.send_fds(to, [b"x"], [one.fileno() for one in made])
end()
"""
RECEIVER = """
with socket.socket(socket.AF_UNIX) as to:
    to.connect("passing")
    _, fds, _, _ = socket.recv_fds(to, 1, 4)
listener, datagrams, connected, new = [socket.socket(fileno=fd) for fd in fds]
print(listener.getsockname(), datagrams.getsockname(), connected.getsockname()[0], connected.getpeername())
connected.sendall(b"hello")
print(connected.recv(100))
client, peer = listener.accept()
print(client.recv(100), peer[0], client.getpeername() == peer, client.getsockname())
data, peer = datagrams.recvfrom(100)
print(data, peer, datagrams.sendto(b"answer", peer))
print(fails(datagrams.sendto, b"x", ("127.0.0.1", 9)), fails(datagrams.connect, peer), fails(listener.listen))
new.connect((B, 70))
print(new.getsockname()[0], new.getpeername())
"""
PEER = """
listener = socket.create_server(("", 70))
ready()
one, peer = listener.accept()
print(peer[0], flush=True)
one.sendall(one.recv(100).upper())
with socket.create_connection((A, 80), 60) as client, socket.socket(type=socket.SOCK_DGRAM) as sock:
    client.sendall(b"tcp")
    sock.bind((B, 530))
    sock.sendto(b"udp", (A, 53))
    sock.settimeout(60)
    print(sock.recvfrom(100))
    print(listener.accept()[1][0])
    end()
"""


def test_what_another_view_hands_over_is_a_socket_of_its_host(lan: Lan) -> None:
    with lan.serving(2, PEER) as peer:
        with lan.serving(1, SENDER) as sender:
            found = lan.run(3, RECEIVER)
        assert sender.outcome is not None
        assert sender.outcome.stderr == ""
    assert peer.outcome is not None
    assert found.stderr == peer.outcome.stderr == ""
    assert found.lines == [
        "('0.0.0.0', 80) ('0.0.0.0', 53) 10.1.0.1 ('10.1.0.2', 70)",
        "b'HELLO'",
        "b'tcp' 10.1.0.2 True ('10.1.0.1', 80)",
        "b'udp' ('10.1.0.2', 530) 6",
        "EACCES EACCES EACCES",
        "10.1.0.3 ('10.1.0.2', 70)",
    ]
    assert peer.outcome.lines == ["10.1.0.1", "(b'answer', ('10.1.0.1', 53))", "10.1.0.3"]


BOUND = """
def bound(link, kind=socket.SOCK_STREAM, index=0):
    sock = socket.socket(type=kind)
    sock.settimeout(60)
    if index:
        sock.setsockopt(socket.SOL_SOCKET, 62, index)  # SO_BINDTOIFINDEX
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link)
    return sock
"""
LISTENING = BOUND + """
outer, inner = bound(b"eth0"), bound(b"lo")
for port, one in ((80, outer), (81, inner)):
    one.bind(("", port))
    one.listen()
    assert one.getsockname() == ("0.0.0.0", port)
heard = bound(b"eth0", socket.SOCK_DGRAM)
heard.bind(("", 53))
with socket.socket(type=socket.SOCK_DGRAM) as own:
    own.sendto(b"own", ("127.0.0.1", 53))
ready()
print(fails(socket.create_connection, ("127.0.0.1", 80), 60))
with socket.create_connection(("127.0.0.1", 81), 60):
    print(inner.accept()[1][0])
new, peer = outer.accept()
print(peer[0], new.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16))
print(heard.recvfrom(100))
end()
"""
CONNECTING = BOUND + """
listener = socket.create_server(("", 90))
print(fails(bound(b"lo").connect, (A, 80)), fails(bound(b"", index=1).connect, (A, 80)))
print(fails(bound(b"eth0").connect, ("127.0.0.1", 90)), fails(bound(b"lo").connect, ("127.0.0.1", 90)))
print(fails(bound(b"eth0", socket.SOCK_DGRAM).sendto, b"x", ("127.0.0.1", 90)))
print(*[fails(lambda: bound(*what)) for what in ((b"eth1",), (b"", 1, 3), (b"", 1, 2))])
print(fails(socket.create_connection, (A, 81), 60))
with bound(b"eth0") as one, bound(b"", socket.SOCK_DGRAM, 2) as other:
    one.connect((A, 80))
    other.sendto(b"other", (A, 53))
"""


def test_who_is_bound_to_a_link_reaches_and_hears_only_what_is_there(lan: Lan) -> None:
    with lan.serving(1, LISTENING) as server:
        found = lan.run(2, CONNECTING)
        assert found.stderr == ""
        assert found.lines == [
            "EHOSTUNREACH EHOSTUNREACH",
            "EHOSTUNREACH works",
            "EHOSTUNREACH",
            "ENODEV ENODEV works",
            "ECONNREFUSED",
        ]
    assert server.outcome is not None
    assert server.outcome.stderr == ""
    refused, inner, first, second = server.outcome.lines
    assert (refused, inner) == ("ECONNREFUSED", "127.0.0.1")
    assert first == "10.1.0.2 b'eth0\\x00'"
    assert second.startswith("(b'other', ('10.1.0.2', ")


FIRST_MESSAGE = """
def told(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
FAST = 0x20000000
listener = socket.create_server(("127.0.0.1", 0))
at = listener.getsockname()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    nobody = free.getsockname()
def new(kind=0):
    return socket.socket(type=socket.SOCK_STREAM | kind)
first, second, third = new(), new(), new(socket.SOCK_NONBLOCK)
print(told(first.sendto, b"hello", FAST, at), told(first.sendto, b"hello", FAST, at))
print(told(second.sendmsg, [b"hel", b"lo"], [], FAST, at), told(third.sendto, b"hello", FAST, at))
print(told(new().send, b"hello", FAST), told(new().sendto, b"hello", FAST, nobody))
for _ in range(2):
    print(listener.accept()[0].recv(5, socket.MSG_WAITALL))
"""


def test_a_message_that_connects_is_as_on_the_host(lan: Lan) -> None:
    expected = lan.bench.native([sys.executable, "-c", HEAD + FIRST_MESSAGE])
    assert expected.lines[0] == "5 EISCONN"
    lan.bench.fresh()
    assert lan.run(1, FIRST_MESSAGE) == expected


ERRORS = """
def told(family, packed):
    at = packed[4:8] if family == socket.AF_INET else packed[8:24]
    return struct.unpack_from("=H", packed)[0], socket.inet_ntop(family, at)
def go(host, port):
    is_six = ":" in host
    family, level, option = (socket.AF_INET6, 41, 25) if is_six else (socket.AF_INET, 0, 11)  # IP_RECVERR
    with socket.socket(family, socket.SOCK_DGRAM) as free:
        free.bind((host, 0))
        nobody = (host, port or free.getsockname()[1], 0, 0)[: 4 if is_six else 2]
    for is_connected in (False, True):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(level, option, 1)
        if is_connected:
            sock.connect(nobody)
        print(sock.send(b"hello") if is_connected else sock.sendto(b"hello", nobody))
        poll = select.poll()
        poll.register(sock, 0)
        print(poll.poll(60_000)[0][1] == select.POLLERR)
        data, parts, flags, address = sock.recvmsg(100, 500, socket.MSG_ERRQUEUE)
        print(data, bool(flags & socket.MSG_ERRQUEUE), address == nobody)
        for level, kind, said in parts:
            print(level, kind, struct.unpack_from("=IBBBBII", said), told(family, said[16:]), len(said))
        print(fails(sock.recvmsg, 100, 500, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT))
for host in ("127.0.0.1", "::1"):
    for port in (0, 9):
        go(host, port)
"""


def test_errors_of_datagrams_are_told_as_on_the_host(lan: Lan) -> None:
    expected = lan.bench.native([sys.executable, "-c", HEAD + ERRORS])
    assert len(expected.lines) == 40, expected.stderr
    lan.bench.fresh()
    assert lan.run(1, ERRORS) == expected
