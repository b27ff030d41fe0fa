"""Raw socket calls: with addresses as the kernel has them, of any family, for stacks."""

from __future__ import annotations

from diorama.engine.rawsocket import (
    RawMessage,
    Sent,
    bind_raw,
    connect_raw,
    name_raw,
    pack_control,
    receive_raw,
    send_raw,
)

__all__ = [
    "RawMessage",
    "Sent",
    "bind_raw",
    "connect_raw",
    "name_raw",
    "pack_control",
    "receive_raw",
    "send_raw",
]
