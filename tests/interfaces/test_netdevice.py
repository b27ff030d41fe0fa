"""What ioctl(2) tells of links and does to them, in structures of both sizes of pointers."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from diorama.abi import ioctl
from diorama.abi.arch import Abi
from diorama.abi.netdevice import IFF_PROMISC, IFF_UP
from diorama.abi.socket import AF_INET, AF_INET6, AF_UNIX, InetAddress
from diorama.interfaces.localstory import LocalStory
from diorama.interfaces.netdevice import control, transform
from diorama.interfaces.network import Route
from interfaces.office import ETH0, MAC, office

BUFFER = 0x1000
LIST = 0x2000
NAME = 0x3000
SIZES = {8: 40, 4: 32}
"""Of a `struct ifreq`, by that of a pointer."""


class Program:
    """A tracee with memory of its own."""

    def __init__(self, abi: Abi = Abi.X86_64) -> None:
        self.abi = abi
        self.memory = self
        self.content = bytearray(0x4000)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.content[address : address + size])

    def read_string(self, address: int, limit: int) -> bytes:
        return self.read(address, limit).partition(b"\0")[0]

    def write(self, address: int, data: bytes) -> None:
        self.content[address : address + len(data)] = data

    def call(self, story: LocalStory, command: int, given: bytes, family: int = AF_INET) -> int | None:
        self.write(BUFFER, given)
        tracee: Any = self
        return control(story, family, command, BUFFER, tracee)


BOTH = pytest.mark.parametrize("abi", [Abi.X86_64, Abi.I386], ids=lambda abi: abi.title)


@pytest.fixture
def story() -> LocalStory:
    return office()


def ifreq(name: str, value: bytes = b"", size: int = 40) -> bytes:
    return (name.encode().ljust(16, b"\0") + value).ljust(size, b"\0")


def address(host: str) -> bytes:
    return InetAddress(host, 0).pack()


def number(value: int) -> bytes:
    return struct.pack("=i", value)


def failing(code: int) -> Any:
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


@pytest.mark.parametrize(
    ("command", "value"),
    [
        (ioctl.SIOCGIFFLAGS, struct.pack("=H", 0x1043)),
        (ioctl.SIOCGIFADDR, address("10.0.0.1")),
        (ioctl.SIOCGIFDSTADDR, address("10.0.0.1")),
        (ioctl.SIOCGIFBRDADDR, address("10.0.0.255")),
        (ioctl.SIOCGIFNETMASK, address("255.255.255.0")),
        (ioctl.SIOCGIFMTU, number(1400)),
        (ioctl.SIOCGIFMETRIC, number(0)),
        (ioctl.SIOCGIFINDEX, number(ETH0)),
        (ioctl.SIOCGIFTXQLEN, number(1000)),
        (ioctl.SIOCGIFHWADDR, struct.pack("=H", 1) + MAC),
        (ioctl.SIOCGIFMAP, bytes(24)),
    ],
)
@pytest.mark.parametrize("name", ["eth0", "eth0:1"])
def test_a_link_is_asked_by_its_name(story: LocalStory, command: int, value: bytes, name: str) -> None:
    told = transform(story, AF_INET, command, ifreq(name, b"\xff" * 24))
    assert told[:16] == ifreq(name)[:16]
    assert told[16 : 16 + len(value)] == value


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (ioctl.SIOCGIFADDR, "192.168.7.7"),
        (ioctl.SIOCGIFNETMASK, "255.255.255.255"),
        (ioctl.SIOCGIFBRDADDR, "0.0.0.0"),
    ],
)
def test_a_link_is_asked_about_the_address_that_is_given(story: LocalStory, command: int, told: str) -> None:
    answer = transform(story, AF_INET, command, ifreq("eth0", address("192.168.7.7")))
    assert answer[16:32] == address(told)
    other = transform(story, AF_INET, command, ifreq("eth0", address("192.168.7.8")))
    assert other == transform(story, AF_INET, command, ifreq("eth0", bytes(16)))


def test_a_link_is_named_by_its_index(story: LocalStory) -> None:
    assert transform(story, AF_UNIX, ioctl.SIOCGIFNAME, ifreq("", number(ETH0)))[:5] == b"eth0\0"
    with failing(errno.ENODEV):
        transform(story, AF_UNIX, ioctl.SIOCGIFNAME, ifreq("", number(77)))


@pytest.mark.parametrize(
    ("command", "name", "code"),
    [
        (ioctl.SIOCGIFFLAGS, "nope", errno.ENODEV),
        (ioctl.SIOCETHTOOL, "eth0", errno.EOPNOTSUPP),
        (ioctl.SIOCETHTOOL, "nope", errno.ENODEV),
        (ioctl.SIOCGIFPFLAGS, "eth0", errno.ENOTTY),
        (ioctl.SIOCGARP, "eth0", errno.ENXIO),
    ],
)
def test_what_there_is_not_is_an_error(story: LocalStory, command: int, name: str, code: int) -> None:
    with failing(code):
        transform(story, AF_INET, command, ifreq(name))


def test_a_link_without_an_address_has_none() -> None:
    story = LocalStory()
    story.set_link(1, flags=8)
    story.remove_address(1, ip_interface("127.0.0.1/8"))
    for command in (ioctl.SIOCGIFADDR, ioctl.SIOCGIFNETMASK, ioctl.SIOCGIFBRDADDR):
        with failing(errno.EADDRNOTAVAIL):
            transform(story, AF_INET, command, ifreq("lo"))


@pytest.mark.parametrize(
    "command", [ioctl.SIOCATMARK, ioctl.SIOCGSTAMP_OLD, ioctl.SIOCOUTQNSD, 0x89F0, 0x5401]
)
def test_what_is_not_about_devices_is_the_kernels(story: LocalStory, command: int) -> None:
    assert Program().call(story, command, bytes(40)) is None


# -- in memory -----------------------------------------------------------------------------------------------


@BOTH
def test_an_answer_is_written_where_the_question_was(story: LocalStory, abi: Abi) -> None:
    program = Program(abi)
    size = SIZES[abi.word]
    assert program.call(story, ioctl.SIOCGIFMTU, ifreq("eth0", size=size) + b"behind") == 0
    assert program.read(BUFFER, size + 6) == ifreq("eth0", number(1400), size) + b"behind"
    assert program.call(story, ioctl.SIOCGIFMAP, ifreq("eth0", b"\xff" * (size - 16), size) + b"behind") == 0
    assert program.read(BUFFER + size, 6) == b"behind"


def test_a_question_that_cannot_be_read_is_a_fault(story: LocalStory) -> None:
    program: Any = Program()
    with failing(errno.EFAULT):
        control(story, AF_INET, ioctl.SIOCGIFMTU, 0x4000 - 10, program)


@BOTH
@pytest.mark.parametrize(("room", "fit"), [(1000, 4), (3, 3), (2, 2), (0, 0), (-1, 0)])
def test_addresses_are_listed_as_far_as_there_is_room(
    story: LocalStory, abi: Abi, room: int, fit: int
) -> None:
    program, size = Program(abi), SIZES[abi.word]
    asked = room if room in (1000, -1) else room * size + 5
    ifconf = struct.pack("=ixxxxQ" if abi.word == 8 else "=iI", asked, LIST)
    assert program.call(story, ioctl.SIOCGIFCONF, ifconf) == 0
    assert program.read(BUFFER, 4) == number(fit * size)
    found = [program.read(LIST + at * size, size) for at in range(fit)]
    names = [("lo", "127.0.0.1"), ("eth0", "10.0.0.1"), ("eth0", "192.168.7.7"), ("eth0", "10.0.0.9")]
    assert found == [ifreq(name, address(host), size) for name, host in names][:fit]
    assert program.read(LIST + fit * size, 64) == bytes(64)


@BOTH
def test_without_a_buffer_the_room_that_is_needed_is_told(story: LocalStory, abi: Abi) -> None:
    program, size = Program(abi), SIZES[abi.word]
    assert program.call(story, ioctl.SIOCGIFCONF, bytes(16)) == 0
    assert program.read(BUFFER, 4) == number(4 * size)


# -- changing ------------------------------------------------------------------------------------------------


def change(story: LocalStory, command: int, value: bytes, name: str = "eth0") -> None:
    transform(story, AF_INET, command, ifreq(name, value))


def test_flags_that_only_the_kernel_sets_stay(story: LocalStory) -> None:
    change(story, ioctl.SIOCSIFFLAGS, struct.pack("=H", IFF_PROMISC))
    link = story.links()[1]
    assert not link.flags & IFF_UP
    assert link.flags & 0x1102 == 0x1102 - 0x1000
    change(story, ioctl.SIOCSIFFLAGS, struct.pack("=H", IFF_UP))
    assert story.links()[1].flags & 0x10043 == 0x10043


@pytest.mark.parametrize(
    ("host", "length"), [("10.5.0.1", 8), ("172.16.0.1", 16), ("192.168.9.1", 24)]
)
def test_an_address_takes_the_place_of_the_first_and_has_the_mask_of_its_class(
    story: LocalStory, host: str, length: int
) -> None:
    change(story, ioctl.SIOCSIFADDR, address(host))
    told = [str(one) for one in story.links()[1].addresses]
    assert told == ["192.168.7.7/32", "fd00::1/64", f"{host}/{length}"]


def test_no_address_takes_the_first_away(story: LocalStory) -> None:
    change(story, ioctl.SIOCSIFADDR, address("0.0.0.0"))
    assert [str(one) for one in story.links()[1].addresses] == ["192.168.7.7/32", "fd00::1/64"]


def test_a_mask_changes_the_subnet(story: LocalStory) -> None:
    change(story, ioctl.SIOCSIFNETMASK, address("255.255.0.0"))
    assert ip_interface("10.0.0.1/16") in story.links()[1].addresses
    with failing(errno.EINVAL):
        change(story, ioctl.SIOCSIFNETMASK, address("255.0.255.0"))


@pytest.mark.parametrize(
    ("command", "value", "told"),
    [
        (ioctl.SIOCSIFMTU, number(1300), lambda link: link.mtu == 1300),
        (ioctl.SIOCSIFTXQLEN, number(7), lambda link: link.queue == 7),
        (ioctl.SIOCSIFNAME, b"wan\0", lambda link: link.name == "wan"),
        (ioctl.SIOCSIFHWADDR, b"\1\0" + b"\2" * 6, lambda link: link.address == b"\2" * 6),
        (ioctl.SIOCSIFBRDADDR, address("10.0.0.255"), lambda link: True),
    ],
)
def test_other_properties_are_changed(
    story: LocalStory, command: int, value: bytes, told: Callable[[Any], bool]
) -> None:
    change(story, command, value)
    assert told(story.links()[1])


@pytest.mark.parametrize(
    ("command", "value", "code"),
    [
        (ioctl.SIOCSIFMTU, number(10), errno.EINVAL),
        (ioctl.SIOCSIFMTU, number(-1), errno.EINVAL),
        (ioctl.SIOCSIFTXQLEN, number(-1), errno.EINVAL),
        (ioctl.SIOCSIFNAME, b"lo\0", errno.EEXIST),
        (ioctl.SIOCSIFNAME, b"a/b\0", errno.EINVAL),
        (ioctl.SIOCSIFHWADDR, b"\7\0", errno.EINVAL),
        (ioctl.SIOCSIFADDR, address("224.0.0.1"), errno.EINVAL),
        (ioctl.SIOCSIFADDR, bytes(16), errno.EINVAL),
        (ioctl.SIOCSIFBRDADDR, address("10.0.0.77"), errno.EOPNOTSUPP),
        (ioctl.SIOCSIFMETRIC, number(1), errno.EOPNOTSUPP),
    ],
)
def test_what_cannot_be_is_refused(story: LocalStory, command: int, value: bytes, code: int) -> None:
    before = story.links()
    with failing(code):
        change(story, command, value)
    assert story.links() == before


def test_ipv6_addresses_come_and_go(story: LocalStory) -> None:
    given = struct.pack("=16sIi", ip_interface("fd09::1").packed, 64, ETH0)
    assert Program().call(story, ioctl.SIOCSIFADDR, given, AF_INET6) == 0
    assert ip_interface("fd09::1/64") in story.links()[1].addresses
    assert Program().call(story, ioctl.SIOCDIFADDR, given, AF_INET6) == 0
    assert ip_interface("fd09::1/64") not in story.links()[1].addresses
    with failing(errno.ENODEV):
        Program().call(story, ioctl.SIOCSIFADDR, given[:20] + number(77), AF_INET6)


# -- routes --------------------------------------------------------------------------------------------------


def rtentry(abi: Abi, subnet: str, gateway: str = "", name: int = 0, metric: int = 0) -> bytes:
    parsed = ip_network(subnet)
    ends = [address(str(one)) for one in (parsed.network_address, gateway or "0.0.0.0", parsed.netmask)]
    flags = 1 | (2 if gateway else 0)
    if abi.word == 8:
        rest = struct.pack("=H22xH6xQ24x", flags, metric, name)
        return bytes(8) + b"".join(ends) + rest
    return bytes(4) + b"".join(ends) + struct.pack("=H10xH2xI12x", flags, metric, name)


@BOTH
def test_routes_come_and_go(story: LocalStory, abi: Abi) -> None:
    program = Program(abi)
    program.write(NAME, b"eth0\0")
    through = rtentry(abi, "10.7.0.0/16", "10.0.0.3", metric=6)
    assert len(through) == (120 if abi.word == 8 else 84)
    assert program.call(story, ioctl.SIOCADDRT, through) == 0
    assert story.routes()[-1] == Route(ip_network("10.7.0.0/16"), ETH0, "10.0.0.3", 5)
    near = rtentry(abi, "10.6.0.1/32", name=NAME)
    assert program.call(story, ioctl.SIOCADDRT, near) == 0
    assert story.routes()[-1] == Route(ip_network("10.6.0.1/32"), ETH0)
    for given in (near, through):
        assert program.call(story, ioctl.SIOCDELRT, given) == 0
        with failing(errno.ESRCH):
            program.call(story, ioctl.SIOCDELRT, given)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (rtentry(Abi.X86_64, "10.7.0.0/16", "10.99.0.3"), errno.ENETUNREACH),
        (rtentry(Abi.X86_64, "10.7.0.0/16"), errno.ENODEV),
        (rtentry(Abi.X86_64, "10.7.0.0/16", name=NAME), errno.ENODEV),
        (bytes(120), errno.EAFNOSUPPORT),
        (bytes(8) + address("10.7.0.0") + bytes(16) + address("1.0.1.0") + bytes(64), errno.EINVAL),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(story: LocalStory, given: bytes, code: int) -> None:
    program = Program()
    program.write(NAME, b"nope\0")
    with failing(code):
        program.call(story, ioctl.SIOCADDRT, given)


def test_ipv6_routes_are_changed_by_netlink_only(story: LocalStory) -> None:
    with failing(errno.EOPNOTSUPP):
        Program().call(story, ioctl.SIOCADDRT, bytes(80), AF_INET6)
