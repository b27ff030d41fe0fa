"""Registrations: writes texts to `register` in a directory, the argument, and tells what came of each.

To be run where the kernel's binfmt_misc is mounted; texts come as lines of Python literals, so do answers:
the errno, and the name and content of the file that is there then.
"""

from __future__ import annotations

import ast
import os
import sys

MOUNTED = os.fsencode(sys.argv[1])
OWN = {b"register", b"status"}


def write(name: bytes, text: bytes) -> int:
    fd = os.open(MOUNTED + b"/" + name, os.O_WRONLY)
    try:
        os.write(fd, text)
        return 0
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(fd)


for line in sys.stdin:
    result = write(b"register", ast.literal_eval(line))
    shown = None
    for name in set(os.listdir(MOUNTED)) - OWN:
        with open(MOUNTED + b"/" + name, "rb") as file:
            shown = name, file.read()
        assert write(name, b"-1") == 0
    print((result, shown))
