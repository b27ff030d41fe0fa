"""Inspection: what users of a view see in /proc of the processes of others, and what they do not."""

from __future__ import annotations

import pytest

from behaviour.harness import Bench, run_with

pytestmark = pytest.mark.timeout(120)

LOOKING = """
import errno, os
def tell(name, act):
    try:
        act()
        print(name, "yes", flush=True)
    except OSError as error:
        print(name, errno.errorcode[error.errno], flush=True)
def look(user, pid):
    inside = f"/proc/{pid}/"
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    for name in ("mem", "fd/0", "environ", "fdinfo/0", f"task/{pid}/auxv", "stat", "status", "comm"):
        tell(name, lambda: os.close(os.open(inside + name, os.O_RDONLY)))
    tell("mem+", lambda: os.close(os.open(inside + "mem", os.O_RDWR)))
    tell("oom_score_adj+", lambda: os.close(os.open(inside + "oom_score_adj", os.O_WRONLY)))
    within = os.open(inside, os.O_RDONLY)
    tell("environ within", lambda: os.close(os.open("environ", os.O_RDONLY, dir_fd=within)))
    tell("list", lambda: os.listdir(inside + "fd"))
    tell("text", lambda: os.readlink(inside + "exe"))
    tell("cwd", lambda: os.chdir(inside + "cwd"))
    tell("name", lambda: os.stat(inside + "environ"))
    tell("root", lambda: os.stat(inside + "root/."))
    os._exit(0)
def start(user):
    ready, tell = os.pipe()
    going = os.fork()
    if not going:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.execvp("sh", ["sh", "-c", f"echo >&{os.dup2(tell, 9)}; exec sleep 100 >/dev/null 2>&1"])
    os.read(ready, 1)
    return going
"""
PUBLIC = {"stat", "status", "comm", "name"}
NAMES = (
    "mem", "fd/0", "environ", "fdinfo/0", "auxv", "stat", "status", "comm", "mem+", "oom_score_adj+",
    "environ within", "list", "text", "cwd", "name", "root",
)  # fmt: skip


@pytest.mark.parametrize(
    ("who", "whom", "may"), [(1234, 0, False), (1234, 77, False), (1234, 1234, True), (0, 77, True)]
)
def test_only_who_may_trace_looks_into_a_process(
    bench: Bench, engine: str, who: int, whom: int, *, may: bool
) -> None:
    script = f"{LOOKING}\npid = start({whom})\nlook({who}, pid)\nos.kill(pid, 9)"
    done = bench.inside(run_with("--engine", engine, "--user", "root"), ["python3", "-c", script])
    assert not done.stderr
    found = dict(line.rsplit(" ", 1) for line in done.lines)
    told = {name.rpartition("/")[2] if name.startswith("task") else name: one for name, one in found.items()}
    assert told == {name: "yes" if may or name in PUBLIC else "EACCES" for name in NAMES}
