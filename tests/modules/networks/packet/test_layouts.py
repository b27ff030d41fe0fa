"""What we believe of lwIP's structures is what its headers say."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from diorama.modules.networks.packet import layouts, lwip

HEADERS = Path("/usr/include/lwip")
STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "struct netif": layouts.Netif,
    "struct pbuf": layouts.Pbuf,
    "struct tcp_pcb": layouts.TcpPcb,
    "struct udp_pcb": layouts.UdpPcb,
    "struct raw_pcb": layouts.RawPcb,
}
CONSTANTS = {
    "PBUF_RAW": lwip.RAW_LAYER,
    "PBUF_TRANSPORT": lwip.TRANSPORT_LAYER,
    "PBUF_IP": lwip.IP_LAYER,
    "PBUF_RAM": lwip.RAM,
    "TCP_WRITE_FLAG_COPY": lwip.WRITE_COPY,
    "IPADDR_TYPE_V4": layouts.V4,
    "IPADDR_TYPE_V6": layouts.V6,
    "IPADDR_TYPE_ANY": layouts.ANY,
    "LWIP_IPV6_NUM_ADDRESSES": layouts.IPV6_ADDRESSES,
    "NETIF_FLAG_UP": lwip.FLAG_UP,
    "NETIF_FLAG_BROADCAST": lwip.FLAG_BROADCAST,
    "NETIF_FLAG_LINK_UP": lwip.FLAG_LINK_UP,
    "NETIF_FLAG_ETHARP": lwip.FLAG_ARP,
    "NETIF_FLAG_ETHERNET": lwip.FLAG_ETHERNET,
    "NETIF_FLAG_IGMP": lwip.FLAG_IGMP,
    "NETIF_FLAG_MLD6": lwip.FLAG_MLD6,
    "ERR_MEM": lwip.MEM,
    "ERR_ABRT": lwip.ABORTED,
    "ERR_RST": lwip.RESET,
    "ERR_CLSD": lwip.CLOSED,
    "TF_NODELAY": 64,
    "TF_ACK_NOW": 2,
    "SOF_REUSEADDR": 4,
    "SOF_KEEPALIVE": 8,
    "UDP_FLAGS_MULTICAST_LOOP": 8,
    "SYN_SENT": 2,
    "LISTEN": 1,
}
HEAD = """
#include <stddef.h>
#include <stdio.h>
#include "lwip/opt.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/raw.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"
#include "lwip/priv/tcp_priv.h"
int main(void) {
"""


def fields(structure: type[ctypes.Structure]) -> list[str]:
    return [name for name, *_ in structure._fields_ if not name.startswith("_")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, ...]]:
    if not (HEADERS / "lwipopts.h").exists():
        pytest.skip("liblwip-dev is not installed")
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    lines = [HEAD]
    for name, structure in {**STRUCTURES, "ip_addr_t": layouts.IpAddress}.items():
        lines.append(f'printf("{name}|%zu\\n", sizeof({name}));')
        for field in () if name == "ip_addr_t" else fields(structure):
            place = f"offsetof({name}, {field}), sizeof((({name} *)0)->{field})"
            lines.append(f'printf("{name}.{field}|%zu %zu\\n", {place});')
    lines += [f'printf("{name}|%ld\\n", (long)({name}));' for name in CONSTANTS]
    lines += [
        'printf("zone|%zu\\n", offsetof(ip_addr_t, u_addr) + offsetof(ip6_addr_t, zone));',
        'printf("type|%zu\\n", offsetof(ip_addr_t, type));',
        "}",
    ]
    directory = tmp_path_factory.mktemp("layouts")
    (directory / "told.c").write_text("\n".join(lines))
    command = [compiler, "-w", "-I", str(HEADERS), "told.c", "-o", "told"]
    subprocess.run(command, cwd=directory, check=True, timeout=60)
    done = subprocess.run([directory / "told"], capture_output=True, text=True, check=True, timeout=60)
    pairs = (line.split("|") for line in done.stdout.splitlines())
    return {name: tuple(map(int, numbers.split())) for name, numbers in pairs}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_laid_out_as_the_header_has_it(name: str, told: dict[str, tuple[int, ...]]) -> None:
    structure = STRUCTURES[name]
    assert told[name] == (ctypes.sizeof(structure),)
    ours = {field: getattr(structure, field) for field in fields(structure)}
    assert {field: (at.offset, at.size) for field, at in ours.items()} == {
        field: told[f"{name}.{field}"] for field in ours
    }


def test_an_address_has_its_zone_and_type_where_the_header_has_them(told: dict[str, tuple[int, ...]]) -> None:
    assert told["ip_addr_t"] == (ctypes.sizeof(layouts.IpAddress),)
    assert told["zone"] == (layouts.IpAddress.zone.offset,)  # type: ignore[attr-defined]
    assert told["type"] == (layouts.IpAddress.type.offset,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_that_of_the_header(name: str, told: dict[str, tuple[int, ...]]) -> None:
    assert told[name] == (CONSTANTS[name],)
