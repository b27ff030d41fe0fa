"""The model of identities against the kernel: random calls, made natively by root and by the model."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from behaviour.programs import Programs
from dispatch.identities import FILES, VERSION_3, Model, parse

IDS = st.sampled_from(["0", "1", "7", "1000", "-1", "4294967294"])
USEFUL = (0, 1, 5, 6, 7, 8, 21)
SETS = st.sampled_from([0, *(1 << one for one in USEFUL), 1 << 6 | 1 << 7 | 1 << 8, 0x1FFFFFFFFFF, 1 << 50])
CAPABILITIES = st.sampled_from([*map(str, USEFUL), "40", "41", "-1"])
AMBIENT, IS_SET, RAISE, LOWER, CLEAR = 47, 1, 2, 3, 4


def words(name: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: " ".join([name, *map(str, found)]))


BY_IDS = st.one_of(
    *(words(name, IDS) for name in ("setuid", "setfsuid", "setgid", "setfsgid")),
    *(words(name, IDS, IDS) for name in ("setreuid", "setregid")),
    *(words(name, IDS, IDS, IDS) for name in ("setresuid", "setresgid")),
    st.lists(IDS, max_size=4).map(lambda groups: " ".join(["setgroups", *groups])),
)
BY_SETS = st.one_of(
    words(f"capset {VERSION_3:#x} 0", SETS, SETS, SETS),
    words("prctl 23", CAPABILITIES),
    words("prctl 24", CAPABILITIES),
    words("prctl 28", st.sampled_from([0, 1, 2, 4, 5, 16, 32, 48, 64, 128, 192, 0x155, 1 << 12, 1 << 20])),
    words("prctl 8", st.sampled_from([0, 1, 1, 2])),
    words(f"prctl {AMBIENT}", st.sampled_from([0, IS_SET, RAISE, RAISE, LOWER, CLEAR, 5]), CAPABILITIES),
    words(f"prctl {AMBIENT}", st.sampled_from([RAISE, CLEAR]), st.just(0), st.sampled_from([0, 1])),
    st.sampled_from(["prctl 7", "prctl 27", "prctl 39", "prctl 38 1", "prctl 38 0", "prctl 38 1 1"]),
)
EXECUTING = st.sampled_from([f"exec {file.name}" for file in FILES])
CALLS = st.lists(st.one_of(BY_IDS, BY_IDS, BY_SETS, EXECUTING), max_size=12)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A directory that everybody may search, with the programs in it."""
    if os.geteuid() != 0:
        pytest.skip("only root may be anybody natively")
    compiled = Programs(tmp_path_factory.mktemp("programs"))("credentials")
    directory = Path(tempfile.mkdtemp(prefix="diorama-identity-"))
    directory.chmod(0o755)
    try:
        for file in FILES:
            file.make(directory, compiled.read_bytes())
    except OSError as error:
        shutil.rmtree(directory)
        pytest.skip(f"files cannot be given away or made able here: {error}")
    told = natively(directory, ["setresuid 1000 0 1000", "prctl 38 1", "exec plain"])[-1]
    if not told.startswith("exec 0 0 | 1000 0 0 0 "):
        shutil.rmtree(directory)
        pytest.skip("before Linux 6.16 an exec is judged by the real user")
    yield directory
    shutil.rmtree(directory)


def natively(place: Path, lines: list[str]) -> list[str]:
    """What the program tells, beginning with who it is."""
    placed = [line.replace("exec ", f"exec {place}/") for line in lines]
    text = "\n".join(["prctl 39", *placed])
    return subprocess.check_output([place / "plain"], input=text, text=True, timeout=60).splitlines()


@settings(max_examples=120, deadline=None)
@given(CALLS)
@example(["setresuid 1 0 1", "setfsuid 1", "setfsuid 0", "exec plain"])
@example(["setresuid 1000 1000 0", "prctl 38 1", "exec of_root"])
@example(["prctl 8 1", "setuid 7", f"capset {VERSION_3:#x} 0 128 128 128", "prctl 47 2 7", "exec plain"])
@example(["setresuid 1000 0 1000", "exec plain", "exec of_1000"])
@example(["setresuid 1000 0 1000", "prctl 38 1", "exec plain"])
@example(["setresuid 1000 0 1000", f"capset {VERSION_3:#x} 0 128 128 128", "prctl 47 2 7", "exec plain"])
@example(["setresgid 7 1 7", "setuid 1000", "prctl 38 1", "exec plain"])
@example(["setresgid 7 1 7", "setuid 1000", "exec group_7", "exec plain"])
@example(["prctl 28 5", "setuid 1000", "exec of_root"])
@example(["setuid 1000", "exec able", "exec root_and_able"])
@example(["prctl 24 7", "setuid 1000", "exec able"])
@example(["setuid 1000", "exec root_and_able"])
def test_the_model_says_what_the_kernel_says(place: Path, lines: list[str]) -> None:
    first, *told = natively(place, lines)
    model = Model(parse(first))
    for line in lines:
        model.make(line)
    assert model.told == told
