"""LANs: programs of several hosts, each in a view of its own."""

from __future__ import annotations

import sys

import pytest

from behaviour.harness import Bench
from behaviour.lans import Lan
from behaviour.test_network import TALKING

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def lan(bench: Bench, engine: str) -> Lan:
    return Lan(bench, engine)


@pytest.mark.parametrize(
    ("address", "native"), [("10.1.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.7", "127.0.0.7")]
)
def test_on_one_host_all_is_as_on_the_loopback(bench: Bench, lan: Lan, address: str, native: str) -> None:
    expected = bench.native([sys.executable, "-c", TALKING, native])
    out = lan.run(1, TALKING, address)
    assert out.stdout == expected.stdout.replace(native, address), out.stderr
    assert out.status == 0


ACCEPTING = """
listener = socket.create_server((sys_address, 0), family=family, dualstack_ipv6=dual)
ready(listener.getsockname()[1])
for _ in range(int(count)):
    new, address = listener.accept()
    print(address[:2], new.getpeername()[:2], new.getsockname()[:2][0], flush=True)
    new.sendall(b"hello ")
    while data := new.recv(100):
        new.sendall(data)
    new.close()
"""
CONNECTING = """
for address in sys.argv[2:]:
    with socket.create_connection((address, int(sys.argv[1])), timeout=60) as made:
        there = made.getpeername()
        made.sendall(b"echo" * 10000)
        made.shutdown(socket.SHUT_WR)
        data = b"".join(iter(lambda: made.recv(65536), b""))
        print(made.getsockname()[0], there[0], there[1] == int(sys.argv[1]), len(data))
"""


@pytest.mark.parametrize(
    ("bound", "dual", "to", "seen"),
    [
        ("", False, ["10.1.0.1"], ["10.1.0.2", "10.1.0.1"]),
        ("10.1.0.1", False, ["10.1.0.1"], ["10.1.0.2", "10.1.0.1"]),
        ("fd00:1::1", False, ["fd00:1::1"], ["fd00:1::2", "fd00:1::1"]),
        ("::", False, ["fd00:1::1"], ["fd00:1::2", "fd00:1::1"]),
        ("::", True, ["fd00:1::1"], ["fd00:1::2", "fd00:1::1"]),
        ("::", True, ["10.1.0.1"], ["::ffff:10.1.0.2", "::ffff:10.1.0.1"]),
    ],
)
def test_hosts_connect(lan: Lan, bound: str, dual: bool, to: list[str], seen: list[str]) -> None:
    family = "socket.AF_INET6" if ":" in bound else "socket.AF_INET"
    head = f"sys_address, family, dual, count = {bound!r}, {family}, {dual}, {len(to)}\n"
    with lan.serving(1, head + ACCEPTING) as serving:
        out = lan.run(2, CONNECTING, serving.said[0], *to)
    here, there = (text.removeprefix("::ffff:") for text in seen)
    assert out.lines == [f"{here} {there} True 40006"], out.stderr
    assert serving.outcome is not None
    (line,) = serving.outcome.lines
    peer, named, own = line.replace("(", "").split(") ")
    assert peer == named
    assert peer.startswith(f"'{seen[0]}', ")
    assert own == seen[1]


def test_ports_are_those_of_each_host(lan: Lan) -> None:
    script = """
one = socket.create_server(("", 80))
two = socket.create_server(("", 7000))
ready()
print(one.getsockname(), two.getsockname())
end()
"""
    with lan.serving(1, script), lan.serving(2, script) as other:
        pass
    assert other.outcome is not None
    assert other.outcome.lines[-1] == "('0.0.0.0', 80) ('0.0.0.0', 7000)"


WHO = """
def attempt(address, family=socket.AF_INET):
    with socket.socket(family) as made:
        return fails(made.connect, address)
"""


def test_who_is_not_there_cannot_be_reached(lan: Lan) -> None:
    serving = "own = socket.create_server(('127.0.0.1', 7000)); ready(); end()"
    asking = (
        WHO
        + """
print("nobody listens", attempt((A, 9)), attempt((A6, 9), socket.AF_INET6))
print("only to itself", attempt((A, 7000)))
print("no such host", attempt(("10.1.0.77", 9)), attempt(("fd00:1::77", 9), socket.AF_INET6))
print("outside", attempt(("192.0.2.1", 9)), attempt(("2001:db8::1", 9), socket.AF_INET6))
print("mine, not its", attempt(("127.0.0.1", 7000)))
print("own", attempt((B, 9)), attempt(("0.0.0.0", 9)))
with socket.socket() as made:
    made.setblocking(False)
    made.connect_ex((A, 9))
    select.select([], [made], [], 60)
    print(errno.errorcode[made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
with socket.socket(type=socket.SOCK_DGRAM) as made:
    made.connect((A, 9))
    made.send(b"x")
    made.settimeout(60)
    print(fails(made.recv, 10))
    print(fails(made.sendto, b"x", ("10.1.0.77", 9)), fails(made.sendto, b"x", ("192.0.2.1", 9)))
"""
    )
    with lan.serving(1, serving):
        out = lan.run(2, asking)
    assert out.lines == [
        "nobody listens ECONNREFUSED ECONNREFUSED",
        "only to itself ECONNREFUSED",
        "no such host EHOSTUNREACH EHOSTUNREACH",
        "outside ENETUNREACH ENETUNREACH",
        "mine, not its ECONNREFUSED",
        "own ECONNREFUSED ECONNREFUSED",
        "ECONNREFUSED",
        "ECONNREFUSED",
        "EHOSTUNREACH ENETUNREACH",
    ], out.stderr


BINDING = """
HOST, HOST6, OTHER = sys.argv[1:4]
def bind(address, port, family=None, reuse=False, only=None, kind=socket.SOCK_STREAM, listens=True):
    family = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
    made = socket.socket(family, kind)
    if reuse:
        made.setsockopt(socket.SOL_SOCKET, reuse, 1)
    if only is not None:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    try:
        made.bind((address, port))
        if listens and kind == socket.SOCK_STREAM:
            made.listen()
    except OSError as error:
        made.close()
        return errno.errorcode[error.errno]
    return made
def close(*made):
    for one in made:
        if not isinstance(one, str):
            one.close()
def tell(*made):
    print(*(one if isinstance(one, str) else one.getsockname()[0] for one in made), flush=True)
    close(*made)
def is_free(address, port, kind):
    found = bind(address, port, kind=kind)
    close(found)
    return {"EADDRINUSE": "taken"}.get(found, "free")
SECONDS = "0.0.0.0", "::", HOST, "127.0.0.1", HOST6, "127.0.0.9"
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    for first in "0.0.0.0", "::", HOST, "127.0.0.1", HOST6:
        for only in (0, 1) if first == "::" else (None,):
            one = bind(first, 0, only=only, kind=kind)
            port = one.getsockname()[1]
            print(kind.name, first, only, *(is_free(second, port, kind) for second in SECONDS))
            close(one)
    for option in socket.SO_REUSEADDR, socket.SO_REUSEPORT:
        for listens in True, False:
            one = bind("0.0.0.0", 0, reuse=option, kind=kind, listens=listens)
            port = one.getsockname()[1]
            print(option, listens, end=" ")
            tell(one, bind(HOST, port, reuse=option, kind=kind), bind("0.0.0.0", port, kind=kind),
                 bind("::", port, reuse=option, kind=kind, listens=listens))
one = bind("0.0.0.0", 0, reuse=socket.SO_REUSEADDR, listens=False)
two = bind(HOST, one.getsockname()[1], reuse=socket.SO_REUSEADDR, listens=False)
print(fails(two.listen), fails(one.listen))
tell(bind(OTHER, 0), bind("2001:db8::9", 0), bind("10.9.9.9", 0, kind=socket.SOCK_DGRAM))
one = socket.socket()
one.bind((HOST, 0))
print(fails(one.bind, (HOST, 0)), fails(one.bind, ("127.0.0.1", 0)))
two = socket.socket(socket.AF_INET6)
print(two.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
two.bind(("::", 0))
print(fails(two.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1))
print(socket.socket().getsockname(), socket.socket(socket.AF_INET6).getsockname())
three = socket.socket()
three.listen()
print(three.getsockname()[0], three.getsockname()[1] > 1023, fails(socket.socket(type=2).listen))
four = socket.socket()
print(fails(four.getpeername), fails(four.send, b"x"), fails(four.accept))
"""


# What Linux does with 127.0.0.2 as HOST and ::1 as HOST6.
BOUND = """
SOCK_STREAM 0.0.0.0 None taken taken taken taken free taken
SOCK_STREAM :: 0 taken taken taken taken taken taken
SOCK_STREAM :: 1 free taken free free taken free
SOCK_STREAM HOST None taken taken taken free free free
SOCK_STREAM 127.0.0.1 None taken taken free taken free free
SOCK_STREAM HOST6 None free taken free free taken free
2 True 0.0.0.0 EADDRINUSE EADDRINUSE EADDRINUSE
2 False 0.0.0.0 HOST EADDRINUSE EADDRINUSE
15 True 0.0.0.0 HOST EADDRINUSE ::
15 False 0.0.0.0 HOST EADDRINUSE ::
SOCK_DGRAM 0.0.0.0 None taken taken taken taken free taken
SOCK_DGRAM :: 0 taken taken taken taken taken taken
SOCK_DGRAM :: 1 free taken free free taken free
SOCK_DGRAM HOST None taken taken taken free free free
SOCK_DGRAM 127.0.0.1 None taken taken free taken free free
SOCK_DGRAM HOST6 None free taken free free taken free
2 True 0.0.0.0 HOST EADDRINUSE ::
2 False 0.0.0.0 HOST EADDRINUSE ::
15 True 0.0.0.0 HOST EADDRINUSE ::
15 False 0.0.0.0 HOST EADDRINUSE ::
works EADDRINUSE
EADDRNOTAVAIL EADDRNOTAVAIL EADDRNOTAVAIL
EINVAL EINVAL
0
EINVAL
('0.0.0.0', 0) ('::', 0, 0, 0)
0.0.0.0 True ENOTSUP
ENOTCONN EPIPE EINVAL
"""


@pytest.mark.parametrize("own6", ["fd00:1::1", "::1"])
def test_addresses_are_taken_as_on_linux(lan: Lan, own6: str) -> None:
    out = lan.run(1, BINDING, "10.1.0.1", own6, "10.1.0.2")
    assert out.status == 0, out.stderr
    expected = BOUND.replace("HOST6", own6).replace("HOST", "10.1.0.1").strip()
    assert out.lines == expected.splitlines()


ANSWERING = """
def bound(address, port, family=socket.AF_INET, only=None):
    made = socket.socket(family, socket.SOCK_DGRAM)
    if only is not None:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    made.bind((address, port))
    return made
found = {}
for name, made in (
    ("any", bound("", 53)), ("own", bound(A, 5001)), ("dual", bound("::", 5002, socket.AF_INET6, 0)),
    ("six", bound("::", 5003, socket.AF_INET6, 1)), ("own6", bound(A6, 5004, socket.AF_INET6)),
):
    found[made.fileno()] = name, made
ready()
while True:
    for fd in select.select([*found, sys.stdin], [], [])[0]:
        if not fd or fd is sys.stdin:
            sys.exit()
        name, made = found[fd]
        data, address = made.recvfrom(9000)
        made.sendto(f"{name} {address[0]} {len(data)}".encode(), address)
"""
ASKING = """
WAYS = ("any", A, 53), ("own", A, 5001), ("dual", A, 5002), ("dual", A6, 5002), ("six", A6, 5003), (
    "own6", A6, 5004)
def ask(made, address, port):
    made.settimeout(60)
    made.sendto(b"x" * 2000, (address, port))
    data, answered = made.recvfrom(100)
    return data.decode(), answered[0], answered[1] == port, made.getsockname()[0]
for name, address, port in WAYS:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own = B6 if ":" in address else B
    kinds = ("unbound", family, None), ("wild", family, ""), ("own", family, own), (
        "dual", socket.AF_INET6, "::")
    for how, family, mine in kinds:
        to = address if ":" in address or family == socket.AF_INET else f"::ffff:{address}"
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            if mine is not None:
                made.bind((mine, 0))
            print(name, how, *ask(made, to, port))
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            if mine == own:
                made.bind((mine, 0))
            made.settimeout(60)
            made.connect((to, port))
            made.send(b"short")
            answer = made.recv(100).decode()
            print(name, how, "connected", answer, made.getpeername()[0], made.getsockname()[0])
"""


def test_datagrams_go_both_ways(lan: Lan) -> None:
    with lan.serving(1, ANSWERING):
        out = lan.run(2, ASKING)
    expected: list[str] = []
    ways = [("any", 4), ("own", 4), ("dual", 4), ("dual", 6), ("six", 6), ("own6", 6)]
    for name, version in ways:
        here, there = ("fd00:1::2", "fd00:1::1") if version == 6 else ("10.1.0.2", "10.1.0.1")
        for how in "unbound", "wild", "own", "dual":
            wild = "::" if how == "dual" or version == 6 else "0.0.0.0"
            prefix = "::ffff:" if how == "dual" and version == 4 else ""
            seen = f"::ffff:{here}" if name == "dual" and version == 4 else here
            mine = prefix + here if how == "own" else wild
            expected.append(f"{name} {how} {name} {seen} 2000 {prefix}{there} True {mine}")
            expected.append(f"{name} {how} connected {name} {seen} 5 {prefix}{there} {prefix}{here}")
    assert out.lines == expected, out.stderr


ON_ONE = """
one, two = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
one.bind(("", 0))
one.setsockopt(socket.SOL_IP, 8, 1)
for address in A, "127.0.0.1":
    two.sendto(b"x", (address, one.getsockname()[1]))
    data, control, _, came = one.recvmsg(10, 100)
    link, spec, to = struct.unpack("=I4s4s", control[0][2])
    print(came[0], socket.if_indextoname(link), socket.inet_ntoa(to))
    one.sendto(b"back", came)
    print(two.recvfrom(10)[1][0])
"""


def test_a_host_tells_its_loopback_from_its_address(lan: Lan) -> None:
    out = lan.run(1, ON_ONE)
    assert out.lines == ["10.1.0.1 eth0 10.1.0.1", "10.1.0.1", "127.0.0.1 lo 127.0.0.1", "127.0.0.1"], (
        out.stderr
    )


WHERE = """
made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
made.bind(("::", 53))
made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
ready()
for _ in range(2):
    data, control, _, came = made.recvmsg(10, 100)
    to, link = struct.unpack("=16sI", control[0][2])
    print(came[0], socket.if_indextoname(link), socket.inet_ntop(socket.AF_INET6, to), flush=True)
    made.sendmsg([b"from there"], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, to + bytes(4))], 0, came)
"""


def test_where_a_datagram_was_sent_to_is_told(lan: Lan) -> None:
    asking = """
for address, family in (A, socket.AF_INET), (A6, socket.AF_INET6):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(60)
    made.sendto(b"x", (address, 53))
    print(made.recvfrom(20)[1][0])
"""
    with lan.serving(1, WHERE) as serving:
        out = lan.run(2, asking)
    assert out.lines == ["10.1.0.1", "fd00:1::1"], out.stderr
    assert serving.outcome is not None
    assert serving.outcome.lines == ["::ffff:10.1.0.2 eth0 ::ffff:10.1.0.1", "fd00:1::2 eth0 fd00:1::1"]


def test_a_host_tells_of_itself(lan: Lan) -> None:
    script = """
import subprocess
def run(*words):
    print(subprocess.run(words, capture_output=True, text=True, check=False).stdout, end="")
made = socket.create_server(("", 80), backlog=7)
waiting = socket.create_connection(("127.0.0.1", 80))
told = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
listed = subprocess.run(["ss", "-Hltn"], capture_output=True).stdout.split()
print(listed[1:3], struct.unpack_from("=II", told, 24))
print(socket.if_nameindex(), socket.gethostbyname("h1"), socket.gethostbyname("localhost"))
print(open("/proc/net/tcp").read().splitlines()[1].split()[1])
print(open("/etc/hosts").read(), open("/etc/resolv.conf").read())
"""
    out = lan.run(1, script)
    assert out.lines == [
        "[b'1', b'7'] (1, 7)",
        "[(1, 'lo'), (2, 'eth0')] 10.1.0.1 127.0.0.1",
        "00000000:0050",
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        *[line for line in out.lines if "h1." in line],
        " nameserver 10.1.0.254",
        f"search {lan.name}",
        "",
    ], out.stderr
