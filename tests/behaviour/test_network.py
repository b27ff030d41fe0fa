"""Networks of a view: who has which, and what its sockets are told."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import uuid
import zipfile
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, finish, run_with
from diorama import View
from diorama.abi.elf import find_interpreter
from diorama.errors import UsageError
from diorama.modules.networks.none import NoNetwork

NONE = run_with("--net", "none:")
PACKED = run_with("--net", "none:", "--mount", "zip:packed.zip=/mnt")
BOTH = run_with("--net", "none:", "--mount", "host:=/dev/net/host")
HOST = run_with("--net", "host:")
SHIFTED = run_with(module="shifted")
HOSTS = "/dev/net/host"
GROWING = run_with("--grow")

pytestmark = pytest.mark.timeout(120)


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


MAKING = """
import socket, sys
for family in socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_UNIX:
    kind = socket.SOCK_RAW if family in (socket.AF_NETLINK, socket.AF_PACKET) else socket.SOCK_STREAM
    try:
        socket.socket(family, kind).close()
        print(family.name, "made")
    except OSError as error:
        print(family.name, error.strerror)
"""


@each_way(NONE)
def test_without_a_network_there_is_no_family_but_unix(bench: Bench, way: Way) -> None:
    out = bench.inside(way, python(MAKING))
    refused = "Address family not supported by protocol"
    families = ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET")
    assert out.lines == [*[f"{name} {refused}" for name in families], "AF_UNIX made"]


CHOOSING = """
import os, socket, subprocess, sys, threading
PATH, NAME = "/dev/net/host", "system.stack"
def tell(who):
    try:
        socket.socket().close()
        print(who, "made", flush=True)
    except OSError:
        print(who, "refused", flush=True)
def in_child(who):
    if not os.fork():
        tell(who)
        os._exit(0)
    os.wait()
tell("at first")
if not os.fork():
    os.setxattr(PATH, NAME, b"inet")
    tell("who has chosen")
    print(os.getxattr(PATH, NAME), flush=True)
    in_child("its child")
    thread = threading.Thread(target=tell, args=("its thread",))
    thread.start(); thread.join()
    subprocess.run([sys.executable, "-c", "import socket; socket.socket(); print('its program made')"])
    if not os.fork():
        in_child("an orphan's child")
        os._exit(0)
    os.wait()
    try:
        socket.socket(socket.AF_INET6)
    except OSError as error:
        print("other families", error.strerror, flush=True)
    os._exit(0)
os.wait()
tell("its parent")
in_child("its parent's child")
"""


@each_way(BOTH)
def test_a_network_is_chosen_for_a_process_and_its_children(bench: Bench, way: Way) -> None:
    out = bench.inside(way, python(CHOOSING))
    assert out.lines == [
        "at first refused",
        "who has chosen made",
        "b'inet'",
        "its child made",
        "its thread made",
        "its program made",
        "an orphan's child made",
        "other families Address family not supported by protocol",
        "its parent refused",
        "its parent's child refused",
    ], out.stderr


@each_way(BOTH)
def test_a_command_gets_another_network(bench: Bench, way: Way) -> None:
    ours = f"{sys.executable} -P -m diorama stack"
    out = bench.inside(
        way,
        ["sh", "-c", f"{ours} -v -f inet,ip6 {HOSTS} -- {sys.executable} -c '{MAKING}'; {ours} /tmp true"],
    )
    assert out.lines[:3] == [
        "AF_INET made",
        "AF_INET6 made",
        "AF_NETLINK Address family not supported by protocol",
    ]
    assert out.stderr.splitlines() == [
        "diorama: /dev/net/host for inet, ip6",
        "diorama: cannot use /tmp: no network is mounted there",
    ]
    assert out.status == 125


@each_way(GROWING)
def test_a_network_is_mounted_inside(bench: Bench, way: Way) -> None:
    ours = f"{sys.executable} -P -m diorama"
    script = f"""
        : > net; {ours} mount none: net
        {ours} stack $PWD/net -- {sys.executable} -c 'import socket; socket.socket()' 2>&1 | tail -n 1
        {sys.executable} -c 'import socket; socket.socket(); print("made")'
        {ours} umount net; echo $?
        """
    out = bench.inside(way, ["sh", "-c", script])
    refused = "OSError: [Errno 97] Address family not supported by protocol"
    assert out.lines == [refused, "made", "0"], out.stderr


@each_way(GROWING)
def test_who_has_chosen_a_network_that_others_do_not_see_has_that(bench: Bench, way: Way) -> None:
    """It was mounted in a namespace of its own, or is mounted no longer: nobody gets the host's instead."""
    ours = f"{sys.executable} -P -m diorama"
    trying = f"""{sys.executable} -c 'import socket; socket.socket()' 2>&1 | tail -n 1"""
    script = f"""
        : > net
        unshare -m sh -c '{ours} mount none: net; {ours} stack $PWD/net -- sh try'
        {ours} mount none: net; {ours} stack $PWD/net -- sh -c 'umount net; sh try'; sh try
        """
    bench.prepare = lambda work: (work / "try").write_text(f"{trying}\n")  # type: ignore[func-returns-value]
    out = bench.inside(way, ["sh", "-c", script])
    refused = "OSError: [Errno 97] Address family not supported by protocol"
    assert out.lines == [refused, refused], out.stderr


GIVER = """
import ctypes, os, socket, sys
to, taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
to.set_inheritable(True)
child = os.fork()
if not child:
    assert ctypes.CDLL(None).unshare(0x20000) == 0
    choosing = ["stack", os.path.abspath("net"), "--", sys.executable, "-c", sys.argv[2], str(to.fileno())]
    for words in (["mount", sys.argv[1], "net"], choosing):
        if words is choosing or not os.fork():
            os.execv(sys.executable, [sys.executable, "-P", "-m", "diorama", *words])
        assert os.wait()[1] == 0
to.close()
one = socket.socket(fileno=socket.recv_fds(taken, 1, 1)[1][0])
print(one.sendmsg([b"lost"], [], 0, ("127.0.0.1", int(sys.argv[3]))))
os.waitpid(child, 0)
"""
GIVING = """
import socket, sys
one = socket.socket(type=socket.SOCK_DGRAM)
one.bind(("127.0.0.1", 0))
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"x"], [one.fileno()])
"""


def test_a_socket_of_a_network_that_only_others_see_is_of_that(bench: Bench, engine: str) -> None:
    bench.prepare = lambda work: (work / "net").touch()
    with socket.socket(type=socket.SOCK_DGRAM) as outside:
        outside.bind(("127.0.0.1", 0))
        port = outside.getsockname()[1]
        lan = f"lan:t{uuid.uuid4().hex[:12]}"
        out = bench.inside(GROWING.on(engine), [sys.executable, "-c", GIVER, lan, GIVING, str(port)])
        assert out.lines == ["4"], out.stderr
        with pytest.raises(BlockingIOError):
            outside.recv(10, socket.MSG_DONTWAIT)


TALKING = """
import array, os, select, socket, struct, sys, threading
HOST = sys.argv[1]

def stream():
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    print("listens", listener.getsockname()[0], port > 0)
    peers = []
    thread = threading.Thread(target=lambda: peers.append(listener.accept()))
    thread.start()
    client = socket.create_connection((HOST, port))
    thread.join()
    (served, address), = peers
    print("accepted", address == client.getsockname(), address[0], client.getpeername() == (HOST, port))
    print("peer", served.getpeername() == address, served.getsockname() == (HOST, port))
    client.sendall(b"x" * 100_000)
    client.shutdown(socket.SHUT_WR)
    total = 0
    while data := served.recv(65536):
        total += len(data)
    print("bytes", total)
    served.sendmsg([b"by", b"e"])
    print(client.recvmsg(10)[0])
    listener.setblocking(False)
    try:
        listener.accept()
    except BlockingIOError:
        print("nobody")
    late = socket.socket()
    late.setblocking(False)
    print("late", late.connect_ex((HOST, port)) in (0, 115))
    select.select([listener], [], [])
    print("comes", listener.accept()[1] == late.getsockname())
    closed = socket.socket()
    closed.bind((HOST, 0))
    print("refused", socket.socket().connect_ex(closed.getsockname()))

def datagrams():
    one, two = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for each in one, two:
        each.bind((HOST, 0))
    one.sendto(b"hello", two.getsockname())
    data, address = two.recvfrom(100)
    print(data, address == one.getsockname())
    threading.Timer(0.2, lambda: one.sendmsg([b"in ", b"pieces"], [], 0, two.getsockname())).start()
    data, control, flags, address = two.recvmsg(4)
    print(data, flags & socket.MSG_TRUNC != 0, address == one.getsockname())
    threading.Timer(0.2, lambda: one.sendto(b"later", two.getsockname())).start()
    buffer = bytearray(3)
    print(two.recvfrom_into(buffer)[0], buffer)
    two.setblocking(False)
    try:
        two.recvfrom(10)
    except BlockingIOError:
        print("nothing")
    two.settimeout(0.1)
    try:
        two.recvfrom(10)
    except TimeoutError:
        print("nothing in time")
    two.connect(one.getsockname())
    two.send(b"connected")
    print(one.recvfrom(100) == (b"connected", two.getsockname()), two.getpeername() == one.getsockname())
    one.sendto(b"peeked", two.getsockname())
    two.setblocking(True)
    print(two.recvfrom(3, socket.MSG_PEEK)[0], two.recv(10))
    try:
        one.sendto(b"x" * 70_000, two.getsockname())
    except OSError as error:
        print(error.strerror)

stream()
datagrams()
"""


@each_way(HOST)
def test_on_the_network_of_the_host_all_is_as_it_is(bench: Bench, way: Way) -> None:
    out = bench.same(way, python(TALKING, "127.0.0.1"))
    assert out.status == 0


@each_way(SHIFTED)
def test_addresses_are_translated_both_ways(bench: Bench, way: Way) -> None:
    expected = bench.native(python(TALKING, "127.0.0.1"))
    out = bench.inside(way, python(TALKING, "10.0.0.1"))
    assert out.stdout == expected.stdout.replace("127.0.0.1", "10.0.0.1"), out.stderr
    assert out.status == 0


ODD = """
import ctypes, socket
one = socket.socket(type=socket.SOCK_DGRAM)
print("nobody gets it", one.sendto(b"dropped", ("10.0.0.9", 5)))
print("nor that", one.sendmsg([b"drop", b"ped"], [], 0, ("10.0.0.9", 5)))
print("ttl", one.getsockopt(socket.SOL_IP, socket.IP_TTL), one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
print("broadcast", one.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
for call in (lambda: one.sendto(b"x", ("192.0.2.1", 5)), lambda: one.connect(("192.0.2.1", 5))):
    try:
        call()
    except OSError as error:
        print(error.strerror)
libc = ctypes.CDLL(None, use_errno=True)
for size in -1, 1000, 4:
    print(libc.connect(one.fileno(), b"\\2\\0" + bytes(1200), size), ctypes.get_errno())
print(libc.bind(one.fileno(), None, 16), ctypes.get_errno())
print(libc.getsockname(one.fileno(), None, ctypes.byref(ctypes.c_uint32(16))), ctypes.get_errno())
room = ctypes.create_string_buffer(b"\\xff" * 16)
size = ctypes.c_uint32(4)
print(libc.getsockname(one.fileno(), room, ctypes.byref(size)), size.value, room.raw[:5])
"""


@each_way(SHIFTED)
def test_odd_arguments_get_the_errors_of_the_kernel(bench: Bench, way: Way) -> None:
    out = bench.inside(way, python(ODD))
    assert out.lines == [
        "nobody gets it 7",
        "nor that 7",
        "ttl 42 2",
        "broadcast 1",
        "Network is unreachable",
        "Network is unreachable",
        "-1 22",
        "-1 22",
        "-1 97",
        "-1 14",
        "-1 14",
        "0 16 b'\\x02\\x00\\x00\\x00\\xff'",
    ], out.stderr


STRANGE = """
import ctypes, socket, struct, sys
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_size", ctypes.c_uint), ("vector", ctypes.c_void_p),
        ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("_", ctypes.c_uint), ("size", ctypes.c_uint)]
libc = ctypes.CDLL(None, use_errno=True)
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("10.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
def several(limit):
    buffers = [ctypes.create_string_buffer(8) for _ in range(limit)]
    names = [ctypes.create_string_buffer(16) for _ in range(limit)]
    vectors = [Vector(ctypes.addressof(one), 8) for one in buffers]
    messages = (Message * limit)(*[Message(ctypes.addressof(name), 16, ctypes.addressof(vector), 1)
        for name, vector in zip(names, vectors)])
    found = libc.recvmmsg(sock.fileno(), messages, limit, 0x10000, None)  # MSG_WAITFORONE
    if found < 0:
        sys.exit(f"recvmmsg: {ctypes.get_errno()}")
    return [(one.raw[:message.size], socket.inet_ntoa(name.raw[4:8]))
        for one, name, message in zip(buffers, names, messages[:found])]
sys.stdin.readline()
print(several(8), flush=True)
sys.stdin.readline()
print(several(8), flush=True)
sys.stdin.readline()
print(sock.recvfrom(8)[0], sock.recvmsg(8)[0], flush=True)
"""


@each_way(SHIFTED)
def test_what_is_for_nobody_is_told_to_nobody(bench: Bench, way: Way) -> None:
    bench.fresh()
    process = bench.start(way(python(STRANGE)))
    assert process.stdin is not None
    assert process.stdout is not None
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        target = "127.0.0.1", int(process.stdout.readline()) + 20_000
        for words in ("-a -b +c +d -e +f", "-g -h", "-i +j -k +l"):
            for word in words.split():
                (one if word[0] == "+" else stranger).sendto(word.encode(), target)
            process.stdin.write(b"\n")
            process.stdin.flush()
            if words == "-g -h":
                one.sendto(b"+late", target)
            if words != "-i +j -k +l":
                line = process.stdout.readline().decode().strip()
                told = ["+late"] if words == "-g -h" else ["+c", "+d", "+f"]
                assert line == str([(word.encode(), "10.0.0.1") for word in told])
        out = finish(process)
    assert out.lines == ["b'+j' b'+l'"], out.stderr


@each_way(NONE)
def test_a_socket_from_outside_is_no_way_out(bench: Bench, way: Way) -> None:
    script = """
import socket, sys
for fd in map(int, sys.argv[1:]):
    try:
        sock = socket.socket(fileno=fd)
        where = "127.0.0.1", 9
        sock.sendto(b"out", where) if sock.type == socket.SOCK_DGRAM else sock.connect(where)
        print("got out")
    except OSError as error:
        print(error.strerror)
"""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket() as two:
        fds = one.fileno(), two.fileno()
        bench.fresh()
        words = way(python(script, *map(str, fds)))
        out = finish(bench.start(words, pass_fds=fds))
    assert out.lines == ["Permission denied", "Permission denied"], out.stderr


@each_way(NONE)
def test_abstract_names_do_not_lead_out(bench: Bench, way: Way, tmp_path: Path) -> None:
    script = """
import socket, sys
def reach(name):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
        return "reached"
    except OSError as error:
        return error.strerror
outer = "\\0" + sys.argv[1]
print(reach(outer))
try:
    print(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", outer))
except OSError as error:
    print(error.strerror)
own = socket.socket(socket.AF_UNIX)
own.bind(outer + "-own")
own.listen()
print(reach(outer + "-own"))
"""
    name = f"diorama-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX) as outer:
        outer.bind("\0" + name)
        outer.listen()
        out = bench.inside(way, python(script, name))
    assert out.lines == ["Connection refused", "Connection refused", "reached"], out.stderr


def test_the_library_chooses_networks(tmp_path: Path) -> None:
    with View() as view:
        view.mount(NoNetwork(), "/dev/net/mine")
        view.stack("/dev/net/mine", "inet6")
        out = view.run(python(MAKING), capture_output=True, timeout=60, text=True).stdout.splitlines()
    assert out[:2] == ["AF_INET made", "AF_INET6 Address family not supported by protocol"]


@pytest.mark.parametrize(
    ("net", "why"),
    [
        ("/dev/null", "cannot use /dev/null: no network is mounted there"),
        ("none:x", "cannot mount none:x: it takes nothing behind the colon"),
        ("nothing:", "unknown mount scheme 'nothing'"),
    ],
)
def test_a_network_that_cannot_be_had_is_named(net: str, why: str) -> None:
    with View() as view, pytest.raises(UsageError, match=why):
        view.stack(net)


def test_families_have_names() -> None:
    with View() as view, pytest.raises(UsageError, match="unknown address family 'inet7'"):
        view.stack("none:", "inet7")


def pack(work: Path) -> None:
    with zipfile.ZipFile(work / "packed.zip", "w") as packed:
        packed.writestr("hello", "ciao\n")
        for name, content in (("cat", Path("/bin/cat").read_bytes()), ("script", b"#!/mnt/cat\nread\n")):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100755 << 16
            packed.writestr(info, content)


@each_way(PACKED)
def test_who_may_look_into_no_process_outside_has_the_files_of_a_view(bench: Bench, way: Way) -> None:
    bench.prepare = pack
    out = bench.inside(way, ["sh", "-c", "cat /mnt/hello; /mnt/cat /mnt/hello; /mnt/script"])
    assert out.lines == ["ciao", "ciao", "#!/mnt/cat", "read"], out.stderr


def test_who_may_look_into_no_process_outside_runs_by_another_loader(bench: Bench, engine: str) -> None:
    with open("/bin/cat", "rb") as program:
        loader = find_interpreter(program.fileno())
    if loader is None:
        pytest.skip("needs a program with a loader")
    path = os.fsdecode(loader.path)

    def lay(work: Path) -> None:
        shutil.copy(path, work / "loader")

    bench.prepare = lay
    way = run_with("--net", "none:", "--mount", f"loader={path}").on(engine)
    out = bench.inside(way, ["cat", "/proc/self/cmdline", "/proc/self/comm"])
    assert out.stdout.endswith("\0cat\n"), out.stderr
