"""Jobs: the work that people do: version control, builds, interpreters, archives."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from behaviour import harness
from behaviour.harness import TRACE, Bench, Way, run_with

each_way = harness.each_way(TRACE, run_with(module="every_result"))


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")


def script(text: str) -> list[str]:
    return ["bash", "-ec", text]


IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"), ("DATE", "2020-01-01T00:00:00Z"))
}


def make_repository(place: Path) -> None:
    run = ["git", "-C", str(place / "origin")]
    environment = os.environ | IDENTITY | {"HOME": str(place)}
    (place / "origin" / "folder").mkdir(parents=True)
    for number in range(30):
        (place / "origin" / "folder" / f"file{number}").write_text(f"text {number}\n" * number)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*run, *words], env=environment, check=True)


@each_way
def test_git_clones_commits_and_logs(bench: Bench, way: Way) -> None:
    needs("git")
    bench.prepare = make_repository
    bench.environment = IDENTITY
    found = bench.same(
        way,
        script(
            "git clone -q origin copy; cd copy; echo more >>folder/file3;"
            "git add -A; git commit -q -m second;"
            "git log --stat; git status; git gc -q; git fsck; git diff HEAD~1; git rev-parse HEAD"
        ),
    )
    assert "second" in found.stdout


def make_c_project(place: Path) -> None:
    for number in range(12):
        (place / f"part{number}.c").write_text(
            f"int part{number}(int x) {{ return x * {number} + {number}; }}\n"
        )
    calls = " + ".join(f"part{number}(2)" for number in range(12))
    declarations = "".join(f"int part{number}(int);\n" for number in range(12))
    (place / "main.c").write_text(
        f'#include <stdio.h>\n{declarations}int main(void) {{ printf("%d\\n", {calls}); return 0; }}\n'
    )
    (place / "Makefile").write_text(
        "objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))\n"
        "program: $(objects)\n\t@gcc -o $@ $^\n"
        "%.o: %.c\n\t@gcc -O2 -g0 -c -o $@ $<\n"
    )


@each_way
def test_make_builds_a_c_project_with_four_jobs(bench: Bench, way: Way) -> None:
    needs("make")
    bench.prepare = make_c_project
    found = bench.same(way, script("make -s -j4; ./program; sha256sum *.o | sort; make -s; echo again $?"))
    assert "198" in found.stdout


PYTHON = {
    "threads": """
        import threading, queue
        channel, results = queue.Queue(), []
        def work():
            while (item := channel.get()) is not None:
                results.append(open("/etc/passwd").read(item) and item * item)
        threads = [threading.Thread(target=work) for _ in range(8)]
        [thread.start() for thread in threads]
        [channel.put(n) for n in range(1, 200)]
        [channel.put(None) for _ in threads]
        [thread.join() for thread in threads]
        print(sum(results), len(results))
    """,
    "subprocess": """
        import subprocess, sys
        print(subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout)
        print(subprocess.run("exit 3", shell=True).returncode)
        start = lambda n: subprocess.Popen([sys.executable, "-Sc", f"print({n})"], stdout=subprocess.PIPE)
        many = [start(n) for n in range(6)]
        print([process.communicate()[0] for process in many])
        try: subprocess.run(["sleep", "9"], timeout=0.2)
        except subprocess.TimeoutExpired: print("timed out")
        try: subprocess.run(["/nowhere/at/all"])
        except FileNotFoundError as error: print(error)
    """,
    "asyncio": """
        import asyncio
        async def echo(reader, writer):
            writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
        async def ask(port, n):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"word {n}\\n".encode()); answer = await reader.readline(); writer.close()
            return answer
        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            print(await asyncio.gather(*(ask(port, n) for n in range(20))))
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            print(await process.communicate(b"through cat"))
            server.close(); await server.wait_closed()
        asyncio.run(main())
    """,
    "multiprocessing": """
        import multiprocessing
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(3) as pool:
                print(pool.map(abs, range(-50, 0)))
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                print(pool.map(abs, range(-9, 0)))
    """,
    "signals": """
        import os, signal, time
        caught = []
        signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        signal.signal(signal.SIGALRM, lambda *_: caught.append(2))
        os.kill(os.getpid(), signal.SIGUSR1)
        start = time.monotonic(); time.sleep(0.4)
        has_slept = time.monotonic() - start >= 0.4
        while caught.count(2) <= 3: signal.pause()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(has_slept, caught.count(1), caught.count(2) > 3)
    """,
}


@each_way
@pytest.mark.parametrize("name", PYTHON)
def test_python_behaves_as_outside(bench: Bench, name: str, way: Way) -> None:
    def prepare(place: Path) -> None:
        lines = PYTHON[name].splitlines()
        (place / "program.py").write_text("\n".join(line[8:] for line in lines))

    bench.prepare = prepare
    found = bench.same(way, ["python3", "program.py"])
    assert found.status == 0, found.stderr


@each_way
def test_node_behaves_as_outside(bench: Bench, way: Way) -> None:
    needs("node")
    program = """
        const fs = require('fs'), { execFileSync } = require('child_process');
        const { Worker } = require('worker_threads');
        console.log(execFileSync('echo', ['from a child']).toString());
        fs.readFile('/etc/passwd', (error, data) => console.log(error, data.length));
        const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
        worker.on('message', message => console.log(message));
        setTimeout(() => console.log('later'), 50);
    """
    expected = bench.native(["node", "-e", program])
    found = bench.inside(way, ["node", "-e", program])
    assert sorted(found.lines) == sorted(expected.lines)
    assert (found.stderr, found.status) == (expected.stderr, 0)


JAVA = """
import java.nio.file.*; import java.util.concurrent.*;
public class Main {
    public static void main(String[] words) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        Future<Long> sum = pool.submit(() -> { long s = 0; for (int i = 0; i < 99; i++) s += i; return s; });
        System.out.println(sum.get());
        System.out.println(Files.size(Path.of("/etc/passwd")) > 0);
        System.out.println(new ProcessBuilder("echo", "child").inheritIO().start().waitFor());
        pool.shutdown(); System.exit(3);
    }
}
"""


@pytest.mark.slow
@pytest.mark.timeout(150)
@each_way
def test_a_jvm_behaves_as_outside(bench: Bench, way: Way) -> None:
    needs("java")
    needs("javac")

    def prepare(place: Path) -> None:
        (place / "Main.java").write_text(JAVA)
        subprocess.run(["javac", "Main.java"], cwd=place, check=True)

    bench.prepare = prepare
    found = bench.same(way, ["java", "-XX:-UsePerfData", "-cp", ".", "Main"], limit=100)
    assert found.status == 3


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_dd_sort_and_tar_of_200_megabytes(bench: Bench) -> None:
    found = bench.same(
        TRACE,
        script(
            "seq -f '%.0f some words that make the line longer than its number' 1000000 4300000 >numbers;"
            "sort -r -S 40M numbers | sha256sum; mkdir copies;"
            "dd if=numbers of=copies/one bs=64k status=none;"
            "tar -cf - --mtime=@0 --owner=0 --group=0 --numeric-owner copies | sha256sum;"
            "tar -cf all.tar copies;"
            "mkdir out; tar -C out -xf all.tar; cmp numbers out/copies/one; stat -c %s numbers"
        ),
        limit=150,
    )
    assert int(found.lines[-1]) > 180 * 10**6
