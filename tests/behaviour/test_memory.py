"""Programs in the memory file system do what they do in a directory of the host."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from behaviour.harness import Bench, Way, each_way, run_with

WAYS = each_way(run_with("--mount", "memory:=mnt"))

SCRIPTS = {
    "names": r"""
        echo hello >a; mkdir -m 751 d; mv a d/b; ln d/b c; ln -s d/b s; ln -s nowhere x; cat s c
        stat -c '%n %s %h %a %F' * d/*; rm c; rmdir d; rm d/none; mv d e; cat e/b; rm -r e; ls -A
        mkdir -p p/q/r; touch p/q/r/z; mv p/q/r p/q/s/; ls -R p; mv p p/q; rm -rf p; ls
        """,
    "permissions": r"""
        umask 027; touch f; mkdir d; stat -c %a f d; chmod 4755 f; stat -c %a f; echo x >>f; stat -c %a f
        chmod u-rwx d; chmod g+s d; mkdir -m 777 g; stat -c %a d g
        umask 0; mkdir h; touch h/i; stat -c %a h h/i; ls d; chmod 700 d
        touch -d '2001-02-03 04:05:06.789' f; stat -c '%y %x' f; cp -p f k; stat -c %y k; touch -c none; ls
        """,
    "FIFOs": r"""
        mkfifo f; (echo through >f) & cat f; wait; stat -c '%F %a' f; rm f; ls
        """,
    "redirections": r"""
        exec 3<>f; echo one >&3; echo two >>f; cat f; rm f; echo three >&3; cat /proc/self/fd/3
        readlink /proc/self/fd/3 | sed 's,.*/,,'; stat -L -c %h /proc/self/fd/3; ls
        : >f; echo abc >f; echo d >f; cat f
        dd if=/dev/zero of=f bs=1 count=2 seek=10 conv=notrunc 2>/dev/null; od -c f
        truncate -s 100000 f; stat -c %s f; truncate -s 3 f; od -c f
        cp f g; cmp f g; dd if=f of=h 2>/dev/null; cmp f h
        """,
    "holes": r"""
        truncate -s 5M f; stat -c '%s %b' f; printf x | dd of=f bs=1 seek=3000000 conv=notrunc 2>/dev/null
        stat -c '%s %b' f; cp --sparse=always f g; cmp f g; fallocate -p -o 0 -l 4096 f; fallocate -l 8192 h
        stat -c '%s %b' h; fallocate -x -l 10 h; echo $?
        """,
    "locks": r"""
        touch f; flock f sh -c 'flock -n f echo never; echo busy $?'; flock -s f flock -s -n f echo shared
        """,
    "removed directories": r"""
        mkdir d; cd d; rmdir ../d; ls 2>&1; touch x 2>&1 | sed 's/.*: //'; stat -c %h .; cd .. && ls
        mkdir -p a/b; cd a/b; mv ../../a ../../c; basename $(dirname $(/bin/pwd)); touch here; ls ../../c/b
        """,
}


@WAYS
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_shell_script(bench: Bench, way: Way, script: str) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    outcome = bench.same(way, ["bash", "-c", f"cd mnt; export TZ=UTC0; {script}"])
    assert outcome.stdout


PYTHON = r"""
import fcntl, mmap, os, shelve, sqlite3, stat, subprocess, sys, tempfile

with tempfile.TemporaryFile(dir=".") as file:
    file.write(b"temporary")
    file.flush()
    print(os.fstat(file.fileno()).st_nlink, os.pread(file.fileno(), 20, 0))
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", "never", src_dir_fd=0)
    except OSError as error:
        print(error.strerror)
unnamed = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(unnamed, b"unnamed")
os.link(f"/proc/self/fd/{unnamed}", "linked", src_dir_fd=0)
os.close(unnamed)
print(open("linked").read(), os.stat("linked").st_nlink)
with tempfile.NamedTemporaryFile(dir=".") as file:
    print(stat.filemode(os.stat(file.name).st_mode))
with tempfile.TemporaryDirectory(dir=".") as name:
    open(name + "/x", "w").close()
print(os.listdir("."))

with shelve.open("shelf") as shelf:
    shelf["key"] = [1, 2, 3]
with shelve.open("shelf") as shelf:
    print(shelf["key"])

for mode in ("delete", "wal"):
    base = sqlite3.connect("base")
    print(base.execute(f"pragma journal_mode={mode}").fetchone())
    base.execute("create table if not exists t(x)")
    with base:
        base.executemany("insert into t values(?)", [(n,) for n in range(1000)])
    other = sqlite3.connect("base")
    print(other.execute("select count(*), sum(x) from t").fetchone())
    base.close()
    other.close()
print(sorted(os.listdir(".")))

with open("shared", "w+b") as file:
    file.truncate(4096)
    with mmap.mmap(file.fileno(), 4096) as mapped:
        code = ("import mmap; f = open('shared', 'r+b'); m = mmap.mmap(f.fileno(), 4096); print(m[:5]);"
                "m[5:10] = b'child'; f.seek(20); f.write(b'written')")
        mapped[:5] = b"first"
        sys.stdout.flush()
        subprocess.run([sys.executable, "-c", code], check=True)
        print(mapped[:10], mapped[20:27])
print(open("shared", "rb").read(10))

with open("program", "w") as file:
    file.write("#!/bin/sh\necho from the program $1\n")
try:
    subprocess.run(["./program"])
except OSError as error:
    print(error.strerror)
os.chmod("program", 0o755)
subprocess.run(["./program", "argument"], check=True)
with open("/bin/true", "rb") as source, open("true", "wb") as target:
    target.write(source.read())
os.chmod("true", 0o755)
writer = open("true", "r+b")
try:
    subprocess.run(["./true"])
except OSError as error:
    print(error.strerror)
writer.close()
print(subprocess.run(["./true"]).returncode)
"""


@WAYS
def test_python_s_own_ways_to_keep_things(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    outcome = bench.same(way, ["sh", "-c", 'cd mnt; exec python3 -c "$0"', PYTHON])
    assert "wal" in outcome.stdout


GIT = r"""
export GIT_AUTHOR_DATE='2001-02-03 04:05:06' GIT_COMMITTER_DATE='2001-02-03 04:05:06'
git init -q r; cd r; git config user.email a@b; git config user.name c
for i in 1 2 3 4 5; do seq $i 100 >f$i; git add .; git commit -qm "number $i"; done
git gc -q; git fsck; git log --format=%s; git checkout -q HEAD~2; ls
git status --short; git diff HEAD~1 | tail -3
git clone -q . ../copy; cd ../copy; git log --format=%s | wc -l; ls -a | wc -l
"""


@WAYS
def test_git_keeps_a_repository(bench: Bench, way: Way) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    bench.prepare = lambda work: (work / "mnt").mkdir()
    bench.same(way, ["bash", "-c", f"cd mnt; {GIT}"])


COPIES = r"""
mkdir -p t/sub; echo text >t/sub/file; ln t/sub/file t/hard; ln -s sub/file t/link; mkfifo t/pipe
chmod 640 t/hard; truncate -s 1M t/hole; touch -d 2001-02-03 t/hard t/sub t
cp -a t copy; tar cf t.tar t; mkdir from; tar xf t.tar -C from
for d in copy from/t; do
    (cd $d; find . ! -name . | sort | xargs stat -c '%n %a %h %F'; stat -c %Y . sub hard)
done
diff -r --no-dereference t/sub copy/sub && diff -r t/sub from/t/sub && echo same
"""


@WAYS
def test_copies_are_faithful(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    outcome = bench.same(way, ["bash", "-c", f"cd mnt; {COPIES}"])
    assert "same" in outcome.stdout


SOCKETS = r"""
import os, socket, stat

server = socket.socket(socket.AF_UNIX)
server.bind("sock")
server.listen()
print(stat.filemode(os.stat("sock").st_mode), server.getsockname())
client = socket.socket(socket.AF_UNIX)
client.connect("./sock")
accepted, _ = server.accept()
client.send(b"through")
print(accepted.recv(10), client.getpeername())
other = socket.socket(socket.AF_UNIX)
open("file", "w").close()
for call, path in [(other.bind, "sock"), (other.bind, "none/x"), (other.connect, "none"),
                   (other.connect, "file"), (other.connect, "."), (open, "sock")]:
    try:
        call(path)
    except OSError as error:
        print(error.strerror)
one, two = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
one.bind("one")
two.bind("two")
two.sendto(b"datagram", "one")
print(one.recvfrom(20))
os.rename("sock", "moved")
socket.socket(socket.AF_UNIX).connect("moved")
os.unlink("moved")
try:
    socket.socket(socket.AF_UNIX).connect("moved")
except OSError as error:
    print(error.strerror)
print(sorted(os.listdir(".")))
"""


@WAYS
def test_sockets_have_names(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    outcome = bench.same(way, ["sh", "-c", 'cd mnt; exec python3 -c "$0"', SOCKETS])
    assert "datagram" in outcome.stdout


@WAYS
def test_sockets_have_names_where_temporary_files_have_long_ones(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    long = bench.temporary / ("long" * 30)
    long.mkdir(parents=True)
    bench.environment["TMPDIR"] = str(long)
    bench.same(way, ["sh", "-c", 'cd mnt; exec python3 -c "$0"', SOCKETS])
    long.rmdir()  # it is empty


WATCHES = r"""
import ctypes, os, struct

libc = ctypes.CDLL(None)

def told():
    try:
        data = os.read(queue, 1 << 16)
    except BlockingIOError:
        return []
    found, cookies = [], []
    while data:
        _, mask, cookie, size = struct.unpack_from("iIII", data)
        if cookie and cookie not in cookies:
            cookies.append(cookie)
        number = cookies.index(cookie) if cookie else None
        found.append((hex(mask), number, data[16 : 16 + size].rstrip(b"\0")))
        data = data[16 + size :]
    return found

names = 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400
os.mkdir("d"), os.mkdir("e"), open("d/old", "w").close()
queue = libc.inotify_init1(0o4000)
assert libc.inotify_add_watch(queue, b"d", names) > 0
open("d/a", "w").close()
os.mkdir("d/s"), os.mkfifo("d/p"), os.symlink("x", "d/y")
print(told())
os.rename("d/a", "d/b"), os.rename("d/b", "e/b"), os.rename("e/b", "d/c"), os.rename("d/c", "d/old")
print(told())
os.link("d/old", "d/l"), os.chmod("d/l", 0o600), os.unlink("d/l"), os.utime("d/s")
print(told())
for name in os.listdir("d"):
    (os.rmdir if name == "s" else os.unlink)(f"d/{name}")
print(sorted(told(), key=str))
os.rmdir("d")
print(told())
open("f", "w").close()
assert libc.inotify_add_watch(queue, b"f", 0x2 | 0x4 | 0x8 | 0x20) > 0
with open("f", "a") as file:
    file.write("x")
os.chmod("f", 0o600)
print(told())
"""


@WAYS
def test_watches_tell_of_names(bench: Bench, way: Way) -> None:
    bench.prepare = lambda work: (work / "mnt").mkdir()
    outcome = bench.same(way, ["sh", "-c", 'cd mnt; exec python3 -c "$0"', WATCHES])
    assert "old" in outcome.stdout


STRANGER = r"""
import os, socket

os.chmod(".", 0o1777)
with open("roots", "w") as file:
    file.write("x")
os.chmod("roots", 0o600)
if os.fork():
    print(os.wait()[1], os.stat("mine").st_uid, oct(os.stat("mine").st_mode))
    os._exit(0)
os.setgroups([])
os.setresgid(4242, 4242, 4242)
os.setresuid(4242, 4242, 4242)
with open("mine", "w+") as file:
    file.write("content")
    file.seek(0)
    print(file.read(), os.fstat(file.fileno()).st_uid)
for call, *args in [(open, "roots"), (os.unlink, "roots"), (os.chown, "mine", 0, 0), (os.truncate, "mine", 3),
                    (os.mkfifo, "pipe"), (os.rename, "mine", "roots"), (os.mknod, "device", 0o20600, 259)]:
    try:
        call(*args)
        print("done")
    except OSError as error:
        print(error.strerror)
socket.socket(socket.AF_UNIX).bind("sock")
print(os.stat("sock").st_uid, sorted(os.listdir(".")), open("mine").read())
"""


@pytest.mark.root
@WAYS
def test_programs_that_become_other_users_have_their_rights(bench: Bench, way: Way) -> None:
    command = ["sh", "-c", 'cd mnt; exec python3 -c "$0"', STRANGER]
    # The directories of pytest are closed to others.
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        open_bench = Bench(Path(base), prepare=lambda work: (work / "mnt").mkdir())
        outcome = open_bench.same(way, command)
    assert "content 4242" in outcome.stdout
