"""The host's network under a policy: what programs reach, what they are told, and what is written down."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, Way, each_way, run_with
from behaviour.outside import Http, Names, Server, Socks, echo, greet
from behaviour.terminal import Terminal

pytestmark = pytest.mark.timeout(120)
PLAIN = run_with("--net", "host:,allow=*")


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def under(way: Way, *settings: str) -> Way:
    """The same with another policy."""
    words = list(way.words)
    words[words.index("--net") + 1] = ",".join(["host:", *settings])
    return Way(way.name, tuple(words))


def run(bench: Bench, way: Way, script: str, *arguments: object) -> Outcome:
    return bench.inside(way, python(script, *arguments))


REACHING = """
import errno, socket, sys
for port in sys.argv[1:]:
    try:
        with socket.create_connection(("127.0.0.1", int(port)), 60) as sock:
            print(sock.recv(100).decode(), sock.getpeername()[1] == int(port))
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@each_way(PLAIN)
def test_the_first_rule_that_matches_counts(bench: Bench, way: Way) -> None:
    with Server(greet("one")) as one, Server(greet("two")) as two, Server(greet("three")) as three:
        rules = (
            "deny=*",
            f"deny=udp:127.0.0.1:{one.port}",
            f"allow=127.0.0.0/8:{one.port}",
            f"deny=*:{one.port}",
            f"deny=tcp:*:{two.port}=refused",
        )
        out = run(bench, under(way, *rules), REACHING, one.port, two.port, three.port)
        assert out.lines == ["one True", "ECONNREFUSED", "EACCES"], out.stderr
        out = run(bench, under(way, "allow=*", *rules[1:]), REACHING, one.port, two.port, three.port)
        assert out.lines == ["one True", "ECONNREFUSED", "three True"], out.stderr


@each_way(PLAIN)
def test_what_is_redirected_is_told_as_what_was_asked_for(bench: Bench, way: Way) -> None:
    script = """
import socket, sys
sock = socket.create_connection(("192.0.2.1", 80), 60)
print(sock.recv(100).decode(), sock.getpeername())
one = socket.socket(type=socket.SOCK_DGRAM)
one.settimeout(60)
one.sendto(b"hello", ("192.0.2.2", 7))
print(one.recvfrom(100))
one.sendmsg([b"in ", b"pieces"], [], 0, ("192.0.2.2", 7))
print(one.recvmsg(100)[0::3])
one.connect(("192.0.2.2", 7))
one.send(b"connected")
print(one.recvfrom(100), one.getpeername())
"""
    with Server(greet("here")) as server, socket.socket(type=socket.SOCK_DGRAM) as echoing:
        echoing.bind(("127.0.0.1", 0))
        port = echoing.getsockname()[1]

        def answer() -> None:
            for _ in range(3):
                data, who = echoing.recvfrom(100)
                echoing.sendto(data, who)

        threading.Thread(target=answer, daemon=True).start()
        way = under(
            way,
            f"redirect=192.0.2.0/24:80=127.0.0.1:{server.port}",
            f"redirect=udp:192.0.2.2:7=127.0.0.1:{port}",
        )
        out = run(bench, way, script)
    there = "('192.0.2.2', 7)"
    assert out.lines == [
        "here ('192.0.2.1', 80)",
        f"(b'hello', {there})",
        f"(b'in pieces', {there})",
        f"(b'connected', {there}) {there}",
    ], out.stderr


@each_way(PLAIN)
def test_ports_below_1024_are_others_and_seem_not_to_be(bench: Bench, way: Way) -> None:
    script = """
import socket, threading
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("127.0.0.1", 81))
sock.listen()
print(sock.getsockname())
client = socket.create_connection(("127.0.0.1", 81), 60)
served, _ = sock.accept()
print(served.getsockname(), client.getpeername())
real = [line.split() for line in open("/proc/net/tcp") if line.split()[3] == "0A"]
print(any(words[1].endswith(":%04X" % int(__import__("sys").argv[1])) for words in real))
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = run(bench, under(way, "allow=*", f"privileged=81={port}"), script, port)
    assert out.lines == ["('127.0.0.1', 81)", "('127.0.0.1', 81) ('127.0.0.1', 81)", "True"], out.stderr


@each_way(PLAIN)
def test_who_may_connect_to_a_program_is_a_rule_too(bench: Bench, way: Way) -> None:
    script = """
import errno, socket, sys
def attempt(call):
    try:
        call()
        return "may"
    except OSError as error:
        return errno.errorcode[error.errno]
sock = socket.socket()
print(attempt(lambda: sock.bind(("127.0.0.1", int(sys.argv[1])))))
other = socket.socket()
other.bind(("127.0.0.1", 0))
print(attempt(other.listen), attempt(socket.socket().listen))
print(attempt(sock.listen), sock.getsockname()[1] == int(sys.argv[1]))
one = socket.create_connection(sock.getsockname(), 60)
try:
    print("closed", one.recv(1))
except ConnectionResetError:
    print("closed b''")
sock.settimeout(0.3)
print(attempt(sock.accept) if len(sys.argv) > 2 else "")
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = run(bench, under(way, "deny=*", f"allow=in:*:{port}"), script.split("one =")[0], port)
    assert out.lines == ["may", "EACCES EACCES", "may True"], out.stderr


@each_way(PLAIN)
def test_a_peer_who_may_not_connect_is_not_accepted(bench: Bench, way: Way) -> None:
    script = """
import socket
sock = socket.create_server(("127.0.0.1", 0))
refused = socket.socket()
refused.bind(("127.0.0.2", 0))
refused.connect(sock.getsockname())
client = socket.create_connection(sock.getsockname(), 60)
print(sock.accept()[1] == client.getsockname())
refused.settimeout(60)
try:
    print(refused.recv(1))
except ConnectionResetError:
    print(b"")
"""
    out = run(bench, under(way, "allow=*", "deny=in:127.0.0.2"), script)
    assert out.lines == ["True", "b''"], out.stderr


# -- names ------------------------------------------------------------------------------------

TABLE = {
    "www.good.example": "cdn.other.example",
    "cdn.other.example": "127.0.0.11",
    "bad.example": "127.0.0.12",
    "free.example": "127.0.0.13",
}
NAMING = """
import errno, socket, sys
for name in sys.argv[2:]:
    try:
        with socket.create_connection((name, int(sys.argv[1])), 60) as sock:
            print(sock.recv(100).decode(), sock.getpeername()[0])
    except socket.gaierror:
        print("no such name")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@each_way(PLAIN)
def test_names_are_those_that_dns_has_told(bench: Bench, way: Way) -> None:
    with Names(TABLE) as names, socket.create_server(("0.0.0.0", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    listener.accept()[0].sendall(b"here")
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        rules = ("deny=*", f"allow=*.good.example:{port}", "allow=free.example", f"dns={names.where}")
        asked = ("127.0.0.11", "www.good.example", "bad.example", "free.example", "127.0.0.12", "127.0.0.13")
        out = run(bench, under(way, *rules), NAMING, port, *asked)
        listener.shutdown(socket.SHUT_RDWR)
    assert out.lines == [
        "EACCES",
        "here 127.0.0.11",
        "no such name",
        "here 127.0.0.13",
        "EACCES",
        "here 127.0.0.13",
    ], out.stderr
    assert "bad.example" not in names.asked
    assert "www.good.example" in names.asked


@each_way(PLAIN)
def test_dns_is_asked_by_tcp_as_well(bench: Bench, way: Way) -> None:
    script = """
import dns.query, dns.resolver, socket, sys
servers = dns.resolver.Resolver().nameservers
message = dns.message.make_query(sys.argv[1], "A")
for ask in dns.query.tcp, dns.query.udp:
    reply = ask(message, servers[0], timeout=60)
    print([str(one) for answer in reply.answer for one in answer], reply.rcode())
"""
    with Names(TABLE) as names:
        rules = ("deny=*", "allow=*.example", "deny=bad.example", f"dns={names.where}")
        out = run(bench, under(way, *rules), script, "www.good.example")
        assert out.lines == ["['cdn.other.example.', '127.0.0.11'] 0"] * 2, out.stderr
        assert run(bench, under(way, "deny=bad.example", *rules), script, "bad.example").lines == ["[] 3"] * 2


# -- proxies ----------------------------------------------------------------------------------

THROUGH = """
import select, socket, sys, threading
there = sys.argv[1], 80
sock = socket.create_connection(there, 60)
print(sock.getpeername()[1])
data = bytes(range(256)) * 40_000
def send():
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = b""
while part := sock.recv(1 << 16):
    got += part
print(got.removeprefix(b"first ") == data)
"""


@each_way(PLAIN)
def test_a_socks_proxy_is_told_names(bench: Bench, way: Way) -> None:
    with Server(echo) as far, Socks(far.where, "user", "p:w") as proxy:
        url = f"socks5h://user:p%3Aw@127.0.0.1:{proxy.port}"
        out = run(bench, under(way, f"proxy={url}"), THROUGH, "some.example")
        assert out.lines == ["80", "True"], out.stderr
        assert proxy.asked == [("some.example", 80)]
        wrong = f"socks5h://user:other@127.0.0.1:{proxy.port}"
        out = run(bench, under(way, f"proxy={wrong}"), THROUGH, "some.example")
        assert "PermissionError" in out.stderr


@each_way(PLAIN)
def test_an_http_proxy_loses_nothing_that_comes_with_its_answer(bench: Bench, way: Way) -> None:
    with Server(echo) as far, Http(far.where) as proxy:
        out = run(bench, under(way, f"proxy=http://me:secret@127.0.0.1:{proxy.port}"), THROUGH, "192.0.2.5")
        assert out.lines == ["80", "True"], out.stderr
    assert proxy.asked == [
        "CONNECT 192.0.2.5:80 HTTP/1.1",
        "Proxy-Authorization: Basic bWU6c2VjcmV0",
    ]


@each_way(PLAIN)
def test_nobody_is_connected_before_the_proxy_has_agreed(bench: Bench, way: Way) -> None:
    script = """
import errno, os, select, socket, sys
def begin(port):
    sock = socket.socket()
    sock.setblocking(False)
    print(errno.errorcode[sock.connect_ex(("192.0.2.7", port))])
    return sock
one, two = begin(80), begin(81)
print(select.select([], [one, two], [], 0.5)[1])
sys.stdout.flush()
os.unlink("wait")
for sock in one, two:
    select.select([], [sock], [], 60)
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
one.setblocking(True)
one.sendall(b"hello")
print(one.recv(10))
try:
    socket.create_connection(("192.0.2.7", 81), 60)
except OSError as error:
    print(errno.errorcode[error.errno])
three = socket.socket(type=socket.SOCK_DGRAM)
try:
    three.sendto(b"x", ("192.0.2.7", 80))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    with Server(echo) as far, Socks(far.where) as proxy:
        proxy.agrees.clear()
        bench.prepare = lambda work: (work / "wait").write_text("")  # type: ignore[func-returns-value]

        def agree() -> None:
            wait = bench.work / "wait"
            until = time.monotonic() + 60
            while not wait.exists() and time.monotonic() < until:
                time.sleep(0.01)
            while wait.exists() and time.monotonic() < until:
                time.sleep(0.01)
            proxy.agrees.set()

        waiting = threading.Thread(target=agree)
        waiting.start()
        out = run(bench, under(way, f"proxy=socks5://127.0.0.1:{proxy.port}"), script)
        waiting.join()
    assert out.lines == [
        "EINPROGRESS",
        "EINPROGRESS",
        "[]",
        "0",
        "111",
        "b'hello'",
        "ECONNREFUSED",
        "ENETUNREACH",
    ], out.stderr


@each_way(PLAIN)
def test_what_a_program_wrote_before_it_ended_arrives(bench: Bench, way: Way) -> None:
    got: list[int] = []
    done = threading.Event()

    def take(sock: socket.socket) -> None:
        total = 0
        while data := sock.recv(1 << 16):
            total += len(data)
        got.append(total)
        done.set()

    script = """
import socket
sock = socket.create_connection(("192.0.2.5", 80), 60)
sock.sendall(b"x" * 3_000_000)
"""
    with Server(take) as far, Socks(far.where) as proxy:
        out = run(bench, under(way, f"proxy=socks5://127.0.0.1:{proxy.port}"), script)
        assert (out.status, done.wait(60)) == (0, True), out.stderr
    assert got == [3_000_000]


# -- telling ----------------------------------------------------------------------------------


@each_way(PLAIN)
def test_decisions_are_written_down(bench: Bench, way: Way, tmp_path: Path) -> None:
    log = tmp_path / "decisions"
    with Server(greet("here")) as server:
        rules = ("deny=*", f"allow=127.0.0.1:{server.port}", f"log={log}")
        out = run(bench, under(way, *rules), REACHING, server.port, 9)
    assert out.lines == ["here True", "EACCES"], out.stderr
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert (first["action"], first["rule"]) == ("allow", f"allow=127.0.0.1:{server.port}")
    assert (first["address"], first["port"], first["protocol"]) == ("127.0.0.1", server.port, "tcp")
    assert (second["action"], second["rule"], second["error"]) == ("deny", "deny=*", "EACCES")
    assert first["pid"] > 0
    assert first["program"].startswith("python")


@each_way(PLAIN)
def test_who_started_the_view_is_asked_once_or_for_always(bench: Bench, way: Way) -> None:
    with Server(greet("here")) as server:
        bench.fresh()
        ports = [server.port] * 4
        words = under(way, "ask=*")(python(REACHING, *ports))
        terminal = Terminal(words, bench.work, bench.surroundings())
        try:
            asked = rf"may python\S* \(\d+\) reach 127\.0\.0\.1 port {server.port}, tcp\? .*ne\[v\]er\? "
            terminal.expect(asked, 60)
            terminal.type("n\n")
            terminal.expect("EACCES", 60)
            terminal.expect(r"ne\[v\]er\? ", 60)
            terminal.type("perhaps\n")
            terminal.expect(r"ne\[v\]er\? ", 60)
            terminal.type("always\n")
            terminal.expect("here True(.|\n)*here True(.|\n)*here True", 60)
            while terminal.read():
                pass  # until it has ended: it would be hung up
        finally:
            os.close(terminal.master)
            os.waitpid(terminal.pid, 0)


@each_way(PLAIN)
def test_without_a_terminal_nobody_is_asked(bench: Bench, way: Way) -> None:
    with Server(greet("here")) as server:
        assert run(bench, under(way, "ask=*"), REACHING, server.port).lines == ["EACCES"]


@each_way(PLAIN)
def test_a_rule_file_says_the_same(bench: Bench, way: Way, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    with Server(greet("here")) as one, Server(greet("there")) as two:
        rules.write_text(f"""
default = "deny"
[[rule]]
action = "allow"
to = ["127.0.0.1:{one.port}"]
[[rule]]
action = "deny"
to = "127.0.0.1:{two.port}"
error = "unreachable"
""")
        words = list(way.words)
        words[words.index("--net") + 1] = f"host:{rules}"
        way = Way(way.name, tuple(words))
        out = run(bench, way, REACHING, one.port, two.port, 9)
    assert out.lines == ["here True", "ENETUNREACH", "EACCES"], out.stderr


# -- under stress -----------------------------------------------------------------------------


@each_way(PLAIN)
def test_a_thousand_connections_of_many_threads(bench: Bench, way: Way) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2100:
        pytest.skip("needs 2,100 descriptors")
    script = """
import resource, socket, threading
COUNT, THREADS = 1000, 20
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
kept, failed = [], []
def serve():
    for _ in range(COUNT):
        sock, who = listener.accept()
        data = sock.recv(20)
        sock.sendall(data)
        kept.append((sock, who))
def connect():
    for at in range(COUNT // THREADS):
        sock = socket.create_connection(listener.getsockname(), 100)
        word = str(sock.getsockname()[1]).encode()
        sock.sendall(word)
        if sock.recv(20) != word:
            failed.append(word)
        kept.append((sock, None))
threads = [threading.Thread(target=connect) for _ in range(THREADS)]
server = threading.Thread(target=serve)
for thread in [server, *threads]:
    thread.start()
for thread in [server, *threads]:
    thread.join()
print(len(kept), failed)
"""
    out = bench.inside(
        under(way, "deny=*", "allow=127.0.0.1", "allow=in:127.0.0.1"), python(script), limit=110
    )
    assert out.lines == ["2000 []"], out.stderr


@each_way(PLAIN)
def test_who_has_no_descriptor_left_keeps_those_it_has(bench: Bench, way: Way) -> None:
    script = """
import errno, os, resource, socket, stat
before = os.fstat(0), os.fstat(1)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
made = []
try:
    while True:
        made.append(socket.socket())
except OSError as error:
    code = error.errno
kinds = {stat.S_IFMT(os.fstat(one.fileno()).st_mode) for one in made}
print(errno.errorcode[code], len(made) > 30, kinds == {stat.S_IFSOCK})
print(all(os.path.samestat(*pair) for pair in zip(before, (os.fstat(0), os.fstat(1)))))
made.pop().close()
made.pop().close()
made.append(socket.socket())
print("again")
"""
    confined = under(way, "deny=*", "allow=127.0.0.1")
    out = bench.inside(confined, python(script))
    assert out.lines == ["EMFILE True True", "True", "again"], out.stderr


@each_way(PLAIN)
def test_who_is_killed_while_it_connects_leaves_nothing_waiting(bench: Bench, way: Way) -> None:
    script = """
import os, signal, socket, time
children = []
ready, begun = os.pipe()
for _ in range(20):
    child = os.fork()
    if not child:
        try:
            os.write(begun, b"x")
            socket.create_connection(("192.0.2.7", 80))
        finally:
            os._exit(1)
    children.append(child)
for child in children:
    os.read(ready, 1)
for child in children:
    os.kill(child, signal.SIGKILL)
print(sum(os.waitpid(child, 0)[1] == signal.SIGKILL for child in children))
"""
    with Server(echo) as far, Socks(far.where) as proxy:
        proxy.agrees.clear()
        out = run(bench, under(way, f"proxy=socks5://127.0.0.1:{proxy.port}"), script)
        proxy.agrees.set()
    assert out.lines == ["20"], out.stderr


@each_way(PLAIN)
def test_a_connect_that_waits_is_interrupted_by_a_signal(bench: Bench, way: Way) -> None:
    script = """
import ctypes, errno, signal, socket
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, True)
libc = ctypes.CDLL(None, use_errno=True)
sock = socket.socket()
address = b"\\2\\0" + (80).to_bytes(2, "big") + socket.inet_aton("192.0.2.7") + bytes(8)
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
found = libc.connect(sock.fileno(), address, 16), errno.errorcode[ctypes.get_errno()]
signal.setitimer(signal.ITIMER_REAL, 0)
print(*found)
"""
    with Server(echo) as far, Socks(far.where) as proxy:
        proxy.agrees.clear()
        out = run(bench, under(way, f"proxy=socks5://127.0.0.1:{proxy.port}"), script)
        proxy.agrees.set()
    assert out.lines == ["-1 EINTR"], out.stderr


@each_way(PLAIN)
def test_a_program_that_closed_its_memory_gets_nothing_past_the_rules(bench: Bench, way: Way) -> None:
    script = """
import ctypes, socket, sys
"".encode("idna")
ctypes.CDLL(None).prctl(4, 0)
try:
    sock = socket.socket()
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    print("reached", sock.recv(10))
except OSError as error:
    print("refused")
"""
    with Server(greet("here")) as server:
        out = run(bench, under(way, "deny=*"), script, server.port)
    assert out.lines == ["refused"], out.stderr
