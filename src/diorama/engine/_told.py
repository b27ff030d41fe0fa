"""Told structures: those of `native/include/diorama_told.h`, the place to read what they mean."""

from __future__ import annotations

import ctypes as c
from typing import Final

KEPT_HANDLES: Final = 16
"""So often something that is kept may be open."""


class ToldNode(c.Structure):
    _fields_ = [
        ("inode", c.c_uint64),
        ("number", c.c_uint64),
        ("size", c.c_uint64),
        ("blocks", c.c_uint64),
        ("device", c.c_uint64),
        ("accessed", c.c_int64),
        ("modified", c.c_int64),
        ("changed", c.c_int64),
        ("mode", c.c_uint32),
        ("links", c.c_uint32),
        ("uid", c.c_uint32),
        ("gid", c.c_uint32),
        ("unchecked", c.c_uint8),
        ("pad", c.c_uint8 * 7),
    ]


class Left(c.Structure):
    _fields_ = [
        ("unique", c.c_uint64),
        ("node", c.c_uint64),
        ("opcode", c.c_uint32),
        ("tid", c.c_int32),
        ("flags", c.c_uint32),
        ("pad", c.c_uint32),
    ]


class Kept(c.Structure):
    _fields_ = [
        ("told", c.c_void_p),
        *((name, c.c_uint64) for name in ("inode", "directory", "size")),
        ("modified", c.c_int64),
        ("name", c.c_char_p),
        ("length", c.c_size_t),
        ("mount", c.c_int32),
        ("most", c.c_uint32),
        ("moved", c.c_uint64),
    ]


class KeptHandle(c.Structure):
    _fields_ = [("handle", c.c_uint64), ("flags", c.c_uint32), ("how", c.c_uint32)]


class Taken(c.Structure):
    _fields_ = [
        ("watch", c.c_int32),
        ("count", c.c_uint32),
        ("due", c.c_uint32),
        ("pad", c.c_uint32),
        ("handles", KeptHandle * KEPT_HANDLES),
    ]


class Standin(c.Structure):
    _fields_ = [
        *((name, c.c_uint64) for name in ("inode", "directory", "device", "number")),
        ("mode", c.c_uint32),
        ("mount", c.c_int32),
        ("paths", c.c_uint8 * 4096),
    ]


class Made(c.Structure):
    _fields_ = [
        ("what", Kept),
        ("node", ToldNode),
        ("base", c.c_uint64),
        ("fd", c.c_int32),
        ("length", c.c_uint32),
        ("path", c.c_char * 4096),
    ]
