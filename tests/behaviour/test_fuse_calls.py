"""Calls in FUSE mounts are judged where the kernel's FUSE has them judged: by the server, or by the kernel.

Each test is run by a program of Python (`behaviour.served`).
"""

from __future__ import annotations

from behaviour.served import Handles, Served


def test_times_are_those_that_the_server_keeps(served: Served) -> None:
    """This one keeps no fractions, and tells so."""
    script = """
        with open("mnt/file", "w") as file:
            file.write("content")
        print(os.stat("mnt/file").st_mtime_ns % 10**9)
        os.utime("mnt/file", ns=(10**18, 10**18 + 7))
        print(os.stat("mnt/file").st_mtime_ns)
        with open("mnt/file", "a") as file:
            file.write(" and more")
            file.flush()
            print(os.stat("mnt/file").st_size)
        print(os.stat("mnt/file").st_mtime_ns % 10**9, os.stat("mnt/file").st_size)
    """
    assert served.run(script) == ["0", str(10**18), "16", "0 16"]


def test_what_cannot_be_written_since_it_is_run_is_not_open_at_the_server(served: Served) -> None:
    """Who has tried ends without another call that is seen, and others go on."""
    handles = Handles(served.server)
    script = """
        subprocess.run(["cp", "/bin/sleep", "mnt/program"])
        program = subprocess.Popen(["mnt/program", "1000"])
        print(subprocess.run(["sh", "-c", "echo >> mnt/program"], stderr=subprocess.PIPE).returncode)
        os.unlink("mnt/program")
        program.kill()
        program.wait()
        os.mkdir("mnt/ended")
        sys.stdin.read()
    """
    program = served.start(script)
    served.wait(lambda: b"ended" in served.server.nodes[1].children)
    served.wait(lambda: len(handles.released) == len(handles.flags))
    assert program.communicate(timeout=50) == (b"2\n", b"")
