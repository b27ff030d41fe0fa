"""Root that remembers: what programs do with owners, modes and devices, and what they and others see of it
then."""

from __future__ import annotations

import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from behaviour.harness import DIORAMA, Bench, Outcome, Way, run_with

pytestmark = pytest.mark.timeout(120)


def lay(work: Path) -> None:
    """Where trees are mounted."""
    (work / "mnt").mkdir()


class Tree:
    """A directory that remembers, and runs of programs in it."""

    def __init__(self, bench: Bench, engine: str) -> None:
        self.bench, self.engine = bench, engine
        self.path = bench.directory / "kept"
        self.path.mkdir()
        bench.prepare = lay

    def way(self, *options: str) -> Way:
        """How programs are run with it."""
        mount = f"{self.path}={self.bench.work / 'mnt'}:remember"
        return run_with("--engine", self.engine, *options, "--mount", mount)

    def run(self, script: str, user: str = "root") -> Outcome:
        """A script of the shell, in the tree."""
        whole = f"umask 022; cd mnt; {script}"
        done = self.bench.inside(self.way("--user", user), ["sh", "-c", whole])
        assert not done.stderr, done.stderr
        return done


@pytest.fixture
def tree(bench: Bench, engine: str) -> Tree:
    return Tree(bench, engine)


MAKING = """
    mkdir d; echo text >d/f; ln -s f d/s; mkfifo p; mknod null c 1 3; mknod disk b 8 0
    chown 33:44 d/f; chown -h 5:6 d/s; chown 7 p; chmod 4711 d/f; chmod 2770 d; chmod 0 null; cp -a d e
"""
LOOKING = "stat -c '%n %F %u:%g %a %t:%T' d d/f d/s p null disk e e/f e/s"
SEEN = [
    "d directory 0:0 2770 0:0",
    "d/f regular file 33:44 4711 0:0",
    "d/s symbolic link 5:6 777 0:0",
    "p fifo 7:0 644 0:0",
    "null character special file 0:0 0 1:3",
    "disk block special file 0:0 644 8:0",
    "e directory 0:0 2770 0:0",
    "e/f regular file 33:44 4711 0:0",
    "e/s symbolic link 5:6 777 0:0",
]


def test_programs_and_another_view_see_what_was_done(tree: Tree) -> None:
    assert tree.run(f"{MAKING}{LOOKING}").lines == SEEN
    assert tree.run(LOOKING).lines == SEEN
    on_host = (tree.path / "d/f").stat()
    assert (on_host.st_uid, on_host.st_gid) == (os.geteuid(), os.getegid())
    assert not on_host.st_mode & 0o7000, "set-user-ID bits mean the supervisor on the host"
    assert (tree.path / "null").is_file()


def test_an_archive_has_the_owners_and_gives_them_back(tree: Tree) -> None:
    tree.run(MAKING)
    way = tree.way("--user", "root")
    packing = tree.bench.start(way(["tar", "-C", "mnt", "-cf", "-", "."]))
    data, complaint = packing.communicate(timeout=50)
    assert not complaint
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        found = {one.name.removeprefix("./"): one for one in archive}
    assert (found["d/f"].uid, found["d/f"].gid, found["d/f"].mode) == (33, 44, 0o4711)
    assert (found["d/s"].uid, found["p"].uid) == (5, 7)
    assert found["null"].ischr()
    assert (found["disk"].devmajor, found["disk"].devminor) == (8, 0)
    packed = tree.bench.directory / "packed.tar"
    packed.write_bytes(data)
    assert tree.run(f"rm -r d e p null disk; tar -xpf {packed}; {LOOKING}").lines == SEEN


def test_a_device_is_the_hosts(tree: Tree) -> None:
    known = "mknod null c 1 3; echo lost >null; cat null"
    unknown = "mknod none c 240 77; cat none 2>&1 | sed 's/.*: //'"
    assert tree.run(f"{known}; {unknown}").lines == ["No such device or address"]
    assert (tree.path / "null").stat().st_size == 0


def test_a_device_is_listed_as_one(tree: Tree) -> None:
    script = """
        mknod a c 1 3; mknod b b 7 0; touch f; mkdir d; mv a d; ln b d/c
        find . -type c; find . -type b | sort; find . -type f
    """
    assert tree.run(script).lines == ["./d/a", "./b", "./d/c", "./f"]


def test_an_empty_tree_in_memory_remembers_too(bench: Bench, engine: str) -> None:
    bench.prepare = lay
    way = run_with("--engine", engine, "--user", "root", "--mount", f"tmp:={bench.work / 'mnt'}:remember")
    script = "cd mnt; touch f; ln -s f s; chown 33:44 f; chown -h 5 s; stat -c '%n %u:%g' f s"
    assert bench.inside(way, ["sh", "-c", script]).lines == ["f 33:44", "s 5:0"]


WHOSE = """
touch f; mkdir d; ln -s f s; mkfifo p
stat -c '%n %u:%g' f d s p; stat -Lc '%u:%g' - <f; stat -c %u /proc/self/status
chown 0:0 f d && chown -h 0:0 s && chown 4242 f || echo refused
"""


@pytest.mark.skipif(os.geteuid() == 0, reason="root is root in a view too")
def test_what_is_ours_on_the_host_is_the_users(bench: Bench, engine: str) -> None:
    done = bench.inside(run_with("--engine", engine, "--user", "root"), ["sh", "-c", WHOSE])
    assert done.lines == ["f 0:0", "d 0:0", "s 0:0", "p 0:0", "0:0", "0", "refused"]


def test_others_may_do_what_linux_lets_them(tree: Tree) -> None:
    tree.run("""
        chmod 755 .; echo secret >s; chmod 600 s; mkdir closed shared own; chmod 700 closed; echo x >closed/x
        chmod 1777 shared; echo theirs >shared/theirs; chown 1234 own; echo all >all; ln -s closed/x link
    """)
    script = """
        cat all; cat s; cat closed/x; cat link; ls closed; echo x >all; echo x >new
        echo y >own/new; mkdir own/d; echo z >shared/mine
        rm -f shared/theirs; chmod 600 all; chown 1234 all; mknod own/n c 1 3
        stat -c '%n %u:%g %a' own/new own/d shared/mine; cd closed; id -u
    """
    done = tree.bench.inside(tree.way("--user", "1234:5"), ["sh", "-c", f"umask 027; cd mnt; {script}"])
    assert done.lines == ["all", "own/new 1234:5 640", "own/d 1234:5 750", "shared/mine 1234:5 640", "1234"]
    refused = [line.rpartition(": ")[2] for line in done.stderr.splitlines()]
    assert refused == ["Permission denied"] * 6 + ["Operation not permitted"] * 4 + ["can't cd to closed"]


def test_who_gives_up_root_is_held_to_it(tree: Tree) -> None:
    tree.run("chmod 755 .; echo secret >s; chmod 600 s; mkdir d; chown 1234 d; chmod 700 d")
    script = """
import os
print(open("s").read().strip(), os.listdir("d"), flush=True)
if not os.fork():
    os.setgid(1234)
    os.setuid(1234)
    for name in ("s", "d/new"):
        try:
            open(name, "a").close()
            print(name, os.stat(name).st_uid, flush=True)
        except OSError as error:
            print(name, error.strerror, flush=True)
    os._exit(0)
os.wait()
print(open("s").read().strip(), os.listdir("d"))
"""
    way = tree.way("--user", "root")
    done = tree.bench.inside(way, ["sh", "-c", f"cd mnt && exec python3 -c '{script}'"])
    assert done.lines == ["secret []", "s Permission denied", "d/new 1234", "secret ['new']"], done.stderr


def test_set_user_id_and_capabilities_count(tree: Tree) -> None:
    script = """
        cp /usr/bin/id setid; chown 77 setid; chmod 4755 setid; cp /usr/bin/id plain; chmod 755 . plain
        setpriv --reuid 1234 --regid 1234 --clear-groups ./setid -u
        setpriv --reuid 1234 --regid 1234 --clear-groups ./plain -u; echo more >>setid; stat -c %a setid
        chown 78 setid; stat -c %a setid
    """
    assert tree.run(script).lines == ["77", "1234", "4755", "755"]


def test_the_root_of_a_view_remembers(bench: Bench, engine: str) -> None:
    root = bench.directory / "kept"
    parts = [name for name in ("usr", "bin", "lib", "lib64") if Path("/", name).exists()]
    for name in (*parts, "etc", "tmp"):
        (root / name).mkdir(parents=True)
    binds = [f"--mount=/{name}=/{name}" for name in parts]
    way = run_with("--engine", engine, "--user", "root", "--root", str(root), "--remember", *binds)
    script = "cd /etc; echo x >f; chown 33:44 f; chmod 600 f; cat f; cd ..; ls -ln etc | tail -1 | cut -c1-20"
    for _ in range(2):
        done = bench.inside(way, ["/bin/sh", "-c", script])
        assert (done.lines, done.stderr) == (["x", "-rw------- 1 33 44 2"], "")


@pytest.mark.parametrize("arguments", [("--mount", "/etc/passwd=/mnt:remember"), ("--remember",)])
def test_what_cannot_remember_is_one_line(bench: Bench, arguments: tuple[str, ...]) -> None:
    done = bench.native([*DIORAMA, "run", *arguments, "--", "true"])
    assert done.status == 125
    assert len(done.stderr.splitlines()) == 1
    assert "remember" in done.stderr


def test_a_remembered_device_may_be_one_of_the_view(tree: Tree) -> None:
    mounts = ("--user", "root", "--mount", "ramdisk:1M=/dev/rd:devid,major=42,minor=64")
    script = """
        cd mnt; mknod node b 42 64; mknod other b 42 65; printf ciao > node
        head -c 4 /dev/rd; echo; head -c 4 node; echo
        chmod 640 node; head -c 1 other 2>&1 | sed "s/.*: //"
    """
    done = tree.bench.inside(tree.way(*mounts), ["sh", "-c", script])
    assert done.lines == ["ciao", "ciao", "No such device or address"], done.stderr
    assert tree.run("ls -l node | cut -c1-10").lines == ["brw-r-----"]


NEEDING_MORE = """
import ctypes, errno, os
def tell(name, act):
    try:
        print(name, act())
    except OSError as error:
        print(name, errno.errorcode[error.errno])
os.setgid(1234)
os.setuid(1234)
libc = ctypes.CDLL(None, use_errno=True)
def watch(path):
    if libc.inotify_add_watch(libc.inotify_init(), path, 2) < 0:
        raise OSError(ctypes.get_errno(), "")
def rename():
    if libc.renameat2(-100, b"own/f", -100, b"all", 1) < 0:
        raise OSError(ctypes.get_errno(), "")
tell("atime of others", lambda: os.open("all", os.O_NOATIME))
tell("atime of my own", lambda: os.open("own/f", os.O_NOATIME) > 0)
tell("watch", lambda: watch(b"all"))
tell("watch closed", lambda: watch(b"secret"))
tell("rename to what is there", rename)
named = os.open("own/f", os.O_PATH)
tell("mode of what is named", lambda: os.fchmod(named, 0o666))
tell("owner of what is named", lambda: os.fchown(named, 1234, 1234))
tell("status of what is named", lambda: oct(os.fstat(named).st_mode))
unnamed = os.open("own", os.O_TMPFILE | os.O_RDWR, 0o4711)
tell("status of what has no name", lambda: (os.fstat(unnamed).st_uid, oct(os.fstat(unnamed).st_mode)))
os.fchmod(unnamed, 0o2755)
tell("its new mode", lambda: oct(os.fstat(unnamed).st_mode))
"""


def test_what_needs_more_than_opening(tree: Tree) -> None:
    done = tree.run(f"""
        chmod 755 .; echo all >all; echo x >secret; chmod 600 secret; mkdir own
        echo f >own/f; chmod 644 own/f; chown -R 1234:1234 own
        exec python3 -c '{NEEDING_MORE}'
    """)
    assert done.lines == [
        "atime of others EPERM",
        "atime of my own True",
        "watch None",
        "watch closed EACCES",
        "rename to what is there EEXIST",
        "mode of what is named EBADF",
        "owner of what is named EBADF",
        "status of what is named 0o100644",
        "status of what has no name (1234, '0o104711')",
        "its new mode 0o102755",
    ]
