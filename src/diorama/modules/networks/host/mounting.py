"""Mounting: `host:`, with what is asked of it."""

from __future__ import annotations

from diorama.interfaces.network import Network
from diorama.interfaces.stackfile import StackFile
from diorama.modules.networks.host.judge import Judge, Log, Terminal
from diorama.modules.networks.host.loop import Loop
from diorama.modules.networks.host.names import Names
from diorama.modules.networks.host.network import HostNetwork, PolicyNetwork
from diorama.modules.networks.host.proxies import parse_proxy
from diorama.modules.networks.host.resolver import Invented, Resolver, host_servers, parse_server
from diorama.modules.networks.host.settings import Settings, read_settings
from diorama.modules.networks.host.tunnels import Tunnels
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["open_host"]


def open_host(rest: str, options: Options) -> Mount:
    """A mount of `host:` or `host:FILE`."""
    settings = read_settings(rest, options)
    network: Network = HostNetwork() if settings.is_plain else _under_policy(settings)
    return StackFile(network).mount("host:", options.shown)


def _under_policy(settings: Settings) -> PolicyNetwork:
    names, loop = Names(), Loop()
    proxy = None if settings.proxy is None else parse_proxy(settings.proxy)
    log = Log(settings.log)
    judge = Judge(settings.policy, names, log, Terminal())
    by_name = proxy is not None and proxy.by_name
    resolver = None
    if by_name or (settings.policy is not None and settings.policy.has_names):
        resolver = Resolver(
            loop,
            judge,
            names,
            host_servers(),
            upstream=None if settings.dns is None else parse_server(settings.dns),
            invented=Invented() if by_name else None,
        )
    tunnels = None if proxy is None else Tunnels(loop, proxy, names)
    return PolicyNetwork(settings, judge, resolver, tunnels)
