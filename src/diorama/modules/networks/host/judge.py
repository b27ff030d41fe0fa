"""Judge: decides by the rules, asks who has started the view where they say so, and keeps a log of that."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from diorama.errors import UsageError
from diorama.interfaces.asking import asker
from diorama.interfaces.network import refuse
from diorama.interfaces.rules import ALLOW, ASK, DENY, IN, OUT, Flow, Rule

if TYPE_CHECKING:
    from diorama.interfaces.rules import Address, Policy
    from diorama.modules.networks.host.names import Names

__all__ = ["Judge", "Log", "Terminal"]

_TICK: Final = 0.2


class Log:
    """Decisions, a line of JSON for each, in a file or (`-`) on standard error.  Any thread."""

    def __init__(self, path: str | None) -> None:
        self._lock = threading.Lock()
        self._fd = -1
        if path == "-":
            self._fd = os.dup(2)
        elif path is not None:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise UsageError(f"cannot log to {path}: {(error.strerror or '').lower()}") from None

    def write(self, told: dict[str, object]) -> None:
        """One decision; a log that cannot be written is no reason to end a connection."""
        if self._fd < 0:
            return
        who = asker()
        pid = 0 if who is None else who.pid
        line = json.dumps({"time": round(time.time(), 3), "pid": pid, "program": _program(pid), **told})
        with self._lock:
            try:
                os.write(self._fd, line.encode() + b"\n")
            except OSError as error:
                print(f"diorama: network log: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        """Nothing is decided any more."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
            return name.read().strip()
    except OSError:
        return ""


class Terminal:
    """Who has started the view, asked one question at a time; remembers what holds always.  Any thread."""

    def __init__(self, path: str = "/dev/tty") -> None:
        self._path = path
        self._lock = threading.Lock()
        self._always: dict[tuple[str, str, str, int], bool] = {}

    def ask(self, flow: Flow) -> tuple[bool, str]:
        """Whether it may be, and how that is known; EINTR for a program that waits no more."""
        host = list(flow.names)[-1] if flow.names else str(flow.address)
        key = (flow.direction, flow.protocol, host, flow.port)
        who = asker()
        if who is not None:
            who.step_aside()
        while not self._lock.acquire(timeout=_TICK):
            if who is not None and who.is_interrupted():
                raise refuse(errno.EINTR)
        try:
            if key in self._always:
                return self._always[key], "answered always"
            try:
                terminal = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError:
                return False, "nobody to ask"
            try:
                answer = self._read(terminal, _question(flow, host))
            finally:
                os.close(terminal)
            if answer in ("always", "never"):
                self._always[key] = answer == "always"
            return answer in ("yes", "always"), f"answered {answer}"
        finally:
            self._lock.release()

    def _read(self, terminal: int, question: str) -> str:
        who = asker()
        choices = {"y": "yes", "n": "no", "a": "always", "v": "never"}
        poll = select.poll()
        poll.register(terminal, select.POLLIN)
        while True:
            os.write(terminal, f"{question} [y]es, [n]o, [a]lways, ne[v]er? ".encode())
            while not poll.poll(_TICK * 1000):
                if who is not None and who.is_interrupted():
                    raise refuse(errno.EINTR)
            line = os.read(terminal, 256).decode(errors="replace").strip().lower()
            word = choices.get(line, line)
            if word in choices.values():
                return word


def _question(flow: Flow, host: str) -> str:
    who = asker()
    pid = 0 if who is None else who.pid
    program = f"{_program(pid)} ({pid})"
    where = f"{host} ({flow.address})" if host != str(flow.address) else host
    if flow.direction == IN:
        return f"diorama: may {where} reach {program} at {flow.protocol} port {flow.port}?"
    return f"diorama: may {program} reach {where} port {flow.port}, {flow.protocol}?"


class Judge:
    """The rules applied.  Any thread."""

    def __init__(self, policy: Policy | None, names: Names, log: Log, terminal: Terminal) -> None:
        self.policy = policy
        self.names = names
        self.log = log
        self.terminal = terminal

    def outgoing(self, protocol: str, address: Address, port: int) -> Rule | None:
        """The rule that lets a program reach an address; the error that it gets instead."""
        return self._judge(Flow(OUT, protocol, address, port, self.names.of(address)))

    def incoming(self, protocol: str, address: Address, port: int) -> None:
        """Whether an address may reach a program at its port; the error if not."""
        self._judge(Flow(IN, protocol, address, port, self.names.of(address)))

    def listening(self, protocol: str, port: int) -> None:
        """Whether a program may wait at a port for who may reach it; the error that it gets if not."""
        if self.policy is None:
            return
        rule = self.policy.find_port(protocol, port)
        is_denied = rule.action == DENY
        told: dict[str, object] = {"direction": IN, "protocol": protocol, "port": port}
        self._tell(told, rule, DENY if is_denied else ALLOW, "")
        if is_denied:
            raise refuse(rule.error)

    def may_resolve(self, name: str, kind: str) -> bool:
        """Whether a program may ask DNS about a name."""
        if self.policy is None:
            return True
        rule = self.policy.find_name(name)
        action = DENY if rule.action == DENY else ALLOW
        self._tell({"direction": OUT, "protocol": "dns", "names": [name], "type": kind}, rule, action, "")
        return action != DENY

    def _judge(self, flow: Flow) -> Rule | None:
        told: dict[str, object] = {
            "direction": flow.direction,
            "protocol": flow.protocol,
            "address": str(flow.address),
            "port": flow.port,
            "names": list(flow.names),
        }
        if self.policy is None:
            self._tell(told, None, ALLOW, "no rules")
            return None
        rule = self.policy.find(flow)
        action, reason = rule.action, ""
        if action == ASK:
            allowed, reason = self.terminal.ask(flow)
            action = ALLOW if allowed else DENY
        self._tell(told, rule, action, reason)
        if action == DENY:
            raise refuse(rule.error)
        return rule

    def _tell(self, told: dict[str, object], rule: Rule | None, action: str, reason: str) -> None:
        told = {"action": action, **told}
        if rule is not None:
            told["rule"] = f"{rule.action}={rule.text}"
            if action == DENY:
                told["error"] = errno.errorcode[rule.error]
        if reason:
            told["reason"] = reason
        self.log.write(told)
