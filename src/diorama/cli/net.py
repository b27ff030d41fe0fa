"""Net: `diorama net`, the LANs that there are, and what can be changed of them while they run."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from diorama.modules.networks.lan.wire import Impairment, State


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="Tell it for programs.")
@click.argument("name", required=False)
@click.argument("verb", required=False, default="show")
@click.argument("words", nargs=-1)
def command(name: str | None, verb: str, words: tuple[str, ...], *, as_json: bool) -> int:
    """List the LANs, or show one, or change it: for all of its hosts, when this returns.

    \b
    diorama net                                 all LANs and their hosts
    diorama net office                          all that is known of one
    diorama net office set latency=100ms        of all hosts: latency= jitter= bandwidth= loss=
    diorama net office set db loss=1%           of one host
    diorama net office set db-web latency=0     of two
    diorama net office cut db | cut db-web      nobody hears db; those two not each other
    diorama net office partition a,b/c,d        sides that do not hear each other
    diorama net office heal                     undo cut and partition
    diorama net office pause|resume|down|up db
    diorama net office reset                    undo all of these
    diorama net office name www=web             one more name; www= forgets it
    diorama net office publish 8080=web:80      a port of the machine; unpublish 8080
    diorama net office gateway allow=*.org:443  the way out, by rules; none
    diorama net office pcap FILE                write down what passes; none
    """
    from diorama.errors import UsageError
    from diorama.modules.networks.lan.lan import Lan, lans

    if name is None:
        states = lans()
        _tell_json([_of(state) for state in states]) if as_json else _list(states)
        return 0
    if verb == "show" and words:
        raise UsageError("show takes no more words")
    lan = Lan(name)
    if verb == "pcap" and words and words[0] != "none":
        words = (os.path.abspath(words[0]), *words[1:])
    state = lan.state if verb == "show" else lan.order(verb, *words)
    if as_json:
        _tell_json(_of(state))
    elif verb == "show":
        _show(state)
    return 0


def _tell_json(what: Any) -> None:
    click.echo(json.dumps(what, indent=2))


def _of(state: State) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(state)
    return found


def _list(states: list[State]) -> None:
    for state in states:
        names = ", ".join(f"{host.name} {host.address}" for host in state.hosts)
        click.echo(f"{state.lan}  {state.subnet}  {names}")


def _show(state: State) -> None:
    click.echo(f"{state.lan}: {state.subnet}, {state.subnet6}; at 127.{state.number}.0.0/16")
    for host in state.hosts:
        marks = [
            mark for mark, names in (("down", state.down), ("paused", state.paused)) if host.name in names
        ]
        click.echo("  ".join([f"  {host.name}", host.address, host.address6, f"process {host.pid}", *marks]))
    for key, impairment in sorted(state.impairments.items()):
        click.echo(f"set {key.replace('|', '-')} {_values(impairment)}".replace("  ", " "))
    for one, other in state.cuts:
        click.echo(f"cut {one}-{other}" if one else f"cut {other}")
    if state.groups:
        click.echo(f"partition {'/'.join(','.join(group) for group in state.groups)}")
    for name, target in sorted(state.names.items()):
        click.echo(f"name {name}={target}")
    for port in state.published:
        address = f"[{port.address}]" if ":" in port.address else port.address
        click.echo(f"publish {address}:{port.port}={port.host}:{port.target}/{port.protocol}")
    if state.gateway:
        click.echo(f"gateway {' '.join(state.gateway)}")
    if state.pcap:
        click.echo(f"pcap {state.pcap}")


def _values(impairment: Impairment) -> str:
    told = {
        "latency": impairment.latency is not None and f"{impairment.latency * 1e3:g}ms",
        "jitter": impairment.jitter is not None and f"{impairment.jitter * 1e3:g}ms",
        "bandwidth": impairment.bandwidth is not None and f"{impairment.bandwidth:.12g}B",
        "loss": impairment.loss is not None and f"{impairment.loss * 100:g}%",
    }
    return " ".join(f"{name}={value}" for name, value in told.items() if value is not False)
