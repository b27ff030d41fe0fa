"""Mounting from inside a view that grows, as from inside a mount namespace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import diorama
from behaviour.mounting import PRELUDE, WALK, in_view, lay, native_run, natively, outcome, view_run
from behaviour.programs import Programs
from diorama.interfaces.tree import Tree

SAME = {
    "a bind shows a directory and is taken away": """
bind("a", "mnt"); show("mnt"); show("mnt/sub/file"); write("mnt/new"); show("a/new")
umount("mnt"); show("mnt"); umount("mnt")
""",
    "a mount on the root shows in tables that are open, and nowhere else": """
bind("a", "mnt"); bind("b", "mnt/sub"); sys.stdout.flush()
if not os.fork():
    print(libc.unshare(0x20000)); os.chdir("mnt")
    table, read = open("/proc/self/mounts"), open("/proc/self/mountinfo")
    before = len(read.readlines())
    bind(".", "/", MS_REC)
    print([line.split()[1] for line in table.readlines()[before:]], [line.split()[4] for line in read])
    print(os.path.exists("/sub"), os.path.exists("/proc/self")); sys.stdout.flush()
    os._exit(0)
os.wait(); umount("mnt/sub"); umount("mnt")
""",
    "a mount on the root shows to whoever shares a table": """
bind("a", "mnt"); sys.stdout.flush()
if not os.fork():
    print(libc.unshare(0x20000)); os.chdir("mnt")
    table, (made, done) = os.open("/proc/self/mounts", os.O_RDONLY), os.pipe()
    while os.read(table, 1 << 16):
        pass
    sys.stdout.flush()
    if not os.fork():
        os.read(made, 1); other = os.dup(table)
        print([line.split()[1] for line in os.read(other, 1 << 16).splitlines()], os.read(table, 10))
        sys.stdout.flush(); os._exit(0)
    bind(".", "/", MS_REC); sys.stdout.flush(); os.write(done, b"x"); os.wait()
    print(os.read(table, 10)); sys.stdout.flush(); os._exit(0)
os.wait(); umount("mnt")
""",
    "a mount on the root is made where a table cannot be made anew": """
bind("a", "mnt"); sys.stdout.flush()
if not os.fork():
    import resource
    print(libc.unshare(0x20000)); os.chdir("mnt")
    table = open("/proc/self/mounts")
    resource.setrlimit(resource.RLIMIT_NOFILE, (table.fileno() + 1,) * 2)
    bind(".", "/", MS_REC); sys.stdout.flush()
    os._exit(0)
os.wait(); umount("mnt")
""",
    "mounts stack": """
bind("a", "mnt"); bind("b", "mnt"); show("mnt"); umount("mnt"); show("mnt"); umount("mnt"); show("mnt")
""",
    "a file on a file": """
bind("a/file", "plain"); show("plain"); bind("a", "plain"); bind("plain", "mnt"); umount("plain")
show("plain")
""",
    "mistakes": """
bind("nothing", "mnt"); bind("a", "nothing"); bind("plain/x", "mnt"); bind("a", "plain/x"); bind("", "mnt")
bind(None, "mnt"); bind("a", ""); mount("x", "mnt"); mount("x", "mnt", "nosuchtype")
mount("a", "mnt", None, MS_MOVE)
umount("nothing"); umount("a"); umount("plain"); umount("mnt", 0x40); umount("")
mount(None, "mnt", None, MS_REMOUNT | MS_BIND); mount(None, "mnt", None, MS_PRIVATE)
mount("/x", "mnt", None, MS_MOVE); mount("", "mnt", None, MS_MOVE); umount("a/sub", MNT_DETACH)
""",
    "a plain bind leaves out what is mounted below, a recursive one copies it": """
bind("b", "a/sub"); bind("a", "mnt"); show("mnt/sub"); umount("mnt")
bind("a", "mnt", MS_REC); show("mnt/sub"); umount("mnt"); umount("mnt/sub"); umount("mnt"); show("a/sub")
umount("a/sub"); show("a/sub")
""",
    "a mount moves with what is mounted on it": """
bind("a", "mnt"); bind("b", "mnt/sub"); mount("mnt", "mnt2", None, MS_MOVE)
show("mnt"); show("mnt2"); show("mnt2/sub"); mount("mnt2", "mnt2/sub", None, MS_MOVE)
mount("mnt2", "plain", None, MS_MOVE); mount("mnt2/sub", "mnt", None, MS_MOVE); show("mnt"); show("mnt2/sub")
umount("mnt2"); umount("mnt")
""",
    "what is in use is busy": """
bind("a", "mnt"); bind("b", "mnt/sub"); umount("mnt"); umount("mnt/sub")
os.chdir("mnt"); umount("../mnt"); umount("."); os.chdir(".."); show("mnt")
os.chdir(os.path.dirname(os.path.abspath("a"))); fd = os.open("mnt/sub", os.O_RDONLY)
umount("mnt"); os.close(fd); umount("mnt")
""",
    "a lazy unmount lets those go on who are in it": """
bind("a", "mnt"); bind("b", "mnt/sub"); fd = os.open("mnt", os.O_RDONLY)
umount("mnt", MNT_DETACH); show("mnt"); print(sorted(os.listdir(fd)))
os.fchdir(fd); show("file"); show("sub"); show(".."); print(os.path.exists("../mnt"))
""",
    "who stands in a lazily unmounted directory is nowhere": """
bind("a", "mnt"); os.chdir("mnt/sub"); umount("../../mnt", MNT_DETACH)
buffer = ctypes.create_string_buffer(4096)
libc.syscall(79 if os.uname().machine == "x86_64" else 17, buffer, 4096); print(buffer.value)
show("file"); show("../file"); show("../../..")
""",
    "links on the way to a target": """
bind("a", "link"); show("mnt"); umount("link", UMOUNT_NOFOLLOW); umount("link"); show("mnt")
""",
    "what was taken away lazily is in no namespace any more": """
bind("a", "mnt"); os.chdir("mnt/sub"); top = os.path.abspath("../..")
umount(top + "/mnt", MNT_DETACH)
bind(top + "/b", "."); mount("none", ".", "tmpfs"); bind(".", top + "/c"); umount(".")
umount("..", MNT_DETACH)
mount(None, "..", None, MS_REMOUNT | MS_BIND); mount(None, "..", None, MS_PRIVATE)
bind(top + "/c", top + "/b"); mount(top + "/b", ".", None, MS_MOVE)
""",
    "what is on top of a directory is unmounted by its name": """
bind(".", "../work"); umount("."); bind("a", "b/.."); show("."); umount("b/.."); umount(".")
""",
    "names in two file systems": """
mount("none", "mnt", "tmpfs"); print(os.listdir("mnt"))
for one, other in (("plain/x", "mnt/x"), ("none/x", "mnt/none/x"), ("mnt/x", "plain/x"), ("a/file", "mnt/x")):
    try:
        os.rename(one, other)
    except OSError as error:
        print(one, other, errno.errorcode[error.errno])
""",
    "a mount that nobody has used between two tries expires": """
bind("a", "mnt"); umount("mnt", MNT_EXPIRE | MNT_DETACH); umount("mnt", MNT_EXPIRE)
umount("mnt", MNT_EXPIRE); umount("mnt")
""",
    "read-only by remounting": """
bind("a", "mnt"); mount(None, "mnt", None, MS_REMOUNT | MS_BIND | MS_RDONLY)
write("mnt/file"); write("a/file"); bind("mnt", "mnt2"); write("mnt2/file"); umount("mnt2")
mount(None, "mnt", None, MS_REMOUNT | MS_BIND); write("mnt/file"); umount("mnt")
""",
    "a memory file system": """
mount("none", "mnt", "tmpfs"); show("mnt"); write("mnt/new"); show("mnt/new"); os.mkdir("mnt/d")
bind("mnt/d", "mnt2"); write("mnt2/inner"); show("mnt/d/inner"); umount("mnt2"); umount("mnt"); show("mnt")
""",
    "children see what their parents have mounted, and the reverse": """
bind("a", "mnt")
if not os.fork():
    show("mnt"); bind("b", "mnt2"); sys.stdout.flush(); os._exit(0)
os.wait(); show("mnt2")
""",
    "a namespace of one's own is a copy": """
bind("a", "mnt"); os.chdir("mnt/sub"); sys.stdout.flush()
if not os.fork():
    print(libc.unshare(0x20000)); top = os.path.abspath("../..")
    show("file"); show(".."); bind(top + "/b", top + "/mnt2"); umount(top + "/mnt", MNT_DETACH)
    show(top + "/mnt"); show(top + "/mnt2"); show("../file"); sys.stdout.flush()
    if not os.fork():
        show(top + "/mnt2"); sys.stdout.flush(); os._exit(0)
    os.wait(); os._exit(0)
os.wait(); os.chdir("../.."); show("mnt"); show("mnt2")
""",
}


@pytest.mark.parametrize("name", SAME)
def test_as_the_kernel_does(name: str, engine: str, tmp_path: Path) -> None:
    expected = natively(SAME[name], tmp_path / "work")
    assert in_view(SAME[name], tmp_path / "work", engine) == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_walk_by_chance_ends_where_the_kernel_says(seed: int, engine: str, tmp_path: Path) -> None:
    script = f"{WALK}\nwalk({seed}, 80)"
    expected = natively(script, tmp_path / "work")
    shutil.rmtree(tmp_path / "work")
    assert in_view(script, tmp_path / "work", engine) == expected


def archive(path: Path, **members: str | bytes) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/"), content)


NESTED = """
mount("outer.zip", "mnt", "zip"); show("mnt"); show("mnt/d")
mount("mnt/inner.zip", "mnt2", "zip"); show("mnt2/side"); show("mnt2")
bind("mnt/d", "b"); show("b"); show("b/e/f"); show("b/../b/e"); bind("b/e/f", "plain"); show("plain")
print(os.stat("b").st_dev == os.stat("mnt/d").st_dev, os.stat("b").st_ino == os.stat("mnt/d").st_ino)
os.chdir("b/e"); show("../e"); print(sorted(os.listdir("../.."))); os.chdir("../..")
write("b/e/f"); umount("mnt"); umount("mnt", MNT_DETACH); show("mnt"); show("b/e/f"); show("mnt2/side")
mount(None, "mnt2", None, MS_REMOUNT | MS_BIND); mount("mnt2/nothing", "mnt", "zip")
mount("a/file", "mnt", "zip"); mount("mnt2", "mnt", "zip"); mount("zip:outer.zip", "mnt", "diorama")
show("mnt"); mount("a", "c", "diorama", 0, "ro")
write("c/file"); mount("outer.zip", "mnt", "zip", 0, "nonsense")
"""


def test_archives_in_archives_and_parts_of_them(engine: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    outer, inner = tmp_path / "outer.zip", tmp_path / "inner.zip"
    archive(inner, side="inner\n")
    archive(outer, d__e__f="text\n", **{"inner.zip": inner.read_bytes()})
    script = NESTED.replace("outer.zip", "../outer.zip")
    told = in_view(script, work, engine)
    assert told == """mount ../outer.zip mnt zip done
mnt ['d', 'inner.zip']
mnt/d ['e']
mount mnt/inner.zip mnt2 zip done
mnt2/side inner

mnt2 ['side']
mount mnt/d b None done
b ['e']
b/e/f text

b/../b/e ['f']
mount b/e/f plain None done
plain text

True True
../e ['f']
['a', 'b', 'c', 'link', 'mnt', 'mnt2', 'plain']
b/e/f EROFS
umount mnt 0 done
umount mnt 2 EINVAL
mnt []
b/e/f text

mnt2/side inner

mount None mnt2 None EROFS
mount mnt2/nothing mnt zip ENOENT
mount a/file mnt zip EINVAL
mount mnt2 mnt zip EISDIR
mount zip:../outer.zip mnt diorama done
mnt ['d', 'inner.zip']
mount a c diorama done
c/file EROFS
mount ../outer.zip mnt zip EINVAL""".splitlines()


def made(text: bytes) -> Tree:
    tree = Tree("made")
    tree.add_file(b"f", text)
    return tree


def test_the_library_unmounts_while_programs_run(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)
    script = "cd mnt; cat f; echo asked; read -r; cat f 2>&1; cat ../mnt/f $OLDPWD/mnt/f 2>&1"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        view.mount(made(b"first\n"), tmp_path / "mnt")
        with view.Popen(["bash", "-c", script], **pipes) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["first\n", "asked\n"]
            with pytest.raises(diorama.UsageError, match="busy"):
                view.unmount(tmp_path / "mnt")
            view.unmount(tmp_path / "mnt", lazy=True)
            with pytest.raises(diorama.UsageError, match="nothing is mounted there"):
                view.unmount(tmp_path / "mnt")
            out, _ = process.communicate("\n", timeout=50)
    complaint = "No such file or directory"
    assert out == f"first\ncat: ../mnt/f: {complaint}\ncat: {tmp_path}/mnt/f: {complaint}\n"


def test_a_file_system_is_closed_when_the_last_mount_of_it_is_gone(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)

    class Closing(Tree):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    trees = [Closing("test") for _ in range(3)]
    for tree in trees:
        tree.add_file(b"d/f", b"text\n")
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        for tree, target in zip(trees, ("mnt", "mnt2", "b"), strict=True):
            view.mount(tree, tmp_path / target)
        view.mount(str(tmp_path / "mnt/d"), tmp_path / "c")
        with view.Popen(["sleep", "60"], cwd=tmp_path / "mnt2") as process:
            view.unmount(tmp_path / "mnt")
            view.unmount(tmp_path / "mnt2", lazy=True)
            assert [tree.closed for tree in trees] == [0, 0, 0]
            process.kill()
            process.wait_all()
        view.unmount(tmp_path / "c")
        assert [tree.closed for tree in trees] == [1, 1, 0]
    assert [tree.closed for tree in trees] == [1, 1, 1]


def test_a_view_that_does_not_grow_mounts_what_its_filter_is_made_for(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)
    archive(tmp_path / "a.zip", name="text\n")
    script = 'bind("a", "mnt2"); show("mnt2"); mount("a.zip", "b", "zip"); show("b"); umount("mnt2")'
    with diorama.View(engine=engine, strict=True) as view:
        view.mount(str(tmp_path / "c"), tmp_path / "mnt")
        command = [sys.executable, "-c", PRELUDE + script]
        done = view.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert outcome(done) == [
        "mount a mnt2 None done",
        "mnt2 ['file', 'sub']",
        "mount a.zip b zip EPERM",
        "b ['only']",
        "umount mnt2 0 done",
    ]


def test_sources_are_found_as_the_mounts_before_have_left_the_tree(tmp_path: Path) -> None:
    lay(tmp_path)
    archive(tmp_path / "inner.zip", side="inner\n")
    archive(tmp_path / "a.zip", d__f="text\n", **{"inner.zip": (tmp_path / "inner.zip").read_bytes()})
    with diorama.View(grows=True, strict=True) as view:
        view.mount(f"zip:{tmp_path}/a.zip", tmp_path / "mnt")
        view.mount(f"zip:{tmp_path}/mnt/inner.zip", tmp_path / "mnt2")
        view.mount(tmp_path / "mnt/d", tmp_path / "b")
        view.mount(str(tmp_path / "b"), tmp_path / "c")
        done = view.run(["cat", "mnt2/side", "b/f", "c/f"], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout == "inner\ntext\ntext\n"
        with pytest.raises(diorama.UsageError, match=r"cannot mount .*/mnt/none: no such file"):
            view.mount(tmp_path / "mnt/none", tmp_path / "b")
        with pytest.raises(diorama.UsageError, match=r"cannot mount zip:.*/mnt/d: is a directory"):
            view.mount(f"zip:{tmp_path}/mnt/d", tmp_path / "b")


def test_submounts_come_along_and_mounts_move_when_that_is_asked_for(tmp_path: Path) -> None:
    lay(tmp_path)
    with diorama.View(grows=True, strict=True) as view:
        view.mount(made(b"made\n"), tmp_path / "a/sub")
        view.mount(str(tmp_path / "a"), tmp_path / "mnt", "rbind")
        view.mount(str(tmp_path / "a"), tmp_path / "mnt2")
        view.mount(str(tmp_path / "a/sub"), tmp_path / "c", "move")
        command = ["sh", "-c", "cat mnt/sub/f c/f; ls mnt2/sub a/sub"]
        done = view.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout == "made\nmade\na/sub:\ndeep\nfile\n\nmnt2/sub:\ndeep\nfile\n"
        with pytest.raises(diorama.UsageError, match="nothing is mounted there"):
            view.mount(str(tmp_path / "b"), tmp_path / "c", "move")


def test_the_mounts_of_the_host_are_not_the_views(engine: str, tmp_path: Path) -> None:
    script = 'umount("/proc"); mount("/proc", "mnt", None, MS_MOVE); mount(None, "/proc", None, MS_REMOUNT)'
    told = in_view(script, tmp_path / "work", engine)
    assert told == ["umount /proc 0 EPERM", "mount /proc mnt None EPERM", "mount None /proc None EPERM"]


@pytest.mark.skipif(os.geteuid() == 0, reason="for the superuser mount(8) is tried without a user namespace")
def test_the_superuser_of_a_user_namespace_mounts_with_mount(engine: str, tmp_path: Path) -> None:
    natively("", tmp_path / "work")
    script = 'os.system("mount --bind a mnt; ls mnt; umount mnt; ls mnt; mount -t tmpfs none mnt && ls mnt")'
    assert in_view(script, tmp_path / "work", engine, "unshare", "-rm") == ["file", "sub"]


def test_the_calls_on_descriptors(engine: str, tmp_path: Path, programs: Programs) -> None:
    program = str(programs("new_mount_api"))
    expected = native_run([program, "."], tmp_path / "work")
    assert view_run([program, "."], tmp_path / "work", engine) == expected


def test_a_loose_mount_is_closed_with_its_last_descriptor(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)
    script = """
number = {"fsopen": 430, "fsconfig": 431, "fsmount": 432}
def make():
    fs = libc.syscall(number["fsopen"], b"diorama", 1)
    assert fs >= 0 and not libc.syscall(number["fsconfig"], fs, 1, b"source", b"zip:a.zip", 0)
    assert not libc.syscall(number["fsconfig"], fs, 6, None, None, 0)
    made = libc.syscall(number["fsmount"], fs, 1, 0)
    os.close(fs)
    return made
made = make(); show(f"/proc/self/fd/{made}"); os.close(made); umount("mnt")
made = make(); bind("a", "mnt"); umount("mnt"); show(f"/proc/self/fd/{made}/name")
"""
    archive(tmp_path / "a.zip", name="text\n")
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        command = [sys.executable, "-c", PRELUDE + script]
        done = view.run(command, cwd=tmp_path, capture_output=True, text=True)
        told = [line.rpartition("/")[2] for line in outcome(done) if "/proc/" in line]
        assert [line.partition(" ")[2] for line in told] == ["['name']", "text"]
        view.mount(made(b""), tmp_path / "mnt")
        view.unmount(tmp_path / "mnt")
        assert not open_here(tmp_path / "a.zip")


def open_here(path: Path) -> list[str]:
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.exists(link) and os.readlink(link) == str(path)]


COMMANDS = """
diorama mount zip:a.zip mnt; cat mnt/d/f; diorama mount -o ro zip:mnt/inner.zip mnt2; cat mnt2/side
diorama mount a c; ls c; diorama umount c mnt2; ls c mnt2
(cd mnt; diorama umount ../mnt; echo $?; diorama umount -l ../mnt; echo $?; cat d/f); ls mnt
diorama mount zip:none.zip mnt; diorama mount zip:a.zip none; diorama mount zip:a.zip mnt -o nonsense
diorama mount -t nosuch x mnt; diorama mount plain mnt; diorama umount mnt; echo $?
diorama mount a mnt; diorama mount --move mnt mnt2; ls mnt2; diorama mount --move mnt mnt2
diorama mount b mnt2/sub; diorama mount -o rbind mnt2 c; ls c/sub; touch c/sub/new && ls b
"""
TOLD = """text
inner
file
sub
c:
other

mnt2:
diorama: cannot unmount ../mnt: in use, by a process in it or by what is mounted on it; --lazy lets it go on
125
0
text
diorama: cannot mount zip:none.zip: no such file or directory
diorama: cannot mount zip:a.zip on none: no such file or directory
diorama: cannot mount zip:a.zip: unknown mount option 'nonsense'; known are ro, rw
diorama: cannot mount x: unknown file system type 'nosuch'
diorama: cannot mount plain on mnt: one of them is a directory
diorama: cannot unmount mnt: nothing is mounted there
125
file
sub
diorama: cannot move mnt to mnt2: mnt is no mount of the view
only
new
only
"""


def test_the_commands(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)
    archive(tmp_path / "inner.zip", side="inner\n")
    archive(tmp_path / "a.zip", d__f="text\n", **{"inner.zip": (tmp_path / "inner.zip").read_bytes()})
    script = f'diorama() {{ "{sys.executable}" -P -m diorama "$@"; }}\n{COMMANDS}'
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with view.Popen(["bash", "-c", script], cwd=tmp_path, **pipes) as process:
            told, _ = process.communicate(timeout=50)
    known = re.compile(r"(?<='nonsense'; known are ).*")
    assert known.sub("ro, rw", told) == TOLD


def test_the_commands_say_where_they_are_of_no_use(tmp_path: Path) -> None:
    lay(tmp_path)
    command = [sys.executable, "-P", "-m", "diorama", "mount", "a", "mnt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert "not inside a view" in done.stderr
    assert "diorama run --grow" in done.stderr


MOUNT = """
mount --bind a mnt; ls mnt; mount -o remount,bind,ro mnt; touch mnt/x; mount -t zip a.zip mnt2; ls mnt2
(cd mnt2; umount ../mnt2; umount -l ../mnt2; ls); ls mnt2; mount --rbind a mnt2; ls mnt2
umount mnt2 && umount mnt && ls mnt mnt2; mount -t zip none.zip mnt
"""


def test_mount_and_umount_of_the_system(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)
    archive(tmp_path / "a.zip", name="text\n")
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with view.Popen(["bash", "-c", MOUNT], cwd=tmp_path, **pipes) as process:
            told, _ = process.communicate(timeout=50)
    lines = told.splitlines()
    assert lines[:4] == ["file", "sub", "touch: cannot touch 'mnt/x': Read-only file system", "name"]
    assert lines[4].endswith("mnt2: target is busy.")
    assert lines[5:11] == ["name", "file", "sub", "mnt:", "", "mnt2:"]
    assert "none.zip does not exist" in lines[11]


NAMESPACES = """
os.system("unshare -m sh -c 'mount --bind a mnt; ls mnt; umount mnt; mount -t tmpfs none mnt2; ls mnt mnt2'")
show("mnt"); sys.stdout.flush()
if not libc.syscall(56, 0x20000 | 17, 0, 0, 0, 0):  # clone(CLONE_NEWNS | SIGCHLD), else as fork
    bind("a", "mnt"); show("mnt"); sys.stdout.flush(); os._exit(0)
os.wait()
show("mnt"); print(told(libc.syscall(56, 0x20000 | 0x200 | 17, 0, 0, 0, 0)))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the arguments of clone are those of x86-64")
def test_everybody_may_have_a_namespace_of_mounts(engine: str, tmp_path: Path) -> None:
    assert in_view(NAMESPACES, tmp_path / "work", engine) == [
        "file",
        "sub",
        "mnt:",
        "",
        "mnt2:",
        "mnt []",
        "mount a mnt None done",
        "mnt ['file', 'sub']",
        "mnt []",
        "EINVAL",
    ]


CROWD = """
import threading
def work(number):
    for turn in range(6):
        one = f"m{number}"
        for call in (lambda: libc.mount(b"a", one.encode(), None, MS_BIND, None),
                     lambda: libc.mount(b"a.zip", one.encode(), b"zip", 0, None)):
            assert call() == 0, os.strerror(ctypes.get_errno())
            assert os.listdir(one) in (["file", "sub"], ["sub", "file"], ["name"]), os.listdir(one)
        for _ in range(2):
            if libc.umount2(one.encode(), 0):
                assert ctypes.get_errno() == errno.EBUSY and not libc.umount2(one.encode(), MNT_DETACH)
        assert os.listdir(one) == []
for number in range(6):
    os.mkdir(f"m{number}")
for number in range(3):
    if not os.fork():
        work(2 * number); os._exit(0)
print([os.wait()[1] for _ in range(3)])
threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for one in threads: one.start()
for one in threads: one.join()
print([os.listdir(f"m{number}") for number in range(6)])
"""


def test_many_mount_at_once(engine: str, tmp_path: Path) -> None:
    lay(tmp_path)
    archive(tmp_path / "a.zip", name="text\n")
    with diorama.View(engine=engine, grows=True, strict=True) as view:
        command = [sys.executable, "-c", PRELUDE + CROWD]
        done = view.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
        assert not view.failures
    assert outcome(done) == ["[0, 0, 0]", "[[], [], [], [], [], []]"]


FORBIDDING = """
bind("/dev", "mnt"); write("mnt/null"); mount(None, "mnt", None, MS_REMOUNT | MS_BIND | 4); write("mnt/null")
show("mnt/null"); umount("mnt"); bind("/bin", "mnt"); print(os.system("mnt/true"))
mount(None, "mnt", None, MS_REMOUNT | MS_BIND | 8); print(os.system("mnt/true 2>/dev/null")); umount("mnt")
"""


def test_a_mount_forbids_devices_and_execution(engine: str, tmp_path: Path) -> None:
    told = in_view(FORBIDDING, tmp_path / "work", engine)
    assert [line.partition(" ")[2] or line for line in told] == [
        "/dev mnt None done",
        "written",
        "None mnt None done",
        "EACCES",
        "EACCES",
        "mnt 0 done",
        "/bin mnt None done",
        "0",
        "None mnt None done",
        str(126 << 8),
        "mnt 0 done",
    ]


LAYERED = """
os.mkdir("up"); os.mkdir("work"); bind("c", "a/sub")
mount("none", "mnt", "overlay", 0, "lowerdir=b:a/sub,upperdir=up,workdir=work"); show("mnt"); write("mnt/new")
bind("mnt", "mnt2"); write("mnt2/only"); show("up"); show("b/only"); umount("mnt"); umount("mnt2")
show("mnt")
mount("none", "mnt", "memory"); mount("none", "mnt2", "overlay", 0, "lowerdir=mnt")
"""


def test_layers_are_directories_as_the_view_has_them(engine: str, tmp_path: Path) -> None:
    assert in_view(LAYERED, tmp_path / "work", engine) == [
        "mount c a/sub None done",
        "mount none mnt overlay done",
        "mnt ['only', 'other']",
        "mnt/new written",
        "mount mnt mnt2 None done",
        "mnt2/only written",
        "up ['new', 'only']",
        "b/only b/only",
        "",
        "umount mnt 0 done",
        "umount mnt2 0 done",
        "mnt []",
        "mount none mnt memory done",
        "mount none mnt2 overlay EXDEV",
    ]
