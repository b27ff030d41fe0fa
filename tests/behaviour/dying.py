"""A program that uses a FUSE mount in all ways while its server is killed: `dying.py ROUNDS SEED`.

It says what was not as it should be: an error that is not that of a server which is gone, a file that was
synced and is not there, somebody who waits for ever.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

GONE = (errno.ENOTCONN, errno.ECONNABORTED)
SOURCE, MOUNT = Path("source"), Path("mnt")
PATIENCE = 60


class Round:
    """One life of a server, and those who use it."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.rng = rng
        self.number = number
        self.synced: dict[str, bytes] = {}
        self.wrong: list[str] = []
        self.server = subprocess.Popen(["bindfs", "-f", SOURCE, MOUNT], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not is_mounted():
            if time.monotonic() > deadline:
                raise SystemExit("it does not mount")
            time.sleep(0.01)

    def run(self) -> list[str]:
        ways = [self.write, self.append, self.read, self.look, self.move]
        users = [threading.Thread(target=self.use, args=(way, self.rng.randrange(1 << 30))) for way in ways]
        for user in users:
            user.start()
        time.sleep(self.rng.random() * 0.4)
        self.server.kill()
        self.server.wait()
        for user in users:
            user.join(PATIENCE)
            if user.is_alive():
                faulthandler.dump_traceback()
                raise SystemExit(f"round {self.number}: somebody waits for ever")
        subprocess.run(["fusermount3", "-u", "-z", MOUNT], check=True, timeout=PATIENCE)
        for name, content in self.synced.items():
            if not (SOURCE / name).read_bytes().startswith(content):
                self.wrong.append(f"{name} was synced and is not there")
        return self.wrong

    def use(self, way: Callable[[random.Random, int], None], seed: int) -> None:
        rng = random.Random(seed)
        step = 0
        while True:
            step += 1
            try:
                way(rng, step)
            except OSError as error:
                if error.errno not in GONE:
                    self.wrong.append(f"{way.__name__}: {error}")
                return

    def write(self, rng: random.Random, step: int) -> None:
        name, content = f"w{self.number}.{step}", rng.randbytes(rng.choice((10, 5000, 300_000)))
        fd = os.open(MOUNT / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            os.write(fd, content)
            os.fsync(fd)
            self.synced[name] = content
        finally:
            os.close(fd)

    def append(self, rng: random.Random, step: int) -> None:
        name = f"a{self.number}"
        fd = os.open(MOUNT / name, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(fd, b"%9d\n" % step)
            os.fsync(fd)
            self.synced[name] = self.synced.get(name, b"") + b"%9d\n" % step
        finally:
            os.close(fd)

    def read(self, rng: random.Random, step: int) -> None:
        if (MOUNT / "large").read_bytes() != bytes(range(256)) * 2000:
            self.wrong.append("what was read is something else")

    def look(self, rng: random.Random, step: int) -> None:
        for name in os.listdir(MOUNT):
            try:
                os.stat(MOUNT / name)
            except FileNotFoundError:
                if not name.startswith("d"):
                    raise

    def move(self, rng: random.Random, step: int) -> None:
        one, other = MOUNT / f"d{self.number}.{step}", MOUNT / f"d{self.number}.{step}.moved"
        one.mkdir()
        one.rename(other)
        other.rmdir()


def is_mounted() -> bool:
    return any(line.split()[1] == str(MOUNT.absolute()) for line in open("/proc/self/mounts"))


def main() -> None:
    rounds, seed = map(int, sys.argv[1:])
    rng = random.Random(seed)
    (SOURCE / "large").write_bytes(bytes(range(256)) * 2000)
    wrong = [f"round {number}: {what}" for number in range(rounds) for what in Round(rng, number).run()]
    print("\n".join(wrong) or f"{rounds} rounds", flush=True)


if __name__ == "__main__":
    main()
