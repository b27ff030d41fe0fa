"""What programs are told of a network of the view: by netlink, by ioctl(2), by /proc/net, in one story.

The oracle is the kernel itself: a network namespace of its own that is set up alike, where that may be made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from behaviour.harness import DIORAMA, Bench, Way, each_way, run_with
from behaviour.modules.told import ToldNetwork
from behaviour.programs import Programs
from diorama import View

TOLD = run_with(module="told")
ALIKE = """
ip link set lo up
ip link add eth0 type veth peer name p0
ip link set eth0 address 02:00:00:00:00:01 mtu 1400
ip link set p0 up && echo 1 > /proc/sys/net/ipv6/conf/p0/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/eth0/addr_gen_mode
ip addr add 10.0.0.1/24 brd + dev eth0
ip addr add 10.0.0.9/24 brd + dev eth0
ip addr add 192.168.7.7/32 dev eth0
ip link set eth0 up
ip -6 addr add fd00::1/64 dev eth0 nodad
ip route add default via 10.0.0.254
ip route add 172.16.0.0/12 via 10.0.0.253 metric 50
ip -6 route add default via fd00::fe
ip neigh add 10.0.0.5 lladdr 02:00:00:00:00:99 dev eth0
until ip -6 route show table local | grep -q fd00::1; do sleep 0.05; done
"""
"""What makes a namespace tell what the module `told` tells; what it has besides is a link `p0`."""

pytestmark = pytest.mark.timeout(180)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


@pytest.fixture(scope="module")
def alike() -> list[str]:
    """What runs a shell script in such a namespace."""
    words = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    whole = [*words, "sh", "-c"]
    strictly = f"set -e\n{ALIKE}"
    made = subprocess.run([*whole, strictly], capture_output=True, text=True, timeout=60, check=False)
    if made.returncode:
        pytest.skip(f"needs a network namespace with veth: {made.stderr.strip()}")
    return whole


def natively(alike: list[str], command: str) -> str:
    script = f"{{ {ALIKE} }} >/dev/null 2>&1; {{ {command} ; }} 2>&1"
    return subprocess.run(
        [*alike, script], capture_output=True, text=True, timeout=60, check=False
    ).stdout


def inside(bench: Bench, way: Way, command: str) -> str:
    return bench.inside(way, ["sh", "-c", f"{{ {command}; }} 2>&1"]).stdout


def plain(text: str) -> str:
    """Without what a namespace has of its own: the other end of the link, counters, and `nodad`.

    Texts of extended acknowledgements differ with kernels.
    """
    text = re.sub(r"^(Error|RTNETLINK answers): .*", "refused", text, flags=re.MULTILINE)
    text = re.sub(r"@p0|nodad |,\"nodad\":true|,?\"link\":\"p0\"", "", text)
    text = re.sub(r"^(\d+: )?p0.*\n(    .*\n)*", "", text, flags=re.MULTILINE)
    return re.sub(r" +", " ", text)


SAME = {
    "link": "ip -o link show eth0; ip link show lo",
    "address": "ip addr show eth0; ip addr show lo",
    "brief": "ip -br addr; ip -br link",
    "routes": "ip route; ip -6 route; ip route show table all; ip -6 route show table all",
    "json": "ip -j route; ip -j addr show eth0; ip -j -6 route",
    "choices": "ip route show dev lo table all; ip -4 addr; ip addr show scope host; ip link show up",
    "ways": "for to in 8.8.8.8 10.0.0.7 10.0.0.1 10.0.0.255 127.0.0.1 fd00::5 ::1 2001:db8::1; do "
    "ip route get $to | sed 's/ uid [0-9]*//'; done",
    "neighbours": "ip neigh show nud permanent; ip rule; ip -6 rule",
    "refusals": "ip link show nope; ip route show table 99; ip addr add 10.0.0.1/24 dev eth0; "
    "ip route add 10.7.0.0/16 via 10.99.0.1; ip addr del 10.5.5.5/24 dev eth0; ip route del 10.7.0.0/16; "
    "ip link set eth0 mtu 10; ip route add default via 10.0.0.3; ip link set nope up",
}


@needs("ip")
@pytest.mark.parametrize("command", SAME.values(), ids=SAME)
@each_way(TOLD)
def test_ip_tells_what_it_tells_of_the_kernels_network(
    bench: Bench, way: Way, alike: list[str], command: str
) -> None:
    expected = plain(natively(alike, command))
    assert plain(inside(bench, way, command)) == expected
    assert expected.strip()


@needs("ifconfig")
@pytest.mark.parametrize(
    "command",
    [
        "ifconfig lo | grep -v packets; ifconfig eth0 | grep -v packets",
        "route -n; netstat -rn",
        "netstat -i | grep -v '^eth0'",
        "arp -n; ifconfig nope",
    ],
)
@each_way(TOLD)
def test_the_old_tools_tell_the_same(bench: Bench, way: Way, alike: list[str], command: str) -> None:
    expected = plain(natively(alike, command))
    assert plain(inside(bench, way, command)) == expected
    assert expected.strip()


BUSYBOX = """
busybox ip addr show eth0; busybox ip route; busybox ip rule; busybox ip neigh; busybox route -n
busybox ip addr add 10.44.0.1/16 brd + dev eth0; busybox ip route add 10.45.0.0/16 via 10.44.0.9
busybox ip link set eth0 mtu 1300; busybox ip -o addr show eth0; busybox ip route
busybox ip route get 10.45.1.1
busybox ip route del 10.45.0.0/16; busybox ip addr del 10.44.0.1/16 dev eth0; busybox ip route
busybox ip addr del 10.0.0.1/24 dev eth0; busybox ip addr del 192.168.7.7/32 dev eth0
busybox ifconfig eth0 10.66.0.1 netmask 255.255.255.0; busybox route add default gw 10.66.0.9
busybox ifconfig eth0 | grep -v X; busybox route -n; busybox netstat -rn
"""


@needs("busybox")
@each_way(TOLD)
def test_the_small_tools_of_busybox_tell_and_change_the_same(
    bench: Bench, way: Way, alike: list[str]
) -> None:
    command = BUSYBOX.strip().replace("\n", "; ")
    expected = plain(natively(alike, command)).replace(" flags 02", "")
    assert plain(inside(bench, way, command)) == expected
    assert "10.66.0.1" in expected


PYROUTE2 = """
from pyroute2 import IPRoute, NetlinkError
with IPRoute() as ip:
    print([one.get_attr("IFLA_IFNAME") for one in ip.get_links()])
    index = ip.link_lookup(ifname="eth0")[0]
    ip.addr("add", index=index, address="10.70.0.1", prefixlen=16)
    print(sorted(one.get_attr("IFA_ADDRESS") for one in ip.get_addr(index=index)))
    ip.link("set", index=index, mtu=1333)
    print(ip.get_links(index)[0].get_attr("IFLA_MTU"))
    ip.route("add", dst="10.71.0.0/16", gateway="10.70.0.9")
    print(sorted(str(one.get_attr("RTA_DST")) for one in ip.get_routes(family=2, table=254)))
    try:
        ip.addr("add", index=index, address="10.70.0.1", prefixlen=16)
    except NetlinkError as error:
        print(error.code)
    print(ip.route("get", dst="8.8.8.8")[0].get_attr("RTA_GATEWAY"))
"""


@each_way(TOLD)
def test_pyroute2_tells_and_changes_the_same(bench: Bench, way: Way) -> None:
    pytest.importorskip("pyroute2")
    out = bench.inside(way, [sys.executable, "-c", PYROUTE2])
    assert out.lines == [
        "['lo', 'eth0']",
        "['10.0.0.1', '10.0.0.9', '10.70.0.1', '192.168.7.7', 'fd00::1']",
        "1333",
        "['10.0.0.0', '10.70.0.0', '10.71.0.0', '172.16.0.0', 'None']",
        "17",
        "10.0.0.254",
    ], out.stderr


@pytest.mark.parametrize("bits", [64, 32])
@each_way(TOLD)
def test_the_c_library_and_ioctl_tell_the_same(
    bench: Bench, way: Way, alike: list[str], programs: Programs, bits: int
) -> None:
    program = programs("interfaces", bits)
    expected = natively(alike, f"{program} p0")
    assert inside(bench, way, f"{program} p0") == expected
    assert "eth0 hardware:0100020000000001" in expected


GETIFADDRS = """
import socket
print([name for _, name in socket.if_nameindex() if name != "p0"])
print(socket.if_nametoindex("lo"), socket.if_indextoname(socket.if_nametoindex("eth0")))
for wrong in (lambda: socket.if_nametoindex("nope"), lambda: socket.if_indextoname(77)):
    try:
        wrong()
    except OSError as error:
        print(error.strerror or error)
"""


@each_way(TOLD)
def test_the_c_library_finds_the_interfaces(bench: Bench, way: Way) -> None:
    out = bench.inside(way, [sys.executable, "-c", GETIFADDRS]).lines
    assert out[:2] == ["['lo', 'eth0']", "1 eth0"]
    assert len(out) == 4


@needs("hostname")
@each_way(TOLD)
def test_hostname_lists_the_addresses(bench: Bench, way: Way) -> None:
    assert inside(bench, way, "hostname -I").split() == ["10.0.0.1", "192.168.7.7", "10.0.0.9", "fd00::1"]


@needs("node")
@each_way(TOLD)
def test_node_lists_the_interfaces(bench: Bench, way: Way) -> None:
    script = "console.log(JSON.stringify(require('os').networkInterfaces()))"
    found = json.loads(bench.inside(way, ["node", "-e", script]).stdout)
    assert {name: [one["cidr"] for one in each] for name, each in found.items()} == {
        "lo": ["127.0.0.1/8", "::1/128"],
        "eth0": ["10.0.0.1/24", "192.168.7.7/32", "10.0.0.9/24", "fd00::1/64"],
    }


@needs("ss")
@each_way(TOLD)
def test_ss_and_netstat_list_the_sockets(bench: Bench, way: Way) -> None:
    found = [line.split() for line in inside(bench, way, "ss -Htuan").splitlines()]
    assert [(one[0], one[1], one[4], one[5]) for one in found] == [
        ("udp", "UNCONN", "0.0.0.0:53", "0.0.0.0:*"),
        ("tcp", "LISTEN", "10.0.0.1:80", "0.0.0.0:*"),
        ("tcp", "ESTAB", "10.0.0.1:80", "10.0.0.7:40000"),
        ("tcp", "LISTEN", "*:22", "*:*"),
    ]
    if shutil.which("netstat"):
        listed = [line.split() for line in inside(bench, way, "netstat -tuan").splitlines()[2:]]
        assert [(one[0], one[3], one[4]) for one in listed] == [
            ("tcp", "10.0.0.1:80", "0.0.0.0:*"),
            ("tcp", "10.0.0.1:80", "10.0.0.7:40000"),
            ("tcp6", ":::22", ":::*"),
            ("udp", "0.0.0.0:53", "0.0.0.0:*"),
        ]


@needs("ip")
def test_a_process_may_have_nothing_but_netlink_of_a_network() -> None:
    tell = ["ip", "-br", "link"]
    with View() as view:
        view.mount(ToldNetwork(), "/dev/net/told")
        words = [*DIORAMA, "stack", "-f", "netlink", "/dev/net/told", "--", *tell]
        chosen = view.run(words, capture_output=True, timeout=60, text=True)
        other = view.run(tell, capture_output=True, timeout=60, text=True)
    assert [line.split()[0] for line in chosen.stdout.splitlines()] == ["lo", "eth0"], chosen.stderr
    assert other.stdout == subprocess.run(tell, capture_output=True, text=True, check=True).stdout


RAW = """
import errno, os, socket, struct
DUMP = struct.pack("=IHHII", 20, 18, 0x301, 7, 0) + bytes(4)
def fails(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
def ends(data):
    while data:
        size, kind = struct.unpack_from("=IH", data)
        if kind == 3:
            return True
        data = data[size + 3 & ~3:]
    return False
for kind in socket.SOCK_RAW, socket.SOCK_DGRAM:
    at = socket.socket(socket.AF_NETLINK, kind, 0)
    print(at.family, at.type, at.proto, at.getsockopt(1, 3), at.getsockopt(1, 38), at.getsockopt(1, 39))
    print(at.getsockname(), fails(at.getpeername))
    at.bind((0, 0))
    print(at.getsockname()[0] == os.getpid() or kind == socket.SOCK_DGRAM)
    at.sendto(DUMP, (0, 0))
    part = bytearray(10)
    size, _, flags, name = at.recvmsg_into([part], 0, socket.MSG_PEEK | socket.MSG_TRUNC)
    data, _, plain, other = at.recvmsg(65536)
    print(len(data) == size > 20, bytes(part) == data[:10], flags, plain, name, other)
    print(struct.unpack("=HHII", data[4:16])[:3], struct.unpack("=I", data[12:16])[0] == at.getsockname()[0])
    while not ends(data):
        data, name = at.recvfrom(65536)
    print(name)
    at.setblocking(False)
    print(fails(at.recv, 10), fails(at.recvfrom, 10), fails(at.listen, 5), fails(at.accept))
    print(fails(at.shutdown, 2), fails(at.bind, (77777, 0)), fails(at.connect, (0, 0)), at.getpeername())
    print(fails(at.setsockopt, 270, 1, 0), fails(at.setsockopt, 270, 99, 1), fails(at.getsockopt, 270, 11))
    print(fails(at.setsockopt, 270, 11, 1), fails(at.getsockopt, 270, 11), fails(at.setsockopt, 270, 1, 1))
    print(at.getsockname()[1])
    at.close()
print(fails(socket.socket, 16, socket.SOCK_STREAM, 0), fails(socket.socket, 16, 3, 99))
"""


@each_way(TOLD)
def test_netlink_sockets_are_as_the_kernels(bench: Bench, way: Way) -> None:
    bench.same(way, [sys.executable, "-c", RAW])


CHANGES = """
ip link set eth0 mtu 1300 txqueuelen 77
ip addr add 10.9.0.1/16 brd + dev eth0
ip addr del 192.168.7.7/32 dev eth0
ip route add 10.8.0.0/16 via 10.9.0.7
ip route replace default via 10.0.0.253
ip route del 172.16.0.0/12
ip -6 addr add fd09::1/64 dev eth0 nodad
ip route add 10.6.0.0/16 dev eth0
ip -o link show eth0; ip -o addr show eth0; ip route; ip -6 route
ip link set eth0 down
ip link set eth0 name wan address 02:00:00:00:00:02
ip -br link show wan; ip -o -4 addr show scope global up; ip route; ip -6 route
"""


@needs("ip")
@each_way(TOLD)
def test_ip_changes_what_there_is(bench: Bench, way: Way, alike: list[str]) -> None:
    changes = CHANGES.strip().replace("\n", "; ")
    expected = plain(natively(alike, changes))
    assert plain(inside(bench, way, changes)) == expected
    assert "10.9.0.1/16" in expected


OLD_CHANGES = """
ip addr del 192.168.7.7/32 dev eth0; ip addr del 10.0.0.9/24 dev eth0
ifconfig eth0 10.5.0.1 netmask 255.255.0.0 mtu 1300
route add -net 10.77.0.0/16 gw 10.5.0.9
route add -host 10.5.5.5 dev eth0
route del default
ifconfig lo down
ifconfig eth0 | grep -v packets; ifconfig lo | grep flags; route -n
"""


@needs("ifconfig")
@each_way(TOLD)
def test_the_old_tools_change_what_there_is(bench: Bench, way: Way, alike: list[str]) -> None:
    changes = OLD_CHANGES.strip().replace("\n", "; ")
    expected = plain(natively(alike, changes))
    assert plain(inside(bench, way, changes)) == expected
    assert "10.5.0.1" in expected


MONITOR = """
exec 3< <(exec ip -o monitor link address route)
sleep() { command sleep "$@"; }
until ip addr add 10.$((++number)).0.1/16 dev eth0 && read -t 0.2 line <&3; do :; done
echo "$line"
kill $!
"""


@needs("ip")
@each_way(TOLD)
def test_who_listens_is_told_of_changes(bench: Bench, way: Way) -> None:
    out = bench.inside(way, ["bash", "-c", MONITOR]).stdout
    assert re.match(r"3: eth0 +inet 10\.\d+\.0\.1/16 ", out)
