"""Doctor: `diorama doctor`, what this kernel offers, and what will be used of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from diorama.errors import UsageError

if TYPE_CHECKING:
    from diorama.engine.choice import Choice
    from diorama.engine.probe import Features, Paths

CANNOT_RUN = 1

_FEATURES = {
    "ptrace_allowed": "ptrace permitted",
    "seccomp_filter": "seccomp filters",
    "get_syscall_info": "PTRACE_GET_SYSCALL_INFO (Linux 5.3)",
    "set_syscall_info": "PTRACE_SET_SYSCALL_INFO (Linux 6.16)",
    "skip_by_exit": "  skip by op=EXIT at a seccomp stop (proposed)",
    "set_ip": "  PTRACE_SYSCALL_INFO_FLAG_SET_IP (proposed)",
    "pidfd": "pidfd (Linux 5.3)",
    "yama": "Yama ptrace_scope",
    "user_notif": "seccomp user notification",
    "notif_killable": "  WAIT_KILLABLE_RECV (Linux 5.19)",
    "notif_addfd": "  ADDFD SEND (Linux 5.14)",
    "notif_sync": "  SYNC_WAKE_UP (Linux 6.6)",
}
_LISTENER = ("no", "yes", "in use above this process")
_USES = {
    "info": {
        "kernel": "read and change calls by PTRACE_GET_SYSCALL_INFO and PTRACE_SET_SYSCALL_INFO",
        "registers": "change calls by writing registers",
    },
    "skip": {
        "kernel": "answer without running by op=EXIT: one stop",
        "registers": "answer without running by number -1 and the result register: one stop",
        "exit": "answer without running by a harmless call and its exit stop: two stops",
    },
    "rewind": {
        "kernel": "make another call in the same place by SET_IP",
        "restart": "make another call in the same place by the kernel's own restart",
        "registers": "make another call in the same place by the instruction pointer's register",
    },
}


@dataclass(frozen=True, slots=True)
class Report:
    """What there is, what is used, and a line for each thing that is missing or forbidden."""

    system: str
    features: Features
    paths: Paths
    notes: tuple[str, ...]
    can_run: bool
    engines: dict[str, Choice]


def examine(features: Features, paths: Paths, system: str) -> Report:
    """Judge what the probe found."""
    can_run = features.ptrace_allowed and features.get_syscall_info and features.seccomp_filter
    engines = _engines(features) if can_run else {}
    return Report(system, features, paths, tuple(_notes(features)), can_run, engines)


def _engines(features: Features) -> dict[str, Choice]:
    """What `auto` takes for a view with these in it."""
    from diorama.engine.choice import HANDLERS_RUN, choose

    leanings = {"mounts": (), "handlers": (HANDLERS_RUN,)}
    return {name: choose("auto", features, (), leaning) for name, leaning in leanings.items()}


def _notes(features: Features) -> list[str]:
    if not features.ptrace_allowed:
        # The probe's child was not traced, so nothing is known about the rest.
        return [_forbidden(features.yama)]
    notes: list[str] = []
    if not features.seccomp_filter:
        notes.append("seccomp filters are refused: a container profile, or no CONFIG_SECCOMP_FILTER")
    elif not features.get_syscall_info:
        notes.append("PTRACE_GET_SYSCALL_INFO is missing: Linux 5.3 or later is needed")
    elif not features.set_syscall_info:
        notes.append("PTRACE_SET_SYSCALL_INFO is missing (before Linux 6.16): registers do its work")
    if features.yama >= 2:
        notes.append(f"Yama forbids the hand-over (ptrace_scope {features.yama}): one tracer serves all")
    elif features.yama == 1:
        notes.append("Yama lets only ancestors trace (ptrace_scope 1): enough, diorama is one")
    return notes


def _forbidden(yama: int) -> str:
    if yama >= 2:
        remedy = "set it to 1 or 0, or ask an administrator" if yama == 2 else "it stays so until reboot"
        return f"ptrace is forbidden by Yama (/proc/sys/kernel/yama/ptrace_scope is {yama}): {remedy}"
    return (
        "ptrace is forbidden: by a container profile (try docker run --cap-add SYS_PTRACE) or a security "
        "module; only a view without mounts and handlers runs here"
    )


def show(report: Report) -> str:
    """The report for people."""
    features: dict[str, bool | int | str] = asdict(report.features)
    features["user_notif"] = _LISTENER[report.features.user_notif]
    lines = [report.system, ""]
    for name, title in _FEATURES.items():
        lines.append(f"{title:<50}{_shown(features[name])}")
    lines.append("")
    for name, path in asdict(report.paths).items():
        lines.append(f"{name:<8}{path:<11}{_USES[name][path]}")
    lines.append("")
    for name, choice in report.engines.items():
        lines.append(f"engine for {name:<10}{choice.engine:<11}{choice.reason}")
    lines.append("")
    lines.extend(f"note: {note}" for note in report.notes)
    verdict = ("Views can run.", "green") if report.can_run else ("Views cannot run.", "red")
    lines.append(click.style(verdict[0], fg=verdict[1]))
    return "\n".join(lines)


def _shown(value: bool | int | str) -> str:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    colour = {"yes": "green", "no": "yellow"}.get(str(value))
    return click.style(str(value), fg=colour)


def _json(report: Report) -> str:
    return json.dumps(
        {
            "system": report.system,
            "features": asdict(report.features),
            "paths": asdict(report.paths),
            "engines": {name: asdict(choice) for name, choice in report.engines.items()},
            "notes": report.notes,
            "can_run": report.can_run,
        },
        indent=2,
    )


def _examine_this() -> Report:
    try:
        from diorama.engine.probe import Paths, probe, resolve
    except OSError as error:
        raise UsageError(f"cannot load the native library: {error}; build it with `make native`") from error
    features = probe()
    uname = os.uname()
    return examine(features, resolve(Paths(), features), f"{uname.sysname} {uname.release} {uname.machine}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, as_json: bool) -> int:
    """Tell what this kernel offers, what will be used, and why views cannot run if they can't.

    The exit status is 1 when they cannot.
    """
    report = _examine_this()
    click.echo(_json(report) if as_json else show(report))
    return 0 if report.can_run else CANNOT_RUN
