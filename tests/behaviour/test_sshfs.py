"""Sshfs in a view: files of another machine, which is this one, by an sshd of the test's own user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, run_with
from behaviour.test_fuse import START, WRITING, each_engine, lay, needs

CONFIGURATION = """
HostKey {place}/host
AuthorizedKeysFile {place}/user.pub
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""
CLIENT = """
Host there
Hostname 127.0.0.1
Port {port}
User {user}
IdentityFile {place}/user
IdentitiesOnly yes
UserKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
"""


@dataclass
class Machine:
    """A machine: who connects to its port gets an sshd, in whose place it stands for each connection."""

    place: Path
    listening: socket.socket
    started: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return  # it is over
            with connection, (self.place / "log").open("ab") as log:
                command = [daemon(), "-i", "-e", "-f", self.place / "configuration"]
                process = subprocess.Popen(command, stdin=connection, stdout=connection, stderr=log)
                self.started.append(process)

    def sshfs(self, directory: Path, *more: str) -> str:
        """The command that mounts a directory of it."""
        return " ".join(["sshfs", "-f", "-F", f"{self.place}/client", f"there:{directory}", *more])


def daemon() -> str:
    """The path of sshd, which wants to be called by that."""
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("sshd is not installed")
    return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    needs("sshfs", "ssh", "ssh-keygen", "fusermount3")
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(make, check=True, timeout=40)
    (tmp_path / "configuration").write_text(CONFIGURATION.format(place=tmp_path))
    test = [daemon(), "-t", "-f", tmp_path / "configuration"]
    tried = subprocess.run(test, capture_output=True, text=True, check=False, timeout=40)
    if tried.returncode:
        pytest.skip(f"sshd does not start here: {tried.stderr.strip()}")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, user = listening.getsockname()[1], pwd.getpwuid(os.getuid()).pw_name
        (tmp_path / "client").write_text(CLIENT.format(place=tmp_path, port=port, user=user))
        found = Machine(tmp_path, listening)
        thread = threading.Thread(target=found.serve, daemon=True)
        thread.start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    for process in found.started:
        process.wait(timeout=40)


EXPECTED = [
    "file", "sub", "content", "same", "one", "two", "moved", "one", "two", "one", "two", "dir/moved",
    "640 8 1", "one", "file", "sub", "it runs well", "mnt", "file", "sub",
]  # fmt: skip


@each_engine
def test_another_machine_is_mounted_in_a_view(bench: Bench, way: Way, machine: Machine) -> None:
    bench.prepare = lay
    script = f"{START}\nserve {machine.sshfs(bench.work / 'source', 'mnt')}\n{WRITING}\nstop\nls mnt\n"
    out = bench.inside(way, ["bash", "-c", script])
    assert out.stdout.splitlines() == EXPECTED
    assert out.stderr == "cat: mnt/none: No such file or directory\n"


@each_engine
def test_another_machine_is_mounted_for_a_view(bench: Bench, way: Way, machine: Machine) -> None:
    bench.prepare = lay
    engine = way.words[way.words.index("--engine") + 1]
    mount = f"fuse:{machine.sshfs(bench.work / 'source')}={bench.work / 'mnt'}"
    out = bench.inside(run_with("--mount", mount).on(engine), ["bash", "-c", WRITING])
    assert out.stdout.splitlines() == EXPECTED
    assert out.stderr == "cat: mnt/none: No such file or directory\n"
