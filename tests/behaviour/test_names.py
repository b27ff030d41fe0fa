"""Names and limits: what a view tells of its system is told alike, by whatever way it is asked for."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from behaviour.harness import Bench, Outcome, Way, each_way, run_with
from behaviour.programs import Programs
from engines import ENGINES

TOLD = "release=5.1.2-x,machine=pdp11,version=#1 a, b"
NAMED = run_with("--hostname", "blue", "--uname", TOLD, "--uname", "domainname=office")
SMALL = run_with("--cpus", "3", "--memory", "3G")
LARGE = run_with("--cpus", "70", "--memory", "3T")
SAME = run_with("--cpus", str(os.cpu_count() or 1))
CHECKS = ["mask", "self", "inheritance", "exec", "other", "exec-from-thread", "arguments"]
PATHS = ["/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/osrelease"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shell(bench: Bench, way: Way, engine: str, script: str) -> Outcome:
    return bench.inside(way.on(engine), ["sh", "-c", script])


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}(1)")


def test_all_that_tell_names_agree(bench: Bench, engine: str) -> None:
    found = shell(bench, NAMED, engine, f"uname -nrmv; cat {' '.join(PATHS)} /proc/version")
    first, *files, version = found.lines
    assert first == "blue 5.1.2-x #1 a, b pdp11"
    assert files == ["blue", "office", "5.1.2-x"]
    assert version.startswith("Linux version 5.1.2-x (")
    assert version.endswith(" #1 a, b")
    assert not found.stderr


def test_names_are_changed_inside_and_nowhere_else(bench: Bench, engine: str) -> None:
    script = (
        "import os, socket; socket.sethostname('red'); print(os.uname().nodename)\n"
        "open('/proc/sys/kernel/hostname', 'w').write('green\\nx'); print(socket.gethostname())\n"
        "print(open('/proc/sys/kernel/hostname').read(), end='')\n"
        "try: socket.sethostname('x' * 65)\n"
        "except OSError as error: print(error.errno)\n"
        "try: open('/proc/sys/kernel/osrelease', 'w')\n"
        "except OSError as error: print(error.errno)\n"
    )
    before = os.uname().nodename
    found = bench.inside(NAMED.on(engine), [sys.executable, "-c", script])
    assert found.lines == ["red", "green", "green", "22", "13"]
    assert os.uname().nodename == before


def test_personalities_count(bench: Bench, engine: str) -> None:
    needs("setarch")
    minor = int(os.uname().release.split(".")[1])
    found = shell(bench, NAMED, engine, "setarch --uname-2.6 uname -r; setarch linux32 uname -m; uname -rm")
    told = bench.native(["setarch", "linux32", "uname", "-m"]).stdout.strip()
    assert found.lines == [f"2.6.{minor + 60}-x", told, "5.1.2-x pdp11"]


def test_namespaces_of_names_have_identities_and_can_be_entered(bench: Bench, engine: str) -> None:
    needs("unshare", "nsenter")
    script = (
        "outer=$$; export outer; unshare -u sh -c '"
        "echo red > /proc/sys/kernel/hostname; uname -n; exec 5</proc/self/ns/uts; "
        "test $(stat -Lc %d:%i /proc/$$/ns/uts) = $(stat -Lc %d:%i /proc/self/fd/5) && echo same; "
        "test $(readlink /proc/$$/ns/uts) = $(readlink /proc/$outer/ns/uts) || echo another; "
        "nsenter -u/proc/$outer/ns/uts sh -c \"uname -n; nsenter -u/proc/self/fd/5 uname -n\"'; uname -n"
    )
    found = shell(bench, NAMED, engine, script)
    assert found.lines == ["red", "same", "another", "blue", "red", "blue"], found.stderr


def test_children_inherit_the_names_of_the_moment(bench: Bench, programs: Programs, engine: str) -> None:
    found = bench.inside(NAMED.on(engine), [programs("own_names")])
    assert found.stdout == "as it should be\n", found


def test_a_view_without_names_of_its_own_leaves_them_to_the_kernel(bench: Bench, engine: str) -> None:
    needs("unshare")
    bench.same(SMALL.on(engine), ["sh", "-c", "uname -a; unshare -u true; echo $?"])


@pytest.mark.parametrize(("way", "cpus"), [(SMALL, 3), (LARGE, 70)], ids=["3", "70"])
def test_all_that_tell_cpus_agree(bench: Bench, engine: str, way: Way, cpus: int) -> None:
    script = (
        "nproc; getconf _NPROCESSORS_ONLN; getconf _NPROCESSORS_CONF; grep -c ^processor /proc/cpuinfo;"
        " grep -c '^cpu[0-9]' /proc/stat;"
        " cat /sys/devices/system/cpu/online; grep Cpus_allowed_list /proc/self/status"
    )
    found = shell(bench, way, engine, script)
    assert found.lines[:5] == [str(cpus)] * 5
    assert found.lines[5:] == [f"0-{cpus - 1}", f"Cpus_allowed_list:\t0-{cpus - 1}"]


def test_masks_of_cpus_are_set_and_inherited(bench: Bench, engine: str) -> None:
    needs("taskset")
    script = (
        "taskset -c 2,68 sh -c 'nproc; grep Cpus /proc/self/status'; nproc;"
        " taskset -pc 5-7 $$ >/dev/null; nproc; sh -c nproc;"
        " sh -c 'sleep 60 & p=$!; taskset -pc 9 $p >/dev/null;"
        " taskset -pc $p | sed s/.*://; grep Cpus.*list /proc/$p/status; kill $p'; taskset -c 70 true"
    )
    found = shell(bench, LARGE, engine, script)
    expected = ["2", "Cpus_allowed:\t10,00000000,00000004", "Cpus_allowed_list:\t2,68", "70", "3", "3", " 9"]
    assert found.lines == [*expected, "Cpus_allowed_list:\t9"]
    assert "Invalid argument" in found.stderr


@pytest.mark.parametrize("check", CHECKS)
@each_way(SAME)
def test_masks_are_as_the_kernel_s(bench: Bench, programs: Programs, way: Way, check: str) -> None:
    found = bench.inside(way, [programs("affinity"), check])
    assert found.lines[-1].startswith(f"{check}: as it should be"), found.stdout


def test_all_that_tell_memory_agree(bench: Bench, engine: str) -> None:
    script = (
        "import os; page = os.sysconf('SC_PAGE_SIZE'); print(os.sysconf('SC_PHYS_PAGES') * page >> 20)\n"
        "lines = dict(line.split(':') for line in open('/proc/meminfo'))\n"
        "total, free = (int(lines[name].split()[0]) for name in ('MemTotal', 'MemAvailable'))\n"
        "print(total >> 10, 0 < free < total)\n"
        "pages = dict(line.split() for line in open('/proc/vmstat'))\n"
        "cached = int(lines['Cached'].split()[0]) + int(lines['Buffers'].split()[0])\n"
        "print(0.5 < (int(pages['nr_file_pages']) * page >> 10) / cached < 2)\n"
    )
    found = bench.inside(SMALL.on(engine), [sys.executable, "-c", script])
    assert found.lines == ["3072", "3072 True", "True"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--hostname", "x" * 65], "cannot use a nodename of more than 64 bytes"),
        (["--hostname", ""], "cannot use '' as nodename"),
        (["--uname", "release"], "cannot tell 'release' in uname"),
        (["--uname", "colour=red"], "cannot tell 'colour=red' in uname"),
        (["--cpus", "0"], "cannot tell of 0 CPUs"),
        (["--cpus", "many"], "many"),
        (["--memory", "lots"], "cannot read 'lots' as a size"),
        (["--memory", "1k"], "cannot tell of 1024 bytes"),
    ],
)
def test_what_cannot_be_told_is_one_line(bench: Bench, options: list[str], told: str) -> None:
    found = bench.inside(run_with(*options), ["true"])
    assert found.status == 125
    assert len(found.stderr.splitlines()) == 1
    assert told in found.stderr
