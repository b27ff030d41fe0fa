"""The text of the files of /proc/net, beside the kernel's own of the same layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from diorama.abi.socket import AF_INET, AF_INET6
from diorama.interfaces.procnet import proc_files
from diorama.interfaces.story import Counters, Neighbour, SocketState, TcpState
from interfaces.office import ETH0, office

TCP, UDP = 6, 17
SOCKETS = [
    SocketState(AF_INET, TCP, ("10.0.0.1", 80), ("0.0.0.0", 0), TcpState.LISTEN, 11, 1000, 3, 128),
    SocketState(AF_INET, TCP, ("10.0.0.1", 80), ("10.0.0.7", 4000), TcpState.ESTABLISHED, 12, 0, 5, 6),
    SocketState(AF_INET6, TCP, ("fd00::1", 22), ("::", 0), TcpState.LISTEN, 13),
    SocketState(AF_INET, UDP, ("0.0.0.0", 53), ("0.0.0.0", 0), inode=14),
]


def text(name: str) -> str:
    story = office()
    story.set_neighbour(Neighbour(ETH0, "10.0.0.5", b"\2\0\0\0\0\x99", 0x80))
    story.set_neighbour(Neighbour(ETH0, "10.0.0.6", b"", 0x20))
    link = story.links()[1]
    link.counters = Counters(1234567890, 12, 1, 2, 3, 90, 1)
    story.put_link(link)
    return proc_files(story, lambda: SOCKETS)[f"/proc/net/{name}"]().decode()


def test_links_are_counted() -> None:
    assert text("dev").splitlines()[3] == (
        "  eth0: 1234567890      12    1    2    0     0          0         3"
        "       90       1    0    0    0     0       0          0"
    )


def test_routes_are_in_words_of_the_machine() -> None:
    assert [line.split() for line in text("route").splitlines()][1:] == [
        ["eth0", "00000000", "FE00000A", "0003", "0", "0", "0", "00000000", "0", "0", "0"],
        ["eth0", "0000000A", "00000000", "0001", "0", "0", "0", "00FFFFFF", "0", "0", "0"],
        ["eth0", "000010AC", "FD00000A", "0003", "0", "0", "50", "0000F0FF", "0", "0", "0"],
    ]
    assert {len(line) for line in text("route").splitlines()} == {127}


def test_ipv6_is_in_one_word() -> None:
    assert text("if_inet6").splitlines() == [
        "00000000000000000000000000000001 01 80 10 80       lo",
        "fd000000000000000000000000000001 03 40 00 80     eth0",
    ]
    lines = [line.split() for line in text("ipv6_route").splitlines()]
    assert [(one[0][:4], one[1], one[4][-2:], one[8], one[9]) for one in lines] == [
        ("fd00", "40", "00", "00000001", "eth0"),
        ("0000", "00", "fe", "00000003", "eth0"),
        ("0000", "80", "00", "80200001", "lo"),
        ("fd00", "80", "00", "80200001", "eth0"),
        ("ff00", "08", "00", "00000001", "eth0"),
        ("0000", "00", "00", "00200200", "lo"),
    ]


def test_neighbours_are_listed() -> None:
    assert text("arp").splitlines()[1:] == [
        "10.0.0.5         0x1         0x6         02:00:00:00:00:99     *        eth0",
        "10.0.0.6         0x1         0x0         00:00:00:00:00:00     *        eth0",
    ]


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("tcp", ["0100000A:0050 00000000:0000 0A", "0100000A:0050 0700000A:0FA0 01"]),
        ("tcp6", [f"000000FD0000000000000000{1 << 24:08X}:0016 {'0' * 32}:0000 0A"]),
        ("udp", ["00000000:0035 00000000:0000 07"]),
        ("udp6", []),
    ],
)
def test_sockets_are_listed(name: str, ends: list[str]) -> None:
    lines = text(name).splitlines()[1:]
    assert [" ".join(line.split()[1:4]) for line in lines] == ends
    assert [line.split()[0] for line in lines] == [f"{number}:" for number in range(len(lines))]


def test_what_waits_in_sockets_is_told() -> None:
    waiting, connected = (line.split() for line in text("tcp").splitlines()[1:])
    assert (waiting[4], waiting[7], waiting[9]) == ("00000000:00000003", "1000", "11")
    assert connected[4] == "00000006:00000005"


def test_sockets_are_counted() -> None:
    assert text("sockstat").splitlines()[:3] == [
        "sockets: used 4",
        "TCP: inuse 2 orphan 0 tw 0 alloc 3 mem 0",
        "UDP: inuse 1 mem 0",
    ]
    assert text("sockstat6").splitlines()[:2] == ["TCP6: inuse 1", "UDP6: inuse 0"]
    names, numbers = (line.split() for line in text("snmp").splitlines() if line[:4] == "Tcp:")
    values = dict(zip(names, numbers, strict=True))
    assert (values["CurrEstab"], values["RtoMin"]) == ("1", "200")


TITLED = "dev route arp tcp tcp6 udp udp6 raw raw6 icmp icmp6 udplite udplite6 igmp netlink packet"


@pytest.mark.parametrize("name", TITLED.split())
def test_a_file_begins_as_the_kernels(name: str) -> None:
    kernels = Path("/proc/net", name)
    if not kernels.exists():
        pytest.skip(f"needs {kernels}")
    assert text(name).partition("\n")[0] == kernels.read_text().partition("\n")[0]
