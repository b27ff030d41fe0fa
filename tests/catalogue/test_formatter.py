"""Requests as text: the lines that strace(1) would write."""

from __future__ import annotations

import pytest

from catalogue.fakes import decoded, words
from diorama import calls
from diorama.abi import fcntl, process, signal
from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.signal import SigAction, SigSet
from diorama.abi.socket import Inet6Address, InetAddress, UnixAddress
from diorama.abi.stat import Stat
from diorama.abi.time import Timespec
from diorama.catalogue.formatter import call_text, fields, result_text
from diorama.catalogue.names import quote

P, Q, R = 0x3000, 0x4000, 0x5000
PATH = {P: b"/etc/passwd\0"}
X86 = Abi.X86_64


@pytest.mark.parametrize(
    ("name", "args", "contents", "text"),
    [
        ("openat", (AT_FDCWD, P, 0o2000000), PATH, 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)'),
        ("open", (P, 0o1101, 0o666), PATH, 'open("/etc/passwd", O_WRONLY|O_CREAT|O_TRUNC, 0666)'),
        ("creat", (P, 0o600), PATH, 'creat("/etc/passwd", 0600)'),
        ("lstat", (P, 0), PATH, 'lstat("/etc/passwd", NULL)'),
        ("access", (P, 4), PATH, 'access("/etc/passwd", R_OK)'),
        ("access", (P, 0), PATH, 'access("/etc/passwd", F_OK)'),
        ("access", (P, 6), PATH, 'access("/etc/passwd", W_OK|R_OK)'),
        ("write", (1, P, 11), PATH, 'write(1, "/etc/passwd", 11)'),
        ("write", (1, P, 40), {P: b"x" * 40}, f'write(1, "{"x" * 32}"..., 40)'),
        ("read", (0, P, 10), {}, "read(0, 0x3000, 10)"),
        ("close", (-1,), {}, "close(-1)"),
        ("getpid", (), {}, "getpid()"),
        ("lseek", (3, -5, 2), {}, "lseek(3, -5, SEEK_END)"),
        ("mmap", (0, 8192, 3, 0x22, -1, 0), {}, None),
        ("fcntl", (3, fcntl.F_GETFL, 99), {}, "fcntl(3, F_GETFL)"),
        ("fcntl", (3, fcntl.F_SETFL, 0o4001), {}, "fcntl(3, F_SETFL, O_WRONLY|O_NONBLOCK)"),
        ("fcntl", (3, fcntl.F_SETFD, 1), {}, "fcntl(3, F_SETFD, FD_CLOEXEC)"),
        ("fcntl", (3, fcntl.F_DUPFD_CLOEXEC, 10), {}, "fcntl(3, F_DUPFD_CLOEXEC, 10)"),
        ("fcntl", (3, fcntl.F_SETLK, P), {P: words(1, 5, 2, 0, word=2) + words(7, 9, word=8)}, None),
        ("ioctl", (0, 0x5401, P), {}, "ioctl(0, TCGETS, 0x3000)"),
        ("ioctl", (0, 0x80045430, P), {}, "ioctl(0, TIOCGPTN, 0x3000)"),
        ("ioctl", (0, 0xC0105A17, 0), {}, "ioctl(0, _IOC(_IOC_READ|_IOC_WRITE, 0x5a, 0x17, 0x10), NULL)"),
        ("kill", (41, 15), {}, "kill(41, SIGTERM)"),
        ("kill", (41, 34), {}, "kill(41, SIGRT_2)"),
        ("mkdir", (P, 0o777), PATH, 'mkdir("/etc/passwd", 0777)'),
        ("mknod", (P, 0o10644, 0x103), PATH, 'mknod("/etc/passwd", S_IFIFO|0644, makedev(0x1, 0x3))'),
        ("unlinkat", (AT_FDCWD, P, 0x200), PATH, 'unlinkat(AT_FDCWD, "/etc/passwd", AT_REMOVEDIR)'),
        ("clone", (0x1200011, 0, 0, 0, 0), {}, None),
        ("futex", (P, 129, 1), {}, "futex(0x3000, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)"),
        ("socket", (1, 0o2000001, 0), {}, "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0)"),
        ("prctl", (process.PR_SET_NAME, P), {}, "prctl(PR_SET_NAME, 12288, 0, 0, 0)"),
        ("rt_sigprocmask", (2, P, 0, 8), {P: words(1 << 16 | 1, word=8)}, None),
        ("nanosleep", (P, 0), {P: words(1, 500, word=8)}, "nanosleep({tv_sec=1, tv_nsec=500}, NULL)"),
        ("chown", (P, -1, 5), PATH, 'chown("/etc/passwd", -1, 5)'),
    ],
)
def test_a_call(name: str, args: tuple[int, ...], contents: dict[int, bytes], text: str | None) -> None:
    expected = text or {
        "mmap": "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)",
        "fcntl": "fcntl(3, F_SETLK, {l_type=F_WRLCK, l_whence=5, l_start=7, l_len=9})",
        "clone": "clone(CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, NULL, NULL, NULL, NULL)",
        "rt_sigprocmask": "rt_sigprocmask(SIG_SETMASK, [SIGHUP SIGCHLD], NULL, 8)",
    }[name]
    assert call_text(decoded(name, *args, contents=contents)) == expected


def test_what_a_call_fills_is_shown_when_it_is_done() -> None:
    read = decoded("read", 0, P, 100, contents={P: b"hello\n"})
    assert call_text(read) == "read(0, 0x3000, 100)"
    assert call_text(read, 6) == 'read(0, "hello\\n", 100)'
    assert call_text(read, -5) == "read(0, 0x3000, 100)"
    assert call_text(read, 0) == 'read(0, "", 100)'
    stat = decoded("fstat", 1, P)
    stat.status.write(Stat(st_mode=0o20620, st_rdev=0x8801))
    assert call_text(stat) == "fstat(1, 0x3000)"
    assert call_text(stat, 0) == "fstat(1, {st_mode=S_IFCHR|0620, st_rdev=makedev(0x88, 0x1), ...})"
    stat.status.write(Stat(st_mode=0o100644, st_size=1234))
    assert call_text(stat, 0) == "fstat(1, {st_mode=S_IFREG|0644, st_size=1234, ...})"
    pipe = decoded("pipe2", P, 0o2000000, contents={P: words(3, 4)})
    assert call_text(pipe, 0) == "pipe2([3, 4], O_CLOEXEC)"
    clock = decoded("clock_gettime", 1, P)
    clock.time.write(Timespec(5, 6))
    assert call_text(clock, 0) == "clock_gettime(CLOCK_MONOTONIC, {tv_sec=5, tv_nsec=6})"


def test_vectors() -> None:
    argv = {P: b"/bin/ls\0", Q: words(R, R + 8, 0, word=8), R: b"ls\0", R + 8: b"-l\0"}
    call = decoded("execve", P, Q, Q, contents=argv)
    assert call_text(call) == 'execve("/bin/ls", ["ls", "-l"], 0x4000 /* 2 vars */)'
    assert fields(call)["argv"] == ["ls", "-l"]
    pieces = {Q: words(R, 2, R + 8, 3, word=8), R: b"ab", R + 8: b"cde"}
    call = decoded("writev", 1, Q, 2, contents=pieces)
    assert call_text(call) == 'writev(1, [{iov_base="ab", iov_len=2}, {iov_base="cde", iov_len=3}], 2)'
    assert call.pieces.gather() == b"abcde"
    call = decoded("readv", 1, Q, 2, contents=pieces)
    assert call_text(call) == "readv(1, [{iov_base=0x5000, iov_len=2}, {iov_base=0x5008, iov_len=3}], 2)"
    call.pieces.scatter(b"wxyz")
    assert call_text(call, 4) == 'readv(1, [{iov_base="wx", iov_len=2}, {iov_base="yz", iov_len=3}], 2)'
    fds = {P: words(3) + words(1, 0, word=2)}
    assert call_text(decoded("poll", P, 1, 10, contents=fds)) == "poll([{fd=3, events=POLLIN}], 1, 10)"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (UnixAddress(b"/run/x"), '{sa_family=AF_UNIX, sun_path="/run/x"}'),
        (UnixAddress(b"\0abc"), '{sa_family=AF_UNIX, sun_path=@"abc"}'),
        (InetAddress("1.2.3.4", 8), '{sa_family=AF_INET, sin_port=htons(8), sin_addr=inet_addr("1.2.3.4")}'),
        (Inet6Address("::1", 80), None),
    ],
)
def test_addresses(address: UnixAddress | InetAddress | Inet6Address, text: str | None) -> None:
    data = address.pack()
    call = decoded("connect", 3, P, len(data), contents={P: data})
    expected = text or (
        '{sa_family=AF_INET6, sin6_port=htons(80), sin6_addr="::1", sin6_flowinfo=0, sin6_scope_id=0}'
    )
    assert call.address.parse() == address
    assert call_text(call) == f"connect(3, {expected}, {len(data)})"


def test_an_address_that_is_filled() -> None:
    call = decoded("getsockname", 3, P, Q, contents={Q: words(128)})
    call.address.write(UnixAddress(b"/run/x").pack())
    assert call_text(call, 0) == 'getsockname(3, {sa_family=AF_UNIX, sun_path="/run/x"}, [9])'
    assert call_text(call) == "getsockname(3, 0x3000, [9])"


def test_signal_handlers() -> None:
    call = decoded("rt_sigaction", signal.SIGINT, P, 0, 8)
    call.new.write(SigAction(1, signal.SA_RESTART, 0, 0))
    assert call_text(call) == (
        "rt_sigaction(SIGINT, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=SA_RESTART}, NULL, 8)"
    )
    full = SigSet(2**64 - 1 & ~1)
    call = decoded("rt_sigprocmask", 0, P, 0, 8)
    call.new.write(full)
    assert call_text(call) == "rt_sigprocmask(SIG_BLOCK, ~[SIGHUP], NULL, 8)"


def test_what_cannot_be_read_is_an_address() -> None:
    assert call_text(decoded("write", 1, 0x10, 5)) == "write(1, 0x10, 5)"
    assert call_text(decoded("nanosleep", 0x10, 0)) == "nanosleep(0x10, NULL)"


def test_a_request_behind_a_multiplexer_has_its_own_name() -> None:
    call = decoded("socketcall", 4, P, abi=Abi.I386, contents={P: words(3, 128)})
    assert call_text(call) == "listen(3, 128)"


def test_requests_made_or_changed_by_hand() -> None:
    assert call_text(calls.OpenAt(5, b"x", 0, 0)) == 'openat(5, "x", O_RDONLY)'
    changed = decoded("open", P, 0, 0, contents=PATH).replace(dirfd=7)
    assert call_text(changed) == 'openat(7, "/etc/passwd", O_RDONLY)'
    assert call_text(decoded("write", 1, P, 3).replace(buffer=b"abc")) == 'write(1, "abc", 3)'
    assert call_text(calls.NanoSleep(Timespec(1), None)) == "nanosleep({tv_sec=1, tv_nsec=0}, NULL)"
    by_hand = calls.ExecveAt(AT_FDCWD, b"/x", [b"x"], [], 0)
    assert call_text(by_hand) == 'execveat(AT_FDCWD, "/x", ["x"], [], 0)'


def test_results() -> None:
    call = decoded("open", P, 0, 0, contents=PATH)
    assert result_text(call, 3) == "3"
    assert result_text(call, -2) == "-1 ENOENT (No such file or directory)"
    assert result_text(call, -11) == "-1 EAGAIN (Resource temporarily unavailable)"
    assert result_text(call, -512) == "? ERESTARTSYS (To be restarted)"
    assert result_text(decoded("mmap"), 0x7F0000000000) == "0x7f0000000000"


def test_fields_are_plain_data() -> None:
    call = decoded("openat", AT_FDCWD, P, 0o2000000, contents={P: b"/x\xff\0"})
    assert fields(call) == {"dirfd": -100, "path": "/x\\xff", "flags": "O_RDONLY|O_CLOEXEC", "mode": 0}
    stat = decoded("fstat", 1, P)
    assert fields(stat)["status"] == "0x3000"
    stat.status.write(Stat(st_size=5))
    assert fields(stat, 0)["status"]["st_size"] == 5


def test_quoting() -> None:
    assert quote(b'a"b\\c\n\t\x00\x1b[0m\xff') == r'"a\"b\\c\n\t\0\33[0m\377"'
    assert quote(b"\0001") == r'"\0001"', "an octal escape before a digit is as long as can be"
    assert quote(b"abcdef", 3) == '"abc"...'
