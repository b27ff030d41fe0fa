"""Connections: TCP sockets of programs, in the process of a stack.

What a program has is one end of a stream of AF_UNIX, we have the other, `ours`. Some facts about the pair
carry this file.

* *What the program has written stays in the queue of `ours` until the peer has acknowledged it*: it is
  looked at (MSG_PEEK, from where SO_PEEK_OFF is), given to lwIP, and taken away later. So the program's own
  buffer fills as that of a TCP socket does, and its SIOCOUTQ counts what is not acknowledged.
* *One byte always stays there*, the last one that was acknowledged; at first that is a byte which was put
  there before the program had the socket. For the one way to give a program ECONNRESET is to close an end
  that has not read everything. So a connection that was reset says so, and nobody takes it for one that has
  ended well; neither when this process dies.
* *A connection that is not there yet must not be writable.* So its buffer is filled up, through the
  program's end, by who has it at that moment (`fillers` bytes); and we read them away, all but one, when
  the connection stands.
* What lwIP has received is given on before its window is opened again.
* An end of file without a hang-up is shutdown(SHUT_WR).
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
from typing import TYPE_CHECKING, Final

from diorama.modules.networks.packet import lwip as facts
from diorama.modules.networks.packet.listing import STATES
from diorama.modules.networks.packet.loop import EDGE, HANGUP, IN, OUT, READ_HANGUP
from diorama.modules.networks.packet.tcpsocket import TcpSocket

if TYPE_CHECKING:
    from diorama.modules.networks.packet.stack import Stack

__all__ = ["Connection"]

_MSS: Final = 1460
_ACK_NOW: Final = 2
_QUEUE_MAX: Final = 170
"""How many pieces are given to lwIP before the next one waits; it refuses at 180 (TCP_SND_QUEUELEN)."""
_SYN_SENT: Final = 2
_WINDOW_STEP: Final = 0xFFFF
_PIECES: Final = 64
_ROOM: Final = 212992
_TICK: Final = 500_000
"""A tick of lwIP's slow timer, in microseconds."""
_MTU: Final = 1500
_INFO: Final = struct.Struct("=8B24I")
_RETRY: Final = 0.02
_SO_PEEK_OFF: Final = 42
_RESOLVE: Final = 3.0
"""After this time a neighbour that has not answered is EHOSTUNREACH, as with Linux."""
_QUIET: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Connection(TcpSocket):
    """A connection, or a socket that may become one."""

    def __init__(self, stack: Stack, number: int, family: int) -> None:
        super().__init__(stack, number, family)
        self.ours: socket.socket | None = None
        self.waiter: socket.socket | None = None
        self.is_connecting = False
        self.is_connected = False
        self._fillers = 0
        self._inbox: list[bytes] = []
        self._peeked = 0
        self._acked = 0
        self._got_end = False
        self._told_end = False
        self._sent_end = False
        self._is_left = False
        self._is_dying = False

    # -- its beginning ------------------------------------------------------------------------

    def connect(self, host: str, port: int, scope: int) -> None:
        """Connect, as far as it goes without waiting."""
        self.make()
        address = self.stack.remote(self, host, scope)
        if self.stack.way(address) is None:
            raise OSError(errno.ENETUNREACH, "no route")
        if self.stack.is_own(address.get()):
            self.stack.sweep_listeners(port)
        callbacks = self.stack.callbacks
        self.prepare()
        code = self.lwip.tcp_connect(self.pcb, ctypes.byref(address), port, callbacks.connected)
        if code:
            self.drop()
            raise OSError(facts.ERRNO[code], "connect")
        self.is_connecting = True
        self.remote = host, port, scope
        self._note_local()
        self.stack.loop.after(_RESOLVE, self._ask_resolved)

    def prepare(self) -> None:
        """Be told of it by lwIP."""
        callbacks = self.stack.callbacks
        self.lwip.tcp_arg(self.pcb, self.number)
        self.lwip.tcp_recv(self.pcb, callbacks.received)
        self.lwip.tcp_sent(self.pcb, callbacks.sent)
        self.lwip.tcp_err(self.pcb, callbacks.failed)

    def _note_local(self) -> None:
        pcb = self.look()
        self.local = self.stack.shown(self.family, pcb.local_ip), pcb.local_port, pcb.local_ip.zone

    def adopt(self, pcb: int) -> None:
        """A connection that lwIP has accepted."""
        self.pcb = pcb
        self.prepare()
        self._note_local()
        at = self.look()
        self.remote = self.stack.shown(self.family, at.remote_ip), at.remote_port, at.remote_ip.zone
        self.is_connected = True
        self._apply()

    def _ask_resolved(self) -> None:
        is_asking = self.is_connecting and self.pcb and self.look().state == _SYN_SENT
        if is_asking and self.stack.is_unresolved(self.look().remote_ip):
            self.abort()
            self.fail(errno.EHOSTUNREACH)

    def established(self) -> None:
        """The peer has answered."""
        self.is_connecting = False
        self.is_connected = True
        self._note_local()
        self._tell_waiter(0)
        if self.ours is not None:
            self.stack.loop.later(self, self._begin)

    def attach(self, ours: socket.socket, fillers: int) -> None:
        """Have the other end of what the program has.

        `fillers` bytes in it are not the program's; if there is none, one is still to come.
        """
        ours.setblocking(False)  # noqa: FBT003
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        self.ours = ours
        self._fillers = fillers
        if self.is_connected:
            self._begin()
        elif self.is_connecting:
            self.stack.loop.watch(ours.fileno(), EDGE, self._happened)
        else:
            self.finish()

    def _begin(self) -> None:
        if self.ours is None:
            return
        while self._fillers > 1:
            self._fillers -= len(self.ours.recv(min(self._fillers - 1, 1 << 16)))
        self._peeked = self._acked = 1
        self.ours.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 1)
        self.stack.loop.unwatch(self.ours.fileno())
        self.stack.loop.watch(self.ours.fileno(), IN | OUT | READ_HANGUP | EDGE, self._happened)
        self._work()

    # -- its life -----------------------------------------------------------------------------

    def _happened(self, events: int) -> None:
        if events & HANGUP:
            self._is_left = True
            if self.is_connecting:
                self.abort()
                self.finish()
        if not self.is_connecting:
            self._work()

    def received(self, pbuf: int | None) -> int:
        """Data for the program have come, or the end (None)."""
        if pbuf is None:
            self._got_end = True
        else:
            data = facts.read_pbuf(pbuf)
            self.lwip.pbuf_free(pbuf)
            self._inbox.append(data)
            if len(data) < _MSS:
                self.look().flags |= _ACK_NOW
        if self.ours is not None:
            self.stack.loop.later(self, self._work)
        return facts.OK

    def sent(self, size: int) -> int:
        """The peer has acknowledged some bytes: they are taken from the queue, but for the last one."""
        self._acked += size
        if self.ours is None:
            return facts.OK
        try:
            while self._acked > 1:
                taken = len(self.ours.recv(min(self._acked - 1, 1 << 16), socket.MSG_DONTWAIT))
                if not taken:
                    break
                self._acked -= taken
                self._peeked -= taken
        except OSError:
            pass  # reset by the program: its end is seen elsewhere
        self.stack.loop.later(self, self._work)
        return facts.OK

    def _work(self) -> None:
        if self.ours is not None:
            self._give()
        if self.ours is not None and self.pcb and not self._sent_end:
            self._take()
        if self._is_left and self._sent_end:
            self._leave()
        elif self._is_dying and not self._inbox:
            self.finish()

    def _give(self) -> None:
        """Give the program what has come."""
        assert self.ours is not None
        while self._inbox:
            try:
                size = self.ours.sendmsg(self._inbox[:_PIECES], (), _QUIET)
            except BlockingIOError:
                return
            except OSError:
                self._unwanted()
                return
            self._open_window(size)
            self._forget(size)
        if self._got_end and not self._told_end:
            self._told_end = True
            self._end_theirs()

    def _forget(self, size: int) -> None:
        inbox = self._inbox
        done = 0
        while done < len(inbox) and size >= len(inbox[done]):
            size -= len(inbox[done])
            done += 1
        del inbox[:done]
        if size:
            inbox[0] = inbox[0][size:]

    def _open_window(self, size: int) -> None:
        while size and self.pcb:
            step = min(size, _WINDOW_STEP)
            self.lwip.tcp_recved(self.pcb, step)
            size -= step

    def _unwanted(self) -> None:
        """The program does not read any more: it has closed, or shut down that side."""
        assert self.ours is not None
        poll = select.poll()
        poll.register(self.ours, 0)
        if any(events & select.POLLHUP for _, events in poll.poll(0)):
            self.abort()
            self.finish()
            return
        self._open_window(sum(map(len, self._inbox)))
        self._inbox.clear()

    def _end_theirs(self) -> None:
        assert self.ours is not None
        try:
            self.ours.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the program is gone
        if self._sent_end:
            self._leave()

    @property
    def has_unsaid(self) -> bool:
        """Whether there may be something of the program's that lwIP does not have yet."""
        return self.ours is not None and bool(self.pcb)

    def _take(self) -> None:
        """Give lwIP what the program has written."""
        assert self.ours is not None
        pcb = self.look()
        wrote = False
        while (room := pcb.snd_buf) and pcb.snd_queuelen < _QUEUE_MAX:
            try:
                data = self.ours.recv(min(room, 0xFFFF), socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                # The program has closed without reading everything: Linux resets such a connection.
                self.abort()
                self.finish()
                return
            if not data:
                self._end_ours()
                return
            if self.lwip.tcp_write(self.pcb, data, len(data), facts.WRITE_COPY):
                self.ours.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, self._peeked)
                self.stack.loop.after(_RETRY, self._work)
                break
            self._peeked += len(data)
            wrote = True
        if wrote:
            self.lwip.tcp_output(self.pcb)

    def _end_ours(self) -> None:
        """The program has written all: our FIN comes after it."""
        self._sent_end = True
        if self._is_left:
            self._leave()
        elif self._told_end:
            # Both directions have ended; who asks the program's end sees that, and we need it no more.
            self._leave()
        elif self.lwip.tcp_shutdown(self.pcb, 0, 1):
            self._sent_end = False
            self.stack.loop.after(_RETRY, self._work)

    def info(self) -> bytes:
        """What tcp(7) tells as TCP_INFO, as far as lwIP knows it; the rest is zero."""
        if not self.pcb:
            return bytes(_INFO.size)
        pcb = self.look()
        mss = max(pcb.mss, 1)
        in_flight = (pcb.snd_nxt - pcb.lastack & 0xFFFFFFFF) // mss
        timeout = max(pcb.rto, 0) * _TICK
        return _INFO.pack(
            *(STATES[pcb.state], 0, pcb.nrtx, 0, 0, 0, 0x11, 0, timeout, 0, mss, mss, in_flight),
            *(0,) * 8,
            *(_MTU, 0, max(pcb.sa, 0) // 8 * _TICK, 0, pcb.ssthresh // mss, pcb.cwnd // mss, mss),
            *(0,) * 4,
        )

    # -- its end ------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Nothing is to be told to the program any more, and it has nothing to say."""
        linger = self.options.get((socket.SOL_SOCKET, socket.SO_LINGER))
        if linger is not None and len(linger) >= 8 and struct.unpack("ii", linger[:8]) == (1, 0):
            self.abort()
        self.drop()
        self.finish()

    def abort(self) -> None:
        """Send a RST."""
        if self.pcb:
            pcb, self.pcb = self.pcb, 0
            self.lwip.tcp_arg(pcb, None)
            self.lwip.tcp_abort(pcb)

    def failed(self, code: int) -> None:
        """The control block is gone."""
        self.pcb = 0
        if code == facts.CLOSED:
            # All was said in both directions, and acknowledged.
            self._got_end = self._sent_end = True
            self.stack.loop.later(self, self._work)
            return
        refused = self.is_connecting and code == facts.RESET
        self.fail(errno.ECONNREFUSED if refused else facts.ERRNO[code])

    def fail(self, code: int) -> None:
        """It has come to an end that the program is to be told of, after all that has come before."""
        self.error = code
        self.is_connecting = False
        self._tell_waiter(code)
        if self.ours is not None and self._inbox:
            self._is_dying = True
            self._work()
            return
        self.finish()

    def _tell_waiter(self, code: int) -> None:
        if self.waiter is not None:
            try:
                self.waiter.send(bytes([code]), _QUIET)
            except OSError:
                pass  # who waited was interrupted
            self.waiter.close()
            self.waiter = None

    def finish(self) -> None:
        """Close our end.  What is unread there becomes ECONNRESET, so it is read if all has ended well."""
        self.is_connected = self.is_connecting = False
        was, self.ours = self.ours, None
        if was is None:
            return  # the program has been told, and may try again
        self.stack.forget(self)
        self.stack.loop.unwatch(was.fileno())
        if self._told_end and self._sent_end:
            self._read_away(was)
        was.close()

    def _read_away(self, ours: socket.socket) -> None:
        try:
            while ours.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        except OSError:
            pass  # empty

    def close(self) -> None:
        """The program has closed a socket that was not connected."""
        self.drop()
        self.finish()
        self.stack.forget(self)
