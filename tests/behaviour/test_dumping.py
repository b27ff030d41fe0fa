"""Programs that close their memory (PR_SET_DUMPABLE) in views whose supervisor must read it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from behaviour.harness import Bench, finish, run_with
from behaviour.lans import Lan
from behaviour.programs import Programs

SSHD = """
Port 22
ListenAddress 10.1.0.1
HostKey {place}/host
AuthorizedKeysFile {place}/user.pub
StrictModes no
UsePAM no
PidFile none
Subsystem sftp {subsystem}
"""
SSH = """
Host there
Hostname h1
User {user}
IdentityFile {place}/user
IdentitiesOnly yes
UserKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
"""
SERVER = """
import subprocess
process = subprocess.Popen([sys.argv[1], "-D", "-e", "-f", sys.argv[2]], stderr=subprocess.PIPE, text=True)
line = ""
while "listening on" not in line:
    line = process.stderr.readline() or sys.exit("sshd ended")
threading.Thread(target=process.stderr.read, daemon=True).start()
ready()
end()
process.terminate()
process.wait()
"""


@pytest.mark.parametrize("bits", [64, 32])
def test_a_program_that_closes_its_memory_sees_the_view(
    bench: Bench, programs: Programs, engine: str, bits: int
) -> None:
    mounted = bench.directory / "mounted"
    mounted.mkdir()
    (mounted / "file").write_text("content")
    program = programs("closed_files", bits)
    expected = bench.native([program, mounted / "file"])
    assert expected.stdout.count("content") == 3
    bench.prepare = lambda place: (place / "mnt").mkdir()
    found = bench.inside(run_with("--mount", f"{mounted}=mnt").on(engine), [program, "mnt/file"])
    assert found == expected


def sshd() -> str:
    """The path of sshd, which wants to be called by that."""
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None or not all(map(shutil.which, ("sftp", "ssh-keygen"))):
        pytest.skip("sshd, sftp and ssh-keygen are not all installed")
    return found


def configure(place: Path, subsystem: str) -> None:
    """Lay keys and configurations of a server and a client."""
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name]
        subprocess.run(make, check=True, timeout=40)
    user = pwd.getpwuid(os.getuid()).pw_name
    (place / "sshd").write_text(SSHD.format(place=place, subsystem=subsystem))
    (place / "ssh").write_text(SSH.format(place=place, user=user))
    test = [sshd(), "-t", "-f", place / "sshd"]
    tried = subprocess.run(test, capture_output=True, text=True, check=False, timeout=40)
    if tried.returncode:
        pytest.skip(f"sshd does not start here: {tried.stderr.strip()}")


@pytest.mark.parametrize("subsystem", ["internal-sftp", "/usr/lib/openssh/sftp-server"])
def test_files_are_copied_by_sftp_on_a_lan(bench: Bench, engine: str, tmp_path: Path, subsystem: str) -> None:
    """Server and client of sftp close their memory, and have opens to be looked at: of /etc/hosts for one."""
    if subsystem.startswith("/") and not os.path.exists(subsystem):
        pytest.skip("sftp-server is not installed")
    configure(tmp_path, subsystem)
    bench.fresh()
    lan = Lan(bench, engine)
    sent, came = tmp_path / "sent", tmp_path / "came"
    sent.write_bytes(os.urandom(20 << 20))
    arguments = f"sys.argv[1:] = [{sshd()!r}, {str(tmp_path / 'sshd')!r}]\n"
    with lan.serving(1, arguments + SERVER) as serving:
        argv = ["sftp", "-b", "-", "-F", f"{tmp_path}/ssh", "there"]
        batch = f"put {sent} {tmp_path}/there\nget {tmp_path}/there {came}\nrm {tmp_path}/there\n"
        done = finish(bench.start(lan.words(2, argv)), batch)
        assert (done.status, done.stderr) == (0, "")
    assert serving.outcome is not None
    assert serving.outcome.stderr == ""
    assert came.read_bytes() == sent.read_bytes()
    assert not (tmp_path / "there").exists()
