"""Outside: servers of the host's that programs in a view may reach or not, for tests of policies.

All of them listen on the loopback, on ports of their own, and end with the test.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import dns.message
import dns.rrset

Where = tuple[str, int]


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Server:
    """A listener, and a thread for each connection."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.where: Where = self.listener.getsockname()
        self.port = self.where[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock:
            try:
                self._serve(sock)
            except (OSError, EOFError):
                return

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def greet(word: str) -> Callable[[socket.socket], None]:
    """A server that says one word."""
    return lambda sock: sock.sendall(word.encode())


def _hand_on(one: socket.socket, other: socket.socket) -> None:
    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()


class Socks(Server):
    """A SOCKS 5 proxy, all whose ways lead to one place; `asked` are the hosts and ports asked for.

    It waits for `agrees` before it answers, and refuses port 81. With a user it wants a password.
    """

    def __init__(self, target: Where, user: str = "", password: str = "") -> None:
        self.asked: list[tuple[str, int]] = []
        self.agrees = threading.Event()
        self.agrees.set()
        self._target = target
        self._secret = user, password
        super().__init__(self._socks)

    def _socks(self, sock: socket.socket) -> None:
        _, count = exactly(sock, 2)
        methods = exactly(sock, count)
        if self._secret[0]:
            if 2 not in methods:
                sock.sendall(b"\5\xff")
                return
            sock.sendall(b"\5\2")
            exactly(sock, 1)
            told = tuple(exactly(sock, exactly(sock, 1)[0]).decode() for _ in range(2))
            sock.sendall(b"\1" + bytes([told != self._secret]))
            if told != self._secret:
                return
        else:
            sock.sendall(b"\5\0")
        _, _, _, kind = exactly(sock, 4)
        if kind == 3:
            host = exactly(sock, exactly(sock, 1)[0]).decode()
        else:
            family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, exactly(sock, size))
        port = int.from_bytes(exactly(sock, 2), "big")
        self.asked.append((host, port))
        self.agrees.wait(60)
        if port == 81:
            sock.sendall(b"\5\5\0\1" + bytes(6))
            return
        with socket.create_connection(self._target) as other:
            sock.sendall(b"\5\0\0\1" + bytes(6))
            _hand_on(sock, other)


class Http(Server):
    """An HTTP proxy that knows CONNECT; it sends the first bytes of the connection with its answer."""

    def __init__(self, target: Where) -> None:
        self.asked: list[str] = []
        self._target = target
        super().__init__(self._http)

    def _http(self, sock: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(sock, 1)
        words = head.decode().split("\r\n")
        self.asked.append(words[0])
        self.asked += [line for line in words if line.startswith("Proxy-Authorization")]
        if ":81 " in words[0]:
            sock.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        with socket.create_connection(self._target) as other:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nfirst ")
            _hand_on(sock, other)


class Names:
    """A DNS server, by UDP and TCP: names are those of a table, of addresses or other names."""

    def __init__(self, table: dict[str, str]) -> None:
        self.asked: list[str] = []
        self._table = table
        self.tcp = Server(self._stream)
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(self.tcp.where)
        self.where = f"127.0.0.1:{self.tcp.port}"
        threading.Thread(target=self._datagrams, daemon=True).start()

    def _stream(self, sock: socket.socket) -> None:
        while True:
            told = self._answer(exactly(sock, int.from_bytes(exactly(sock, 2), "big")))
            sock.sendall(len(told).to_bytes(2, "big") + told)

    def _datagrams(self) -> None:
        while True:
            try:
                question, who = self.udp.recvfrom(1 << 16)
                self.udp.sendto(self._answer(question), who)
            except OSError:
                return

    def _answer(self, question: bytes) -> bytes:
        asked = dns.message.from_wire(question)
        reply = dns.message.make_response(asked)
        name = asked.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        if name not in self._table:
            reply.set_rcode(3)
        while name in self._table:
            told = self._table[name]
            kind = "A" if told[0].isdigit() else "CNAME"
            if kind == "CNAME" or asked.question[0].rdtype == 1:
                value = told if kind == "A" else f"{told}."
                reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, value))
            name = told
        return reply.to_wire()

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
