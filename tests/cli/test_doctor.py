"""Doctor: what it says about kernels that are not this one, and about this one."""

from __future__ import annotations

import json
from dataclasses import replace

import click
import pytest

from diorama.cli import status_of
from diorama.cli.doctor import Report, examine, show
from diorama.engine.probe import Features, Paths

ALL = Features(
    get_syscall_info=True,
    set_syscall_info=True,
    skip_by_exit=True,
    set_ip=True,
    seccomp_filter=True,
    ptrace_allowed=True,
    pidfd=True,
    yama=0,
    user_notif=1,
    notif_killable=True,
    notif_addfd=True,
    notif_sync=True,
)
NOTHING = Features(
    get_syscall_info=False,
    set_syscall_info=False,
    skip_by_exit=False,
    set_ip=False,
    seccomp_filter=False,
    ptrace_allowed=False,
    pidfd=False,
    yama=0,
)
PATHS = Paths("kernel", "kernel", "kernel")


def text(report: Report) -> str:
    return click.unstyle(show(report))


def test_a_kernel_with_everything_needs_no_note() -> None:
    report = examine(ALL, PATHS, "Linux")
    assert report.can_run
    assert report.notes == ()


@pytest.mark.parametrize(
    ("features", "word", "can_run"),
    [
        (NOTHING, "container", False),
        (replace(NOTHING, yama=2), "ptrace_scope is 2", False),
        (replace(NOTHING, yama=3), "reboot", False),
        (replace(ALL, seccomp_filter=False), "seccomp", False),
        (replace(ALL, get_syscall_info=False), "Linux 5.3", False),
        (replace(ALL, set_syscall_info=False), "Linux 6.16", True),
        (replace(ALL, yama=1), "ancestors", True),
        (replace(ALL, yama=2), "one tracer", True),
    ],
)
def test_what_is_missing_is_explained_in_one_note(features: Features, word: str, *, can_run: bool) -> None:
    report = examine(features, PATHS, "Linux")
    assert report.can_run is can_run
    (note,) = report.notes
    assert word in note
    assert "\n" not in note


def test_it_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Views can run." in lines
    for part in ("info", "skip", "rewind", "engine for mounts", "engine for handlers"):
        assert any(line.startswith(part) for line in lines)


def test_its_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["can_run"] is True
    assert found["features"]["ptrace_allowed"] is True
    assert set(found["paths"]) == {"info", "skip", "rewind"}
    assert {"user_notif", "notif_killable", "notif_addfd", "notif_sync"} < set(found["features"])
    assert found["engines"]["handlers"]["engine"] == "guardians"
    assert set(found["engines"]["mounts"]) == {"engine", "reason"}


def test_auto_takes_notifications_for_mounts_and_guardians_for_handlers() -> None:
    engines = examine(ALL, PATHS, "Linux").engines
    assert {name: choice.engine for name, choice in engines.items()} == {
        "mounts": "notify",
        "handlers": "guardians",
    }
    assert "promotion" in engines["handlers"].reason


def test_without_notifications_auto_takes_guardians_and_the_text_says_why() -> None:
    report = examine(replace(ALL, notif_killable=False), PATHS, "Linux")
    lines = [line for line in text(report).splitlines() if line.startswith("engine for")]
    assert len(lines) == 2
    assert all("guardians" in line and "WAIT_KILLABLE_RECV" in line for line in lines)


def test_where_views_cannot_run_no_engine_is_named() -> None:
    report = examine(NOTHING, PATHS, "Linux")
    assert report.engines == {}
    assert "engine for" not in text(report)


@pytest.mark.parametrize(("value", "shown"), [(0, "no"), (1, "yes"), (2, "in use above this process")])
def test_a_listener_above_this_process_is_told_apart_from_none(value: int, shown: str) -> None:
    lines = text(examine(replace(ALL, user_notif=value), PATHS, "Linux")).splitlines()
    assert f"{'seccomp user notification':<50}{shown}" in lines
    for word in ("WAIT_KILLABLE_RECV", "ADDFD SEND", "SYNC_WAKE_UP"):
        assert any(word in line and line.endswith("yes") for line in lines)
