"""A real server: files are read through HTTP in pieces, as far as the server knows how."""

from __future__ import annotations

import http.server
import stat
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from diorama.modules.filesystems.fsspec import open_fsspec
from diorama.modules.options import Options
from modules.objects import piece_of
from modules.test_archives import content

pytest.importorskip("aiohttp", reason="needs aiohttp, with which fsspec reads http")

SIZE = 40 << 20
CONTENT = piece_of(0, SIZE)


PAGE = b"""<a href="?C=N">Name</a><a href="/">up</a><a href="../">up</a><a href="big">big</a>
<a href="sub/">sub</a><a href="http://example.org/">elsewhere</a>"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `/big`; knows ranges, or does not."""

    protocol_version = "HTTP/1.1"
    ranges = True
    sent = 0

    def do_HEAD(self) -> None:
        self.do_GET(with_body=False)

    def do_GET(self, *, with_body: bool = True) -> None:
        if self.path.endswith("/big"):
            self._send_big(with_body=with_body)
            return
        found = PAGE if self.path in ("", "/") else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(found)))
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if with_body:
            self.wfile.write(found)

    def _send_big(self, *, with_body: bool) -> None:
        start, end, status = 0, SIZE, 200
        asked = self.headers.get("Range")
        if asked and self.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) + 1, SIZE), 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes" if self.ranges else "none")
        self.send_header("Content-Length", str(end - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{SIZE}")
        self.end_headers()
        if with_body:
            type(self).sent += end - start
            self.wfile.write(CONTENT[start:end])

    def log_message(self, *_args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Handler.ranges, Handler.sent = True, 0
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"//127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_piece_is_all_that_is_fetched(server: str) -> None:
    mounted = open_fsspec("http", f"{server}/big")
    assert not mounted.writable
    status = mounted.attributes(mounted.root)
    assert status.size == SIZE
    assert mounted.lazy_above is not None
    assert status.size > mounted.lazy_above
    assert mounted.read(mounted.root, 30 << 20, 1000) == CONTENT[30 << 20 :][:1000]
    assert Handler.sent <= 1000
    assert mounted.read(mounted.root, SIZE - 5, 1000) == CONTENT[-5:]


def test_a_server_without_ranges_is_asked_once(server: str) -> None:
    Handler.ranges = False
    mounted = open_fsspec("http", f"{server}/big")
    for offset in (30 << 20, 0, SIZE - 100):
        assert mounted.read(mounted.root, offset, 100) == CONTENT[offset : offset + 100]
    assert Handler.sent <= SIZE
    mounted.close()


def test_the_server_of_python(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_text("text")
    (tmp_path / "big").write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(tmp_path))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        mounted = open_fsspec("http", f"//127.0.0.1:{made.server_address[1]}")
        entries = {entry.name: entry for entry in mounted.entries(mounted.root)}
        assert entries.keys() == {b"big", b"sub"}
        big, sub = (mounted.lookup(mounted.root, name) for name in (b"big", b"sub"))
        assert mounted.attributes(big).size == SIZE
        assert mounted.read(big, 30 << 20, 100) == CONTENT[30 << 20 :][:100]
        assert mounted.attributes(sub).kind == stat.S_IFDIR
        assert content(mounted, mounted.lookup(sub, b"file")) == b"text"
        mounted.close()
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """As `python3 -m http.server`, which knows no ranges."""

    def log_message(self, *_args: Any) -> None:
        return


def test_whole_files_and_errors(server: str) -> None:
    mounted = open_fsspec("http", server, Options.parse(["lazy=off"]))
    assert [(entry.name, entry.kind) for entry in mounted.entries(mounted.root)] == [
        (b"big", stat.S_IFREG),
        (b"sub", stat.S_IFDIR),
    ]
    assert content(mounted, mounted.lookup(mounted.root, b"big")) == CONTENT
    with pytest.raises(FileNotFoundError):
        mounted.lookup(mounted.root, b"none")
