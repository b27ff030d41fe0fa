"""Orders: what can be changed of a LAN while it runs, by words.

Each verb makes a new state of the one there is, and does nothing else; `UsageError` leaves all as it was.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from msgspec.structs import replace

from diorama.errors import UsageError
from diorama.modules.networks.lan.conditions import GATEWAY_NAME
from diorama.modules.networks.lan.gateway import parse_rules
from diorama.modules.networks.lan.publishing import parse_published
from diorama.modules.networks.lan.wire import Impairment, Published, State

__all__ = ["VERBS", "obey", "parse_impairment"]

_TIMES: Final = {"": 1, "s": 1, "ms": 1000, "us": 1000_000, "ns": 1000_000_000}
_RATES: Final = {"bit": 0.125, "b": 1.0, "bps": 1.0}
_MULTIPLES: Final = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1024.0, "mi": 1024.0**2, "gi": 1024.0**3}
_VALUE: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z%/]*)")


def _split(name: str, text: str) -> tuple[float, str]:
    match = _VALUE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{name}={text} is no value: write {_EXAMPLES[name]}")
    return float(match[1]), match[2]


def _time(name: str, text: str) -> float:
    number, unit = _split(name, text)
    if unit not in _TIMES:
        raise UsageError(f"{name}={text} has no unit of time: write {_EXAMPLES[name]}")
    return number / _TIMES[unit]


def _rate(name: str, text: str) -> float:
    """Bytes a second: of bits (`10Mbit`) or bytes (`1MB`, `1MB/s`)."""
    number, unit = _split(name, text)
    plain = unit.lower().removesuffix("/s")
    for end, factor in _RATES.items():
        multiple = _MULTIPLES.get(plain.removesuffix(end)) if plain.endswith(end) else None
        if multiple is not None:
            return number * multiple * factor
    if not unit:
        return number
    raise UsageError(f"{name}={text} has no unit of a rate: write {_EXAMPLES[name]}")


def _share(name: str, text: str) -> float:
    number, unit = _split(name, text)
    share = number / 100 if unit == "%" else number
    if unit not in ("", "%") or share > 1:
        raise UsageError(f"{name}={text} is no share: write {_EXAMPLES[name]}")
    return share


_EXAMPLES: Final = {"latency": "100ms", "jitter": "10ms", "bandwidth": "10Mbit", "loss": "1%"}
_PARSERS: Final[Mapping[str, Callable[[str, str], float]]] = {
    "latency": _time,
    "jitter": _time,
    "bandwidth": _rate,
    "loss": _share,
}


def parse_impairment(words: Sequence[str]) -> dict[str, float]:
    """`latency=100ms jitter=10ms bandwidth=10Mbit loss=1%`: in seconds, bytes a second, a share of 1."""
    found: dict[str, float] = {}
    for word in words:
        name, given, text = word.partition("=")
        if not given or name not in _PARSERS:
            raise UsageError(f"{word!r} is nothing to set; known are {', '.join(_PARSERS)}, as latency=100ms")
        found[name] = _PARSERS[name](name, text)
    if not found:
        raise UsageError(f"nothing to set: write {' '.join(f'{k}={v}' for k, v in _EXAMPLES.items())}")
    return found


# -- hosts ---------------------------------------------------------------------------------------------


def _known(state: State) -> set[str]:
    return {host.name for host in state.hosts} | {GATEWAY_NAME}


def _host(state: State, name: str) -> str:
    """A host that there is, or that something was said of."""
    said = {part for key in state.impairments for part in key.split("|")}
    said.update(name for pair in state.cuts for name in pair)
    if name in _known(state) | said | {*state.down} | {*state.paused}:
        return name
    raise UsageError(f"there is no host {name!r}; hosts are {', '.join(sorted(_known(state)))}", errno.ENOENT)


def _pair(state: State, word: str) -> tuple[str, str]:
    """`db-web`, whatever hyphens the names have; in order."""
    places = [index for index, letter in enumerate(word) if letter == "-"]
    known = _known(state)
    for place in places:
        one, other = word[:place], word[place + 1 :]
        if one in known and other in known and one != other:
            first, second = sorted((one, other))
            return first, second
    raise UsageError(
        f"{word!r} is not two hosts, as in db-web; hosts are {', '.join(sorted(known))}", errno.ENOENT
    )


def _subject(state: State, word: str) -> str:
    """What is set: a host or two of them, as a key of the impairments."""
    if word in _known(state) or "-" not in word:
        return _host(state, word)
    return "|".join(_pair(state, word))


# -- verbs ---------------------------------------------------------------------------------------------


def _set(state: State, words: Sequence[str]) -> State:
    subjects = [word for word in words if "=" not in word]
    values = parse_impairment([word for word in words if "=" in word])
    impairments = dict(state.impairments)
    for key in [_subject(state, word) for word in subjects] or [""]:
        impairments[key] = replace(impairments.get(key, Impairment()), **values)
    return replace(state, impairments=impairments)


def _cut(state: State, words: Sequence[str]) -> State:
    """One host from all others, or two from each other."""
    cuts = [*state.cuts]
    for word in _some(words, "cut"):
        if word in _known(state) or "-" not in word:
            cuts.append(("", _host(state, word)))
        else:
            cuts.append(_pair(state, word))
    return replace(state, cuts=[*dict.fromkeys(cuts)])


def _heal(state: State, words: Sequence[str]) -> State:
    """What was cut or parted, of some hosts or of all."""
    if not words:
        return replace(state, cuts=[], groups=[])
    cuts = [*state.cuts]
    for word in words:
        if word in _known(state) or "-" not in word:
            mine = _host(state, word)
            cuts = [pair for pair in cuts if mine not in pair]
        else:
            healed = _pair(state, word)
            cuts = [pair for pair in cuts if pair != healed]
    return replace(state, cuts=cuts)


def _partition(state: State, words: Sequence[str]) -> State:
    """Sides of hosts, which do not hear each other; who is on none hears all."""
    groups = [
        [_host(state, name.strip()) for name in side.split(",") if name.strip()]
        for side in "/".join(words).split("/")
    ]
    groups = [group for group in groups if group]
    everybody = [name for group in groups for name in group]
    if len(groups) < 2 or len(set(everybody)) < len(everybody):
        raise UsageError("a partition is of two or more sides that have no host in common, as in a,b/c,d")
    return replace(state, groups=groups)


def _pause(state: State, words: Sequence[str]) -> State:
    names = [_host(state, word) for word in _some(words, "pause")]
    return replace(state, paused=[*dict.fromkeys([*state.paused, *names])])


def _resume(state: State, words: Sequence[str]) -> State:
    return replace(state, paused=_without(state, state.paused, words))


def _down(state: State, words: Sequence[str]) -> State:
    names = [_host(state, word) for word in _some(words, "down")]
    return replace(state, down=[*dict.fromkeys([*state.down, *names])])


def _up(state: State, words: Sequence[str]) -> State:
    return replace(
        state, down=_without(state, state.down, words), paused=_without(state, state.paused, words)
    )


def _name(state: State, words: Sequence[str]) -> State:
    """`NAME=HOST` or `NAME=ADDRESS`; `NAME=` forgets it."""
    names = dict(state.names)
    for word in _some(words, "name"):
        name, given, target = word.partition("=")
        if not given or not name:
            raise UsageError(f"{word!r} names nothing: write NAME=HOST or NAME=ADDRESS")
        if target:
            names[name] = _host(state, target) if not _is_address(target) else target
        elif name in names:
            del names[name]
        else:
            raise UsageError(f"there is no name {name!r}", errno.ENOENT)
    return replace(state, names=names)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _publish(state: State, words: Sequence[str]) -> State:
    published = [*state.published]
    for word in _some(words, "publish"):
        new = parse_published(word)
        if new.port and any(_place(new) == _place(one) for one in published):
            raise UsageError(f"port {new.port} of {new.address} is published already")
        published.append(new)
    return replace(state, published=published)


def _place(published: Published) -> tuple[str, int, str]:
    return published.address, published.port, published.protocol


def _unpublish(state: State, words: Sequence[str]) -> State:
    """Ports, as `8080`, `127.0.0.1:8080`, `53/udp`; without words all."""
    left = [*state.published]
    for word in words or ["*"]:
        found = [one for one in left if word == "*" or word in _spellings(one)]
        if words and not found:
            raise UsageError(f"{word} is not published", errno.ENOENT)
        left = [one for one in left if one not in found]
    return replace(state, published=left)


def _spellings(one: Published) -> set[str]:
    places = (f"{one.port}", f"{one.address}:{one.port}", f"[{one.address}]:{one.port}")
    return {end for place in places for end in (place, f"{place}/{one.protocol}")}


def _gateway(state: State, words: Sequence[str]) -> State:
    """The rules of the gateway: these and no others; `none`."""
    rules = [] if [*words] == ["none"] else [*_some(words, "gateway")]
    parse_rules(rules)
    return replace(state, gateway=rules)


def _pcap(state: State, words: Sequence[str]) -> State:
    if len(words) != 1:
        raise UsageError("pcap takes a file, or none to end it")
    if words[0] != "none" and not words[0].startswith("/"):
        raise UsageError(f"{words[0]!r} is no absolute path")
    return replace(state, pcap="" if words[0] == "none" else words[0])


def _reset(state: State, words: Sequence[str]) -> State:
    """All that was set, cut, parted, paused or down, of all hosts."""
    if words:
        raise UsageError("reset takes no words: it is for all hosts")
    return replace(state, impairments={}, cuts=[], groups=[], paused=[], down=[])


def _some(words: Sequence[str], verb: str) -> Sequence[str]:
    if not words:
        raise UsageError(f"{verb} whom? Name a host")
    return words


def _without(state: State, names: Sequence[str], words: Sequence[str]) -> list[str]:
    gone = {_host(state, word) for word in words} if words else {*names}
    return [name for name in names if name not in gone]


VERBS: Final[Mapping[str, Callable[[State, Sequence[str]], State]]] = {
    "cut": _cut,
    "down": _down,
    "gateway": _gateway,
    "heal": _heal,
    "name": _name,
    "partition": _partition,
    "pause": _pause,
    "pcap": _pcap,
    "publish": _publish,
    "reset": _reset,
    "resume": _resume,
    "set": _set,
    "unpublish": _unpublish,
    "up": _up,
}


def obey(state: State, verb: str, words: Sequence[str]) -> State:
    """The state that an order makes; `UsageError`."""
    if verb not in VERBS:
        raise UsageError(f"{verb!r} is nothing to do with a LAN; known are {', '.join(VERBS)}")
    return VERBS[verb](state, words)
