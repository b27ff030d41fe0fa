"""A class written for fusepy, mounted as it is, under programs."""

from __future__ import annotations

from pathlib import Path

from behaviour.harness import Bench, Way, each_way, run_with

# As fusepy's own example: calling the object puts a directory before all paths.
LOOPBACK = r"""
import os

class Loopback:
    def __init__(self, root): self.root = os.path.realpath(root)
    def __call__(self, op, path, *args): return getattr(self, op)(self.root + path, *args)
    def getattr(self, path, fh=None):
        found = os.lstat(path)
        names = "st_mode st_size st_uid st_gid st_nlink st_mtime st_atime st_ctime st_blocks".split()
        return {name: getattr(found, name) for name in names}
    def readdir(self, path, fh): return [".", "..", *os.listdir(path)]
    def readlink(self, path): return os.readlink(path) if os.path.islink(path) else "no link at all"
    def open(self, path, flags): return os.open(path, flags)
    def create(self, path, mode): return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    def read(self, path, size, offset, fh): return os.pread(fh, size, offset)
    def write(self, path, data, offset, fh): return os.pwrite(fh, data, offset)
    def truncate(self, path, length, fh=None): os.truncate(path, length)
    def release(self, path, fh): os.close(fh)
    def mkdir(self, path, mode): os.mkdir(path, mode)
    def rmdir(self, path): os.rmdir(path)
    def unlink(self, path): os.unlink(path)
    def rename(self, old, new): os.rename(old, self.root + new)
    def symlink(self, target, source): os.symlink(source, target)
    def chmod(self, path, mode): os.chmod(path, mode & 0o7777)
    def utimens(self, path, times=None): os.utime(path, times)
"""

SCRIPT = r"""
cat file; readlink link; readlink file; echo $?
echo one > new; echo two >> new; mkdir d; mv new d/moved; cat d/moved; ln -s moved d/link; cat d/link
chmod 600 d/moved; touch -d 2020-02-02 d/moved; stat -c '%a %Y' d/moved; truncate -s 3 d/moved
cat d/moved; echo; rm -r d; ls; printf '#!/bin/sh\necho it runs\n' > program; chmod +x program; ./program
"""


def lay(work: Path) -> None:
    (work / "loopback.py").write_text(LOOPBACK)
    (work / "source").mkdir()
    (work / "source/file").write_text("content\n")
    (work / "source/link").symlink_to("file")


@each_way(run_with("--mount", "py:./loopback.py:Loopback('source')=/mnt"))
def test_a_loopback(bench: Bench, way: Way) -> None:
    bench.prepare = lay
    expected = bench.native(["sh", "-c", f"cd source; TZ=UTC; export TZ{SCRIPT}"])
    found = bench.inside(way, ["sh", "-c", f"cd /mnt; TZ=UTC; export TZ{SCRIPT}"])
    assert found == expected
    assert (bench.work / "source/program").exists()
    assert "it runs" in found.lines
