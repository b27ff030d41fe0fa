"""Binfmt: what programs do with binfmt_misc and say of it, run natively and in a view.

The arguments are the directory where it is mounted, and a directory with `handler` and room for files.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

MOUNTED, PLACE = Path(sys.argv[1]), Path(sys.argv[2])
HANDLER = PLACE / "handler"


def write(name: str, text: str | bytes) -> None:
    """An order, and what came of it."""
    data = text.encode() if isinstance(text, str) else text
    try:
        fd = os.open(MOUNTED / name, os.O_WRONLY)
        try:
            done = os.write(fd, data)
        finally:
            os.close(fd)
        print(f"write {name} {data!r}: {done}")
    except OSError as error:
        print(f"write {name} {data!r}: {errno.errorcode[error.errno or 0]}")


def show(name: str) -> None:
    try:
        text = (MOUNTED / name).read_text().replace(str(PLACE), "PLACE")
        print(f"{name}: {text!r}")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno or 0]}")


def make(name: str, content: bytes, mode: int = 0o755) -> Path:
    path = PLACE / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def run(name: str, *arguments: str, called: str | None = None) -> None:
    """Execute a file without a shell, which would run what the kernel does not."""
    words = [called if called is not None else name, *arguments]
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(PLACE)
            os.execve(name, words, {"HOME": "/"})
        except OSError as error:
            print(f"{name}: {errno.errorcode[error.errno or 0]}", flush=True)
        os._exit(1)
    os.waitpid(pid, 0)


def register(name: str, *fields: str) -> None:
    write("register", ":".join(["", name, *fields]))


def tables() -> None:
    """The files themselves."""
    print(sorted(os.listdir(MOUNTED)))
    for name in ("", "status", "register"):
        status = os.stat(MOUNTED / name)
        print(name, oct(status.st_mode), status.st_size if name else 0)
    show("status")
    for text in ("0", "1\n", "-1", "2", "01", "", "\n", "-1\n", "-1\n\n"):
        write("status", text)
        show("status")
    for text in (":a:E::x::", ":a:E::x::/bin/true", "a", ":/:E::x::/bin/true:", ":status:E::x::/bin/true:"):
        write("register", text)
    register("sh", "E", "", "sha", "", "/bin/sh", "")
    register("sh", "E", "", "shb", "", "/bin/sh", "")
    register("mask", "M", "3", r"\x00a\x7f", r"\xff\x00\xff", "/bin/sh", "CP")
    register("long" * 64, "E", "", "shc", "", "/bin/sh", "")
    register("fixed", "E", "", "shd", "", "/no/such/program", "F")
    register("fixed", "E", "", "shd", "", "/etc/passwd", "F")
    for name in ("sh", "mask"):
        show(name)
    print(sorted(os.listdir(MOUNTED)))
    for change in (os.remove, os.rmdir, os.mkdir):
        try:
            change(MOUNTED / "sh")
        except OSError as error:
            print(change.__name__, errno.errorcode[error.errno or 0])
    for name in ("new", "sh"):
        try:
            os.close(os.open(MOUNTED / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            print("created", name)
        except OSError as error:
            print("create", name, errno.errorcode[error.errno or 0])
    with open(MOUNTED / "sh", "rb", buffering=0) as file:
        print(file.read(3), file.read(5), file.seek(2), file.read(2))
        write("sh", "0")
        print(file.seek(0), file.read(8))
        write("sh", "-1")
    show("sh")
    write("sh", "1")


def matching() -> None:
    """Which interpreter is chosen."""
    make("a.one", b"\x7fELFoo")
    make("b.one.two", b"short")
    make("empty.one", b"")
    make("plain.one", b"x", 0o644)
    make("script.one", b"#!/bin/echo script\n")
    make("dot.", b"x")
    os.makedirs(PLACE / "directory.one", exist_ok=True)
    run("a.one")
    register("one", "E", "", "one", "", str(HANDLER), "")
    for name in ("a.one", "./b.one.two", "empty.one", "plain.one", "script.one", "directory.one", "none.one"):
        run(name, "x", "y z")
    run(str(PLACE / "a.one"), called="zero")
    register("elf", "M", "4", "oo", "", "/bin/echo", "")
    run("a.one", "elf")
    write("elf", "0")
    run("a.one", "one")
    write("status", "0")
    run("a.one", "none")
    write("status", "1")
    register("masked", "M", "0", r"\x00H", r"\x00\xdf", "/bin/echo", "")
    run("b.one.two")
    register("end", "M", "5", r"\x00", r"", "/bin/echo", "")
    run("b.one.two", "zeros behind")
    register("far", "M", "250", r"far", "", "/bin/echo", "")
    make("far", b"x" * 250 + b"far")
    run("./far")
    register("own", "M", "0", r"#!/bin/echo", "", "/bin/printf", "")
    run("script.one", "before the first line")
    write("status", "-1")
    print(sorted(os.listdir(MOUNTED)))


def arguments() -> None:
    """What the interpreter is given."""
    make("a.one", b"content")
    make("c.two", b"content of two")
    for flags in ("", "P", "O", "PO", "C", "PC", "F"):
        register("one", "E", "", "one", "", str(HANDLER), flags)
        run("a.one", "x", called="zero")
        write("one", "-1")
    make("bad", b"neither a script nor a binary")
    register("bad", "E", "", "bad", "", str(PLACE / "bad"), "O")
    make("x.bad", b"")
    before = sorted(os.listdir("/proc/self/fd"))
    try:
        os.execve(PLACE / "x.bad", ["x"], {})
    except OSError as error:
        print(errno.errorcode[error.errno or 0], sorted(os.listdir("/proc/self/fd")) == before)
    make("inter.two", b"#!%s a  b\nx" % os.fsencode(HANDLER))
    make("outer.three", b"")
    register("two", "E", "", "two", "", str(HANDLER), "")
    register("three", "E", "", "three", "", str(PLACE / "inter.two"), "")
    register("four", "E", "", "four", "", str(PLACE / "plain"), "P")
    make("plain", b"#!%s option\n" % os.fsencode(HANDLER))
    make("x.four", b"")
    run("inter.two", "1")
    run("outer.three", "1")
    run("x.four", "1", called="zero")
    register("five", "E", "", "five", "", "handler", "")
    make("x.five", b"")
    run("x.five", "relative")
    register("six", "E", "", "six", "", str(PLACE / "nobody"), "")
    make("x.six", b"")
    run("x.six")
    register("loop", "E", "", "loop", "", str(PLACE / "x.loop"), "")
    make("x.loop", b"")
    run("x.loop")
    for depth in range(7):
        target = HANDLER if depth == 0 else PLACE / f"x.deep{depth - 1}"
        register(f"deep{depth}", "E", "", f"deep{depth}", "", str(target), "")
        make(f"x.deep{depth}", b"")
        run(f"x.deep{depth}", str(depth))
    write("status", "-1")


def fixed() -> None:
    """An interpreter that is no longer there."""
    copy = make("copy", HANDLER.read_bytes())
    make("x.fixed", b"")
    register("fixed", "E", "", "fixed", "", str(copy), "F")
    show("fixed")
    run("x.fixed", "there")
    copy.rename(PLACE / "renamed")
    run("x.fixed", "renamed")
    (PLACE / "renamed").unlink()
    run("x.fixed", "removed")
    write("fixed", "-1")
    run("x.fixed")


def by_descriptor() -> None:
    """fexecve(3)."""
    make("a.one", b"content")
    register("one", "M", "0", "content", "", str(HANDLER), "")
    for inherited in (True, False):
        fd = os.open(PLACE / "a.one", os.O_RDONLY)
        os.set_inheritable(fd, inherited)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.execve(fd, ["zero", "one"], {})
            except OSError as error:
                print(f"by descriptor: {errno.errorcode[error.errno or 0]}", flush=True)
            os._exit(1)
        os.waitpid(pid, 0)
        os.close(fd)
    with open(PLACE / "a.one", "ab"):
        run("a.one")
    write("one", "-1")


for part in (tables, matching, arguments, fixed, by_descriptor):
    print(f"-- {part.__name__}", flush=True)
    part()
    sys.stdout.flush()
