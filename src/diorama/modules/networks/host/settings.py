"""Settings: the options and rule files of `host:`.

A rule file is TOML:

    default = "deny"
    log = "network.log"
    privileged = 8000
    proxy = "socks5://127.0.0.1:1080"

    [[rule]]
    action = "allow"
    to = ["10.0.0.0/8:443", "*.debian.org:80"]

    [[rule]]
    action = "redirect"
    to = "example.org:80"
    target = "127.0.0.1:8080"

Options say the same in one line; their rules come before those of the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from diorama.errors import UsageError
from diorama.interfaces.rules import ACTIONS, ALL, DENY, REDIRECT, Policy, Rule, parse_rule
from diorama.modules.options import Options

__all__ = ["Privileged", "Settings", "read_settings"]

_PRIVILEGED_END: Final = 1024
_KEYS: Final = {"default": str, "dns": str, "log": str, "privileged": (int, dict), "proxy": str, "rule": list}
_RULE_KEYS: Final = {"action": str, "to": (str, list), "from": (str, list), "error": str, "target": str}


@dataclass(slots=True)
class Privileged:
    """Where ports below 1024 really are: `offset` higher, or as the table says."""

    offset: int = 0
    table: dict[int, int] = field(default_factory=dict[int, int])

    def real(self, port: int) -> int:
        """The port that is bound in place of one."""
        if port in self.table:
            return self.table[port]
        return port + self.offset if 0 < port < _PRIVILEGED_END else port


@dataclass(slots=True)
class Settings:
    """All that is asked of `host:`; without rules there is no policy."""

    policy: Policy | None = None
    log: str | None = None
    privileged: Privileged = field(default_factory=Privileged)
    proxy: str | None = None
    dns: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is the kernel's network as it is."""
        return self.policy is None and self.log is None and self.proxy is None and not self.remaps

    @property
    def remaps(self) -> bool:
        """Whether ports below 1024 are others."""
        return bool(self.privileged.offset or self.privileged.table)


def read_settings(path: str, options: Options) -> Settings:
    """The settings of `host:PATH` with options; `UsageError` names the file and line of a mistake."""
    settings = Settings()
    rules = [_of_option(name, value) for name, value in options.asked if name in ACTIONS]
    for name in ACTIONS:
        options.values(name)
    if path:
        rules += _read_file(path, settings)
    settings.log = options.take("log") or settings.log
    settings.proxy = options.take("proxy") or settings.proxy
    settings.dns = options.take("dns") or settings.dns
    for value in options.values("privileged"):
        _add_privileged(settings.privileged, value)
    if rules:
        settings.policy = Policy(rules)
    options.finish("host:")
    return settings


def _of_option(name: str, value: str | None) -> Rule:
    pattern, _, extra = (value or "").partition("=")
    if not pattern:
        raise UsageError(f"cannot mount host: the option {name} needs what it is about, or *")
    try:
        return parse_rule(
            name, pattern, error=extra if name == DENY else "", target="" if name == DENY else extra
        )
    except UsageError as error:
        raise UsageError(f"cannot mount host: {name}={value}: {error}") from None


def _add_privileged(privileged: Privileged, text: str) -> None:
    """`+8000`, or `80=8080`."""
    port, found, real = text.partition("=")
    try:
        if found:
            _put(privileged, int(port), int(real))
        else:
            privileged.offset = _offset(int(port))
    except ValueError:
        raise UsageError(f"cannot mount host: privileged={text} is neither +OFFSET nor PORT=PORT") from None


def _put(privileged: Privileged, port: int, real: int) -> None:
    if not (0 < port < _PRIVILEGED_END and 0 < real <= 65535):
        raise ValueError
    privileged.table[port] = real


def _offset(offset: int) -> int:
    if not _PRIVILEGED_END - 1 <= offset <= 65535 - _PRIVILEGED_END:
        raise ValueError
    return offset


# -- files ------------------------------------------------------------------------------------


def _read_file(path: str, settings: Settings) -> list[Rule]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"cannot mount host:{path}: {(reason or '').lower()}") from None
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() == "[[rule]]"]

    def at(key: str) -> str:
        found = (
            number
            for number, line in enumerate(text.splitlines(), 1)
            if line.partition("=")[0].strip() == key or line.strip() == f"[{key}]"
        )
        return f"{path}:{next(found, 1)}"

    _check(told, _KEYS, at)
    _apply(told, settings, at)
    rules: list[Rule] = []
    for index, one in enumerate(told.get("rule", [])):
        where = f"{path}:{lines[index]}" if index < len(lines) else path
        if not isinstance(one, dict):
            raise UsageError(f"{where}: a rule is a table, [[rule]]")
        rules += _parse_table(cast("Mapping[str, Any]", one), where)
    if "default" in told or rules:
        rules.append(_located(at("default"), str(told.get("default", DENY)), ALL, "", ""))
    return rules


def _check(told: Mapping[str, Any], keys: Mapping[str, Any], at: Callable[[str], str]) -> None:
    for key, value in told.items():
        if key not in keys:
            raise UsageError(f"{at(key)}: unknown setting {key!r}; known are {', '.join(sorted(keys))}")
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            raise UsageError(f"{at(key)}: {key} cannot be {value!r}")


def _apply(told: Mapping[str, Any], settings: Settings, at: Callable[[str], str]) -> None:
    settings.log = told.get("log")
    settings.proxy = told.get("proxy")
    settings.dns = told.get("dns")
    privileged = told.get("privileged", 0)
    try:
        if isinstance(privileged, dict):
            for port, real in cast("Mapping[str, Any]", privileged).items():
                _put(settings.privileged, int(port), int(real))
        elif privileged:
            settings.privileged.offset = _offset(int(privileged))
    except (ValueError, TypeError):
        raise UsageError(f"{at('privileged')}: privileged is an offset or a table of ports") from None


def _parse_table(told: Mapping[str, Any], where: str) -> list[Rule]:
    _check(told, _RULE_KEYS, lambda _: where)
    if "action" not in told or ("to" in told) == ("from" in told):
        raise UsageError(f"{where}: a rule has an action, and either 'to' or 'from'")
    given = told.get("to", told.get("from"))
    patterns: list[Any] = [given] if isinstance(given, str) else list(given or ())
    made: list[Rule] = []
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise UsageError(f"{where}: {pattern!r} is no pattern")
        text = f"in:{pattern}" if "from" in told else f"out:{pattern}"
        made.append(_located(where, told["action"], text, told.get("error", ""), told.get("target", "")))
    return made


def _located(where: str, action: str, text: str, error: str, target: str) -> Rule:
    try:
        if text == ALL and action == REDIRECT:
            raise UsageError("the default cannot be to redirect")
        return parse_rule(action, text, error=error, target=target)
    except UsageError as mistake:
        raise UsageError(f"{where}: {mistake}") from None
