"""Calls in FUSE mounts are judged where the kernel's FUSE has them judged: by the server, or by the kernel.

Each test is run by a program of Python (`behaviour.served`).
"""

from __future__ import annotations

from behaviour.served import Handles, Served


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
