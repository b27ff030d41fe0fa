"""What is generated from the catalogue, and from the system's headers, is fresh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOREIGN_HEADERS = [Path(f"/usr/{name}-linux-gnu/include/asm/unistd.h") for name in ("aarch64", "riscv64")]


@pytest.mark.parametrize("tool", ["generate_calls.py", "generate_reference.py", "generate_numbers.py"])
def test_what_is_generated_is_fresh(tool: str, pytestconfig: pytest.Config) -> None:
    if tool == "generate_numbers.py" and not all(path.exists() for path in FOREIGN_HEADERS):
        pytest.skip("libc6-dev-arm64-cross and libc6-dev-riscv64-cross are not installed")
    path = pytestconfig.rootpath / "tools" / tool
    ran = subprocess.run([sys.executable, path, "--check"], timeout=50, check=False)
    assert ran.returncode == 0, f"run tools/{tool}"
