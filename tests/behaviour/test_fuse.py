"""FUSE servers in a view, unmodified: they open /dev/fuse and mount, as an ordinary user, and programs use
them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from behaviour.harness import Bench, Outcome, Way, run_with
from diorama.engine.choice import GUARDIANS, NOTIFY
from engines import needs_notify

GROWING = run_with("--grow")
each_engine = pytest.mark.parametrize(
    "way",
    [GROWING.on(GUARDIANS), pytest.param(GROWING.on(NOTIFY), marks=needs_notify)],
    ids=[GUARDIANS, NOTIFY],
)

START = """
serve() {
    "$@" & server=$!
    for i in $(seq 600); do
        grep -q " $PWD/mnt fuse" /proc/self/mounts && return
        sleep 0.05
    done
    echo "not mounted"
}
stop() {
    fusermount3 -u mnt || fusermount -u mnt
    wait $server || echo "it ended with $?"
}
"""


def lay(work: Path) -> None:
    for name in ("mnt", "source/sub", "upper", "work"):
        (work / name).mkdir(parents=True)
    (work / "source/file").write_text("content\n")
    (work / "source/sub/large").write_bytes(bytes(range(256)) * 4000)


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def serve(bench: Bench, way: Way, server: str, script: str, *, stop: bool = True) -> Outcome:
    needs(server.split()[0], "fusermount3")
    bench.prepare = lay
    lines = f"{START}\nserve {server} 2>/dev/null >&2\n{script}\n" + "stop\nls mnt\n" * stop
    return bench.inside(way, ["bash", "-c", lines])


ORDINARY = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]
REMOUNTING = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def told(result):
    return errno.errorcode[ctypes.get_errno()] if result else "done"
print(told(libc.mount(None, b"mnt", None, 32 | 4096, None)))  # MS_REMOUNT, MS_BIND: neither flag
print(told(libc.mount(None, b"mnt", None, 32 | 4096 | 2 | 4 | 8, None)))  # MS_NOSUID, MS_NODEV, MS_NOEXEC
cleared = (ctypes.c_uint64 * 4)(0, 2, 0, 0)  # MOUNT_ATTR_NOSUID
print(told(libc.syscall(442, -100, b"mnt", 0, cleared, 32)))  # mount_setattr
"""


@each_engine
def test_who_is_not_root_mounts_as_fusermount_has_it(bench: Bench, way: Way) -> None:
    """With mount(2) too, which is for everybody in a view: no set-user-ID programs, no devices."""
    needs("bindfs", "setpriv")

    bench.prepare = lay
    flags = "grep -o \" $PWD/mnt fuse[^ ]* [^ ]*\" /proc/self/mounts | grep -ow 'nosuid\\|nodev\\|noexec'"
    script = f"{START}\nserve {shlex.join(ORDINARY)} bindfs -f -o suid,dev source mnt 2>/dev/null >&2\n"
    script += f"{flags}\n"
    script += f"{shlex.join([sys.executable, '-c', REMOUNTING])}; {flags}\numount mnt; wait $server"
    out = bench.inside(way, ["bash", "-c", script])
    assert out.stdout.split() == ["nosuid", "nodev", "EPERM", "done", "EPERM", "nosuid", "nodev", "noexec"]


WRITING = """
cd mnt; ls; cat file; cmp sub/large ../source/sub/large && echo same
echo one > new; echo two >> new; cat new; mkdir dir; mv new dir/moved; ls dir; ln dir/moved link; cat link
ln -s dir/moved symbolic; cat symbolic; readlink symbolic; chmod 640 link; stat -c '%a %s %h' link
truncate -s 3 link; cat link; echo; rm link symbolic; rm -r dir; ls
printf '#!/bin/sh\\necho it runs $1\\n' > script; chmod +x script; ./script well; rm script
cd ..; cat mnt/none; ls -d mnt; ls source
"""


@each_engine
@pytest.mark.parametrize(
    "server",
    [
        "bindfs -f source mnt",
        "mergerfs -f source mnt",
        "fuse-overlayfs -f -o lowerdir=source,upperdir=upper,workdir=work mnt",
    ],
    ids=["bindfs", "mergerfs", "fuse-overlayfs"],
)
def test_a_server_is_written_through(bench: Bench, way: Way, server: str) -> None:
    out = serve(bench, way, server, WRITING)
    assert out.stdout.splitlines() == [
        "file", "sub", "content", "same", "one", "two", "moved", "one", "two", "one", "two", "dir/moved",
        "640 8 2", "one", "file", "sub", "it runs well", "mnt", "file", "sub",
    ]  # fmt: skip
    assert "mnt/none: No such file or directory" in out.stderr


@each_engine
def test_inode_numbers_are_the_servers(bench: Bench, way: Way) -> None:
    script = """
        ln mnt/file mnt/link; for i in file link sub .; do stat -c %i mnt/$i source/$i; done | uniq -c | wc -l
        ls -i mnt > listed; ls -i source | cmp - listed && echo same; find mnt -samefile mnt/link | sort
        """
    out = serve(bench, way, "bindfs -f source mnt", script)
    assert out.stdout.split() == ["3", "same", "mnt/file", "mnt/link"]


@each_engine
def test_what_was_written_is_there_when_the_server_is_gone(bench: Bench, way: Way) -> None:
    script = "cp source/sub/large mnt/copy; sync mnt/copy; mkdir mnt/d; echo x > mnt/d/e"
    out = serve(bench, way, "bindfs -f source mnt", script)
    assert out.stdout == ""
    assert (bench.work / "source/copy").read_bytes() == (bench.work / "source/sub/large").read_bytes()
    assert (bench.work / "source/d/e").read_text() == "x\n"


@each_engine
def test_an_image_is_read(bench: Bench, way: Way) -> None:
    needs("mksquashfs")

    def lay_image(work: Path) -> None:
        lay(work)
        command = ["mksquashfs", "source", "image", "-quiet", "-no-progress"]
        subprocess.run(command, cwd=work, check=True, timeout=50)

    needs("squashfuse", "fusermount3")
    bench.prepare = lay_image
    lines = f"{START}\nserve squashfuse -f image mnt 2>/dev/null\nls mnt; cat mnt/file\n"
    lines += "cmp mnt/sub/large source/sub/large && echo same; touch mnt/new; stop 2>/dev/null"
    out = bench.inside(way, ["bash", "-c", lines])
    assert out.stdout == "file\nsub\ncontent\nsame\n"
    assert "Read-only file system" in out.stderr


@each_engine
def test_a_server_in_the_background_and_a_compiler(bench: Bench, way: Way) -> None:
    needs("bindfs", "fusermount3", "git", "gcc")
    bench.prepare = lay
    script = r"""
        git() { command git -c user.name=a -c user.email=b "$@"; }
        bindfs source mnt && cd mnt && git init -q . && git add . && git commit -qm first
        git status --short; git fsck 2>&1; git log --format=%s
        printf 'int main(void) { return 42; }' > m.c && gcc -o m m.c && ./m; echo $?
        cd .. && fusermount3 -u mnt && ls mnt
        """
    out = bench.inside(way, ["bash", "-c", script])
    assert (out.stdout, out.stderr) == ("first\n42\n", "")


@each_engine
@pytest.mark.parametrize("server", ["bindfs -f -s", "fuse-overlayfs -f -o lowerdir=source", "squashfuse -f"])
def test_a_server_that_is_unmounted_ends_well_and_unmounts_nothing_else(
    bench: Bench, way: Way, server: str
) -> None:
    needs("mksquashfs")
    what = {"bindfs": "source mnt", "fuse-overlayfs": "mnt", "squashfuse": "image mnt"}[server.split()[0]]
    script = """
        mksquashfs source image -quiet -no-progress
        exec 2>&1
        for round in 1 2 3; do
            stop; serve SERVER; cat mnt/file
        done
        """.replace("SERVER", f"{server} {what}")
    out = serve(bench, way, "bindfs -f source mnt", script)
    said = [line for line in out.stdout.splitlines() if not line.startswith("unknown argument ignored")]
    assert said == ["content"] * 3


@each_engine
def test_mounts_on_each_other_and_one_that_is_still_in_use(bench: Bench, way: Way) -> None:
    """What was unmounted lazily ends when the last program has closed it, without any other call."""
    script = """
        mkdir other; echo other > other/file
        first=$server; bindfs -f -o nonempty other mnt 2>&1 & server=$!
        for i in $(seq 600); do grep -q other mnt/file && break; sleep 0.05; done
        cat mnt/file; stop; cat mnt/file; server=$first
        exec 3<mnt/file; fusermount3 -u mnt 2>/dev/null; echo $?; fusermount3 -u -z mnt; ls mnt
        cat <&3; kill -0 $server && echo it serves; exec 3<&-; wait $server; echo $?
        """
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    assert out.stdout.splitlines() == ["other", "content", "1", "content", "it serves", "0"]


CLONING = r"""
import ctypes, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
first, second = os.open("/dev/fuse", os.O_RDWR), os.open("/dev/fuse", os.O_RDWR)
def clone(new, of):
    try:
        return fcntl.ioctl(new, 0x8004E500, struct.pack("I", of)) and "done"
    except OSError as error:
        return os.strerror(error.errno)
options = b"fd=%d,rootmode=40000,user_id=%d,group_id=%d" % (first, os.getuid(), os.getgid())
assert not libc.mount(b"test", b"mnt", b"fuse", 0, options)
print(clone(second, 0), clone(0, first), clone(second, 99), clone(second, first), sep="; ")
print(fcntl.fcntl(second, fcntl.F_GETFD), struct.unpack_from("=II", os.read(second, 1 << 17))[1])
assert not libc.umount2(b"mnt", 2)
try:
    os.read(second, 1 << 17)
except OSError as error:
    print(os.strerror(error.errno))
"""


@each_engine
def test_a_device_is_cloned_and_is_gone_with_its_mount(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    out = bench.inside(way, [sys.executable, "-c", CLONING])
    answers = "Invalid argument; Inappropriate ioctl for device; Invalid argument; done"
    assert (out.stdout.splitlines(), out.stderr) == ([answers, "1 26", "No such device"], "")


REUSING = r"""
import ctypes, os, tempfile
libc = ctypes.CDLL(None, use_errno=True)
for name in range(20):
    os.mkdir(f"mnt/{name}")
    os.close(os.open(f"mnt/{name}", os.O_RDONLY))
    os.symlink("target", f"mnt/{name}/link")
    os.close(os.open(f"mnt/{name}/link", os.O_PATH | os.O_NOFOLLOW))
    os.mkfifo(f"mnt/{name}/fifo")
    os.close(os.open(f"mnt/{name}/fifo", os.O_RDWR))
for name in range(20):
    for one in ("link", "fifo"):
        os.remove(f"mnt/{name}/{one}")
    os.rmdir(f"mnt/{name}")
held = [tempfile.TemporaryFile() for _ in range(200)]
print(os.strerror(ctypes.get_errno()) if libc.umount2(b"mnt", 0) else "unmounted", os.listdir("mnt"))
"""


@each_engine
def test_files_that_get_the_numbers_of_what_was_removed_do_not_keep_a_mount_busy(
    bench: Bench, way: Way
) -> None:
    """The kernel gives the number of an inode that is gone to the next one."""
    script = f"{sys.executable} -c {shlex.quote(REUSING)}; wait $server"
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    assert (out.stdout, out.stderr) == ("unmounted []\n", "")


@needs_notify
def test_a_server_that_another_debugs_reads_the_end_of_the_file(bench: Bench) -> None:
    needs("strace", "bindfs")
    out = serve(bench, GROWING.on(NOTIFY), "strace -o /dev/null bindfs -f -s source mnt", "cat mnt/file")
    assert out.stdout.startswith("content\nit ended with ")


@each_engine
def test_a_server_that_is_killed_leaves_errors_and_no_hang(bench: Bench, way: Way) -> None:
    script = """
        exec 3<mnt/file
        kill -9 $server; wait $server 2>/dev/null
        cat mnt/file; ls mnt; echo x > mnt/new; read line <&3; echo $line
        fusermount3 -u -z mnt; ls -d mnt
        """
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    assert out.stdout == "content\nmnt\n"
    assert out.stderr.count("Transport endpoint is not connected") >= 3


@each_engine
def test_the_type_of_the_file_system_is_fuse(bench: Bench, way: Way) -> None:
    out = serve(bench, way, "bindfs -f source mnt", "stat -f -c %T mnt mnt/file; stat -f -c %t mnt")
    assert out.stdout == "fuseblk\nfuseblk\n65735546\n"


@each_engine
def test_a_server_ends_with_the_last_namespace_that_has_its_mount(bench: Bench, way: Way) -> None:
    """Which nobody unmounts there: its process just ends, after the mount is gone elsewhere."""
    script = """
        mkfifo ready more
        unshare -m sh -c 'echo >ready; read -r line <more; cat mnt/file' & other=$!
        read -r line <ready; fusermount3 -u mnt; ls mnt
        echo >more; wait $other; wait $server; echo "it ended with $?"
        """
    out = serve(bench, way, "bindfs -f source mnt", script, stop=False)
    assert out.lines == ["content", "it ended with 0"]
