"""What libfuse's suite said is compared test by test, and it runs where there is no sudo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.conformance.libfuse import compare, run

SUITE = """
import shutil, subprocess, sys
print(f"+   0.001s START examples/hello")
print(f"+   0.010s PASS  examples/hello                   0.01s")
word = subprocess.run(["sudo", "-n", "echo", "PASS"], capture_output=True, text=True).stdout.strip()
print(f"+  60.000s {word}  ctests/hangs                     60.00s  timeout after 60s")
print(f"+  61.000s SKIP  examples/cuse                    0.00s  needs root: {sys.argv[5:]}")
"""


def test_what_one_of_two_runs_did_not_come_to_differs(capsys: pytest.CaptureFixture[str]) -> None:
    natively = {"a": "PASS", "b": "FAIL", "c": "SKIP", "d": "PASS"}
    assert compare(natively, {"a": "PASS", "b": "PASS", "c": "SKIP", "e": "PASS"}, "notify") == 3
    assert capsys.readouterr().out.splitlines() == [
        "notify: b: PASS; natively FAIL",
        "notify: d: absent; natively PASS",
        "notify: e: PASS; natively absent",
        "notify: 3 PASS, 1 SKIP; 3 differ",
    ]
    assert compare(natively, natively, "notify") == 0
    assert compare(None, {"a": "PASS", "b": "FAIL"}, "notify") == 1


def test_the_suite_runs_without_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("build/meson-info", "source/test", "bin"):
        (tmp_path / name).mkdir(parents=True)
    told = {"directories": {"source": str(tmp_path / "source")}}
    (tmp_path / "build/meson-info/meson-info.json").write_text(json.dumps(told))
    (tmp_path / "source/test/run-tests.py").write_text(SUITE)
    for program in ("sh", "echo"):
        (tmp_path / "bin" / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = run(tmp_path / "build", [], 1, [])
    assert found == {"examples/hello": "PASS", "ctests/hangs": "PASS", "examples/cuse": "SKIP"}
