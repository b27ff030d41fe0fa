"""Serving: disks by NBD: of a server somewhere, or of one that is started for them.

`nbd://HOST[:PORT]/EXPORT` and `nbd+unix:PATH` (`export=NAME`) are served already; `nbdkit:PLUGIN ARGUMENTS`
starts nbdkit, and a `disk:` of a format of virtual machines qemu-nbd.  Servers that are started end with
their one connection, whatever becomes of us.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from diorama.errors import UsageError
from diorama.interfaces.device import BlockDevice
from diorama.modules.devices.nbd.client import NbdDisk
from diorama.modules.devices.nbd.greeting import ProtocolError
from diorama.modules.devices.options import make_device_mount
from diorama.modules.opening import host_path, usage_errors
from diorama.modules.options import Options
from diorama.view.mounts import Mount

__all__ = ["format_of", "open_nbd", "open_nbd_unix", "open_nbdkit", "serve_image"]

_PORT: Final = 10809
_CONNECTING: Final = 20.0
_ENDING: Final = 30.0
_SAYING: Final = 2.0
_ACTIVATING: Final = 'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
"""How a server is given a socket to listen at (sd_listen_fds(3))."""
_SYSTEM: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_MAGIC: Final = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0, b"QED\0", "qed"),
)


def open_nbd(rest: str, options: Options) -> Mount:
    """A mount of `nbd://HOST[:PORT]/EXPORT`."""
    what = f"nbd:{rest}"
    with _errors(what):
        url = urlsplit(what)
        if not url.hostname:
            raise UsageError(f"cannot mount {what}: write nbd://HOST[:PORT]/EXPORT")
        connection = socket.create_connection((url.hostname, url.port or _PORT), _CONNECTING)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return _mount(what, _disk(connection, unquote(url.path[1:]), what), options)


def open_nbd_unix(rest: str, options: Options) -> Mount:
    """A mount of `nbd+unix:PATH`, or as libnbd writes it, `nbd+unix:///EXPORT?socket=PATH`."""
    what = f"nbd+unix:{rest}"
    with _errors(what):
        path, export = rest, options.take("export") or ""
        if rest.startswith("//"):
            url = urlsplit(what)
            path, export = parse_qs(url.query).get("socket", [""])[0], unquote(url.path[1:])
        if not path:
            raise UsageError(f"cannot mount {what}: write nbd+unix:PATH")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_CONNECTING)
        with _closing_on_error(connection):
            connection.connect(host_path(path))
        return _mount(what, _disk(connection, export, what), options)


def open_nbdkit(rest: str, options: Options) -> Mount:
    """A mount of `nbdkit:PLUGIN ARGUMENTS`, which is started and talked to over a socket of its own."""
    what = f"nbdkit:{rest}"
    program = _program(what, "nbdkit", "nbdkit")
    with _errors(what):
        words = shlex.split(rest)
        if not words:
            raise UsageError(f"cannot mount {what}: write nbdkit:PLUGIN ARGUMENTS")
        ours, theirs = socket.socketpair()
        with theirs, _closing_on_error(ours):
            command = [program, "--single", *(["--readonly"] if options.read_only else []), *words]
            server = _Server(command, theirs.fileno())
        ours.settimeout(_CONNECTING)
        with _ending_on_error(server):
            disk = _of_server(ours, what, server)
        return _mount(what, disk, options)


def serve_image(what: str, fd: int, format: str, *, writable: bool) -> BlockDevice:
    """A disk in an open file of a format of virtual machines; `UsageError`."""
    program = _program(what, "qemu-nbd", "qemu-utils", format)
    path = os.readlink(f"/proc/self/fd/{fd}")
    if not os.path.exists(path):
        path = f"/proc/self/fd/{fd}"  # what has no name has no other files beside it either
    command = [program, f"--format={format}", "--discard=unmap", *([] if writable else ["--read-only"])]
    try:
        listener, connection = _listening()
        with listener, _closing_on_error(connection):
            shell = ["sh", "-c", _ACTIVATING, str(listener.fileno()), *command, "--", path]
            server = _Server(shell, keep=(fd, listener.fileno()), name="qemu-nbd")
        with _ending_on_error(server):
            return _of_server(connection, what, server)
    except ProtocolError as error:
        raise UsageError(f"cannot mount {what}: {error}") from None


def format_of(fd: int) -> str | None:
    """The format of virtual machines that a file has, as qemu names it; None if it is none."""
    start = os.pread(fd, 512, 0)
    for offset, magic, format in _MAGIC:
        if start[offset : offset + len(magic)] == magic:
            return format
    return None


# -- connections ----------------------------------------------------------------------------------


def _mount(what: str, disk: NbdDisk, options: Options) -> Mount:
    if options.is_set("rw") and disk.read_only:
        disk.close()
        raise UsageError(f"cannot mount {what} read-write: its server only reads")
    return make_device_mount(what, disk, options)


def _disk(connection: socket.socket, export: str, what: str) -> NbdDisk:
    with _closing_on_error(connection):
        return NbdDisk(connection, export, what)


def _of_server(connection: socket.socket, what: str, server: _Server) -> NbdDisk:
    """The disk of a server that was started for it, and is waited for in the end."""
    with _closing_on_error(connection):
        try:
            return NbdDisk(connection, "", what, lambda: server.end(_ENDING))
        except (ProtocolError, OSError):
            raise UsageError(f"cannot mount {what}: {server.last_words()}") from None


def _listening() -> tuple[socket.socket, socket.socket]:
    """A socket where a server can listen, and one that is connected to it already: nobody else can be."""
    directory = tempfile.mkdtemp(prefix="diorama-nbd-")
    listener, connection = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = f"/proc/self/fd/{held}/socket"  # a path of any length
        listener.bind(name)
        listener.listen(1)
        connection.connect(name)
        connection.settimeout(_CONNECTING)
    except BaseException:
        listener.close()
        connection.close()
        raise
    finally:
        os.close(held)
        shutil.rmtree(directory, ignore_errors=True)
    return listener, connection


# -- servers --------------------------------------------------------------------------------------


def _program(what: str, name: str, package: str, format: str = "") -> str:
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM)
    if found is None:
        reason = f"it is {format}, which needs {name}" if format else f"it needs {name}"
        raise UsageError(f"cannot mount {what}: {reason} (Debian package {package})")
    return found


class _Server:
    """A server that was started, in a session of its own, so that ^C is not for it."""

    def __init__(
        self, command: list[str], stream: int = subprocess.DEVNULL, keep: tuple[int, ...] = (), name: str = ""
    ) -> None:
        self._name = name or Path(command[0]).name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=stream,
                stdout=stream,
                stderr=self._said,
                start_new_session=True,
                pass_fds=keep,
            )
        except BaseException:
            self._said.close()
            raise

    def last_words(self) -> str:
        """What it said when it gave up, in one line."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_SAYING)
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines[-1:]
        return errors[0].strip() if errors else f"{self._name} does not answer"

    def end(self, patience: float = 0) -> None:
        """It ends by itself when its one client has gone."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


@contextmanager
def _errors(what: str) -> Generator[None, None, None]:
    with usage_errors(what):
        try:
            yield
        except ProtocolError as error:
            raise UsageError(f"cannot mount {what}: {error}") from None
        except TimeoutError:
            raise UsageError(f"cannot mount {what}: the server does not answer") from None
        except socket.gaierror as error:
            raise UsageError(f"cannot mount {what}: {(error.strerror or '').lower()}") from None


@contextmanager
def _closing_on_error(connection: socket.socket) -> Generator[None, None, None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def _ending_on_error(server: _Server) -> Generator[None, None, None]:
    try:
        yield
    except BaseException:
        server.end()
        raise
