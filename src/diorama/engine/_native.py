"""Native library: the ctypes face of `native/include/diorama.h`.

Structures and constants repeat the header, which is the place to read what they mean.  Every call
releases the interpreter lock.
"""

from __future__ import annotations

import ctypes as c
import os
from pathlib import Path
from typing import Any, Final

from diorama.engine._told import Kept, Left, Made, Standin, Taken, ToldNode

ABI_VERSION: Final = 2
PARK_TAG: Final = 0x64696F72

INFO_PATHS: Final = ("auto", "kernel", "registers")
SKIP_PATHS: Final = ("auto", "kernel", "registers", "exit")
REWIND_PATHS: Final = ("auto", "kernel", "restart", "registers")

OP_NONE, OP_ENTRY, OP_EXIT, OP_SECCOMP = range(4)

(
    EVENT_DONE,
    EVENT_CALL,
    EVENT_RETURNED,
    EVENT_CLONE,
    EVENT_NEWBORN,
    EVENT_ADOPTED,
    EVENT_EXEC,
    EVENT_SIGNAL,
    EVENT_STOPPED,
    EVENT_CONTINUED,
    EVENT_EXITED,
    EVENT_ABANDONED,
    EVENT_IDLE,
    EVENT_ENDING,
) = range(14)

ACTION_RUN, ACTION_RUN_SEE, ACTION_CHANGE, ACTION_CHANGE_SEE, ACTION_RESULT = range(5)

REPLY_RUN, REPLY_VALUE, REPLY_GIVE = range(3)

STEP_SETUP, STEP_CWD, STEP_FILTER, STEP_EXEC, STEP_IDENTITY = range(5)

TEST_EQ, TEST_NE, TEST_BITS, TEST_NO_BITS, TEST_OUTSIDE, TEST_WITHIN = range(6)

VERDICT_ASK, VERDICT_RUN, VERDICT_VALUE, VERDICT_GIVE, VERDICT_PATH = range(5)

DECIDE_ON_BEHALF, DECIDE_CRAWL, DECIDE_STATUS, DECIDE_CHECKED = 1, 2, 4, 8

NO_ARG: Final = 255

Six = c.c_uint64 * 6


class Paths(c.Structure):
    _fields_ = [("info", c.c_uint8), ("skip", c.c_uint8), ("rewind", c.c_uint8), ("pad", c.c_uint8)]


class Features(c.Structure):
    _fields_ = [
        (name, c.c_uint8)
        for name in (
            "get_syscall_info",
            "set_syscall_info",
            "skip_by_exit",
            "set_ip",
            "seccomp_filter",
            "ptrace_allowed",
            "pidfd",
            "yama",
            "user_notif",
            "notif_killable",
            "notif_addfd",
            "notif_sync",
        )
    ]


class Info(c.Structure):
    _fields_ = [
        ("op", c.c_uint32),
        ("abi", c.c_uint32),
        ("ip", c.c_uint64),
        ("sp", c.c_uint64),
        ("nr", c.c_int64),
        ("args", Six),
        ("rval", c.c_int64),
        ("is_error", c.c_uint32),
        ("ret_data", c.c_uint32),
    ]


class Test(c.Structure):
    _fields_ = [
        ("arg", c.c_uint8),
        ("op", c.c_uint8),
        ("width", c.c_uint8),
        ("pad", c.c_uint8),
        ("pad2", c.c_uint32),
        ("value", c.c_uint64),
    ]


class Rule(c.Structure):
    _fields_ = [
        ("abi", c.c_uint32),
        ("nr", c.c_int32),
        ("id", c.c_uint16),
        ("path_arg", c.c_uint8),
        ("test_count", c.c_uint8),
        ("fixed", c.c_uint8),
        ("decides", c.c_uint8),
        ("pad", c.c_uint8 * 2),
        ("tests", Test * 6),
        ("glob", c.c_char_p),
        ("value", c.c_int64),
    ]


class Event(c.Structure):
    _fields_ = [
        ("kind", c.c_uint32),
        ("tid", c.c_int32),
        ("other", c.c_int32),
        ("status", c.c_int32),
        ("depth", c.c_uint32),
        ("lone", c.c_uint32),
        ("matched", c.c_uint64),
        ("cookie", c.c_uint64),
        ("info", Info),
        ("transit", c.c_void_p),
    ]


class Answer(c.Structure):
    _fields_ = [
        ("action", c.c_uint32),
        ("tid", c.c_int32),
        ("nr", c.c_int64),
        ("args", Six),
        ("rval", c.c_int64),
    ]


class Options(c.Structure):
    _fields_ = [
        ("paths", Paths),
        ("shared", c.c_uint8),
        ("signals", c.c_uint8),
        ("no_filter", c.c_uint8),
        ("promoted", c.c_uint8),
        ("our_filters", c.c_uint32),
        ("tag", c.c_uint64),
        ("untaggable", c.c_char_p * 2),
        ("decider", c.c_void_p),
        ("placement", c.c_void_p),
    ]


class Reply(c.Structure):
    _fields_ = [
        ("kind", c.c_uint32),
        ("fd", c.c_int32),
        ("fd_flags", c.c_uint32),
        ("tid", c.c_int32),
        ("cookie", c.c_uint64),
        ("value", c.c_int64),
    ]


class Launch(c.Structure):
    _fields_ = [
        ("executables", c.POINTER(c.c_char_p)),
        ("argv", c.POINTER(c.c_char_p)),
        ("envp", c.POINTER(c.c_char_p)),
        ("cwd", c.c_char_p),
        ("fds", c.c_int32 * 3),
        ("keep", c.POINTER(c.c_int32)),
        ("filter", c.c_char_p),
        ("filter_count", c.c_uint32),
        ("umask", c.c_int32),
        ("process_group", c.c_int32),
        ("close_fds", c.c_uint8),
        ("new_session", c.c_uint8),
        ("restore_signals", c.c_uint8),
        ("listen", c.c_uint8),
        ("tag", c.c_uint64),
        ("uid", c.c_int64),
        ("gid", c.c_int64),
        ("groups", c.POINTER(c.c_uint32)),
        ("group_count", c.c_int32),
        ("no_new_privs", c.c_int32),
        ("terminal", c.c_int32),
        ("pad2", c.c_int32),
    ]


class Started(c.Structure):
    _fields_ = [
        ("init_pid", c.c_int32),
        ("pid", c.c_int32),
        ("go_fd", c.c_int32),
        ("error_fd", c.c_int32),
        ("life_fd", c.c_int32),
    ]


class Failure(c.Structure):
    _fields_ = [("error", c.c_int32), ("step", c.c_int32)]


class PathUse(c.Structure):
    _fields_ = [
        ("path_arg", c.c_uint8),
        ("dirfd_arg", c.c_uint8),
        ("follow", c.c_uint8),
        ("flags_arg", c.c_uint8),
        ("flag", c.c_uint32),
        ("empty_flag", c.c_uint32),
    ]


class Decision(c.Structure):
    _fields_ = [
        ("abi", c.c_uint32),
        ("nr", c.c_int32),
        ("settle", c.c_uint8),
        ("op", c.c_uint8),
        ("path_count", c.c_uint8),
        ("arg", c.c_uint8),
        ("arg2", c.c_uint8),
        ("flags_arg", c.c_uint8),
        ("needs", c.c_uint8),
        ("pad", c.c_uint8),
        ("paths", PathUse * 2),
        ("buffer_arg", c.c_uint8),
        ("size_arg", c.c_uint8),
        ("mode_arg", c.c_uint8),
        ("mask_arg", c.c_uint8),
        ("fixed_flags", c.c_uint32),
    ]


class FuseWrite(c.Structure):
    _fields_ = [
        ("socket", c.c_int32),
        ("file", c.c_int32),
        *((name, c.c_uint64) for name in ("unique", "node", "handle", "offset", "end")),
        *((name, c.c_uint32) for name in ("most", "flags", "uid", "gid", "pid")),
    ]


class Mounted(c.Structure):
    _fields_ = [
        ("parent", c.c_int32),
        ("point", c.c_char_p),
        ("host", c.c_char_p),
        ("upper", c.c_char_p),
        ("hidden", c.c_char_p),
        ("told", c.c_void_p),
        ("inode", c.c_uint64),
        ("device", c.c_uint64),
        ("id", c.c_uint64),
        ("notes", c.c_char_p),
        ("read_only", c.c_uint8),
        ("directory", c.c_uint8),
        ("no_exec", c.c_uint8),
        ("owned", c.c_uint8),
        ("pad", c.c_uint8 * 4),
    ]


class Process(c.Structure):
    _fields_ = [
        ("cwd_mount", c.c_int32),
        *((name, c.c_uint8) for name in ("ask_all", "ask_exec", "ask_clone", "checked")),
        ("clock", c.c_uint32),
    ]


class Course(c.Structure):
    _fields_ = [
        ("real", c.c_int64 * 4),
        ("shown", c.c_int64 * 4),
        *((name, c.c_int64) for name in ("wall_rate", "pace", "unit", "step")),
    ]


class Asked(c.Structure):
    _fields_ = [
        ("tid", c.c_int32),
        ("abi", c.c_uint32),
        ("nr", c.c_int64),
        ("args", Six),
        ("may_give", c.c_uint8),
        ("pad", c.c_uint8 * 7),
        ("listener", c.c_void_p),
        ("cookie", c.c_uint64),
        ("aside", c.c_void_p),
        ("path", c.c_void_p),
        ("lent", c.c_void_p),
    ]


class Verdict(c.Structure):
    _fields_ = [
        ("kind", c.c_uint32),
        ("fd", c.c_int32),
        ("fd_flags", c.c_uint32),
        ("pad", c.c_uint32),
        ("value", c.c_int64),
    ]


_P = c.POINTER
_LISTED: Final[list[Any]] = [c.c_void_p, c.c_uint64, c.c_int64, c.c_void_p, c.c_size_t]
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "dio_abi_version": (c.c_int, []),
    "dio_probe": (c.c_int, [_P(Features)]),
    "dio_paths_resolve": (c.c_int, [_P(Features), _P(Paths)]),
    "dio_stop_read": (c.c_int, [c.c_int, _P(Paths), c.c_int, _P(Info)]),
    "dio_stop_change": (c.c_int, [c.c_int, _P(Paths), _P(Info), c.c_int64, Six]),
    "dio_stop_skip": (c.c_int, [c.c_int, _P(Paths), _P(Info), c.c_int64, c.c_int]),
    "dio_stop_result": (c.c_int, [c.c_int, _P(Paths), _P(Info), c.c_int64]),
    "dio_stop_set_ip": (c.c_int, [c.c_int, _P(Paths), _P(Info), c.c_uint64]),
    "dio_stop_rewind": (c.c_int, [c.c_int, _P(Paths), _P(Info)]),
    "dio_memory_read": (c.c_ssize_t, [c.c_int, c.c_uint64, c.c_void_p, c.c_size_t]),
    "dio_memory_write": (c.c_ssize_t, [c.c_int, c.c_uint64, c.c_char_p, c.c_size_t]),
    "dio_memory_string": (c.c_ssize_t, [c.c_int, c.c_uint64, c.c_void_p, c.c_size_t]),
    "dio_limit_raise": (c.c_int, [c.c_uint64]),
    "dio_launch": (c.c_int, [_P(Launch), _P(Started)]),
    "dio_rules_new": (c.c_int, [_P(Rule), c.c_size_t, _P(c.c_void_p)]),
    "dio_rules_free": (None, [c.c_void_p]),
    "dio_placement_new": (c.c_int, [_P(c.c_void_p)]),
    "dio_placement_free": (None, [c.c_void_p]),
    "dio_guardian_open": (c.c_int, [_P(Options), c.c_void_p, _P(c.c_void_p)]),
    "dio_guardian_seize": (c.c_int, [c.c_void_p, c.c_int]),
    "dio_guardian_take": (c.c_int, [c.c_void_p, c.c_void_p]),
    "dio_guardian_next": (c.c_int, [c.c_void_p, _P(Answer), _P(Event)]),
    "dio_guardian_place": (c.c_int, [c.c_void_p, c.c_int, c.c_char_p, c.c_size_t, _P(c.c_uint64)]),
    "dio_guardian_close": (None, [c.c_void_p]),
    "dio_guardian_promote": (c.c_int, [c.c_void_p, c.c_void_p, _P(Event)]),
    "dio_worker_begin": (c.c_int, []),
    "dio_listener_open": (c.c_int, [c.c_int, _P(Features), c.c_void_p, c.c_void_p, _P(c.c_void_p)]),
    "dio_listener_next": (c.c_int, [c.c_void_p, _P(Reply), _P(Event)]),
    "dio_listener_reply": (c.c_int, [c.c_void_p, _P(Reply)]),
    "dio_listener_give": (c.c_int, [c.c_void_p, c.c_uint64, c.c_int, c.c_uint32]),
    "dio_listener_valid": (c.c_int, [c.c_void_p, c.c_uint64]),
    "dio_listener_step_in": (None, [c.c_void_p]),
    "dio_listener_close": (None, [c.c_void_p]),
    "dio_decider_new": (c.c_int, [_P(c.c_void_p)]),
    "dio_decider_free": (None, [c.c_void_p]),
    "dio_decider_standin": (c.c_int, [c.c_void_p, c.c_int32, c.c_uint64, c.c_char_p, c.c_char_p]),
    "dio_decider_standins_hold": (None, [c.c_void_p]),
    "dio_decider_standins_forget": (None, [c.c_void_p]),
    "dio_decider_standins_make": (c.c_int, [c.c_void_p, c.c_char_p]),
    "dio_decider_standins_made": (c.c_void_p, [c.c_void_p]),
    "dio_decider_standin_adopt": (c.c_int, [c.c_void_p, _P(Standin)]),
    "dio_decider_standin_claim": (None, [c.c_void_p, c.c_int32, c.c_uint64]),
    "dio_decider_standin_drop": (None, [c.c_void_p, c.c_int32, c.c_uint64]),
    "dio_decider_load": (
        c.c_int,
        [c.c_void_p, _P(Decision), c.c_size_t, _P(Mounted), c.c_size_t, _P(c.c_char_p), c.c_uint32],
    ),
    "dio_decider_process": (c.c_int, [c.c_void_p, c.c_int, _P(Process)]),
    "dio_decider_clocks_hold": (None, [c.c_void_p]),
    "dio_decider_clocks_release": (None, [c.c_void_p]),
    "dio_decider_clock": (c.c_int, [c.c_void_p, c.c_uint32, _P(Course)]),
    "dio_decider_time": (c.c_int, [c.c_void_p, c.c_uint32, c.c_int32, _P(c.c_int64)]),
    "dio_course_at": (c.c_int64, [_P(Course), c.c_int32, c.c_int64]),
    "dio_decider_opened": (c.c_int, [c.c_void_p, c.c_int, c.c_uint64, c.c_uint64, c.c_int32]),
    "dio_decider_reach": (c.c_int, [c.c_void_p, c.c_uint64, c.c_uint64, c.c_int32]),
    "dio_decider_reached": (c.c_int32, [c.c_void_p, c.c_uint64, c.c_uint64]),
    "dio_decider_opened_through": (c.c_int32, [c.c_void_p, c.c_int, c.c_uint64, c.c_uint64]),
    "dio_decider_inherit": (c.c_int, [c.c_void_p, c.c_int, c.c_int]),
    "dio_decider_map": (None, [c.c_void_p, *[c.c_uint32] * 4]),
    "dio_decider_strangers": (None, [c.c_void_p]),
    "dio_decider_alike": (c.c_int, [c.c_void_p]),
    "dio_decider_forget": (None, [c.c_void_p, c.c_int]),
    "dio_decider_identity": (c.c_int, [c.c_void_p, c.c_uint64, c.c_uint64]),
    "dio_decider_stands": (c.c_int, [c.c_void_p, c.c_uint64, c.c_uint64, c.c_int32, c.c_uint64]),
    "dio_decider_watches": (None, [c.c_void_p, c.c_int]),
    "dio_decider_keep": (c.c_int, [c.c_void_p, _P(Kept), c.c_int, _P(Taken)]),
    "dio_decider_closed": (None, [c.c_void_p, c.c_int]),
    "dio_decider_divide": (None, [c.c_void_p]),
    "dio_decider_take": (c.c_int, [c.c_void_p, c.c_void_p, c.c_uint64, _P(Taken)]),
    "dio_decider_abandon": (None, [c.c_void_p, c.c_void_p, c.c_uint64]),
    "dio_decider_listen": (c.c_ssize_t, [c.c_void_p, c.c_int, c.c_int, c.c_void_p, c.c_size_t]),
    "dio_told_opens": (None, [c.c_void_p, c.c_uint32]),
    "dio_told_outside": (None, [c.c_void_p]),
    "dio_decider_opens": (None, [c.c_void_p, c.c_int]),
    "dio_decider_made": (c.c_void_p, [c.c_void_p]),
    "dio_decider_adopt": (c.c_int, [c.c_void_p, _P(Made)]),
    "dio_decider_claim": (c.c_int, [c.c_void_p, c.c_void_p, c.c_uint64]),
    "dio_decider_disclaim": (None, [c.c_void_p, c.c_void_p, c.c_uint64]),
    "dio_lease": (c.c_int, [c.c_int, c.c_int]),
    "dio_told_new": (c.c_int, [c.c_int, c.c_int, _P(c.c_void_p)]),
    "dio_told_free": (None, [c.c_void_p]),
    "dio_told_drop_all": (None, [c.c_void_p, c.c_uint64]),
    "dio_told_end": (None, [c.c_void_p]),
    "dio_told_silence": (None, [c.c_void_p, c.c_int]),
    "dio_told_name": (None, [c.c_void_p, c.c_uint64, c.c_char_p, c.c_size_t, c.c_uint64, c.c_int64]),
    "dio_told_node": (None, [c.c_void_p, _P(ToldNode), c.c_int64]),
    "dio_told_differs": (c.c_int, [c.c_void_p, c.c_uint64, c.c_int]),
    "dio_told_drop": (c.c_int64, [c.c_void_p, c.c_uint64, c.c_char_p, c.c_size_t]),
    "dio_told_find": (c.c_int64, [c.c_void_p, c.c_uint64, c.c_char_p, c.c_size_t]),
    "dio_told_status": (c.c_int, [c.c_void_p, c.c_uint64, _P(ToldNode)]),
    "dio_told_exchange": (c.c_int64, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_size_t]),
    "dio_told_changed": (None, [c.c_void_p]),
    "dio_told_enter": (c.c_uint64, [c.c_void_p, c.c_uint64, c.c_uint64]),
    "dio_told_found": (None, [c.c_void_p, c.c_uint64, c.c_uint64, c.c_char_p, c.c_size_t]),
    "dio_told_moved": (c.c_uint64, [c.c_void_p]),
    "dio_told_number": (c.c_uint64, [c.c_void_p, c.c_uint64]),
    "dio_told_latest": (c.c_uint64, [c.c_void_p, c.c_uint64]),
    "dio_told_shown": (c.c_uint64, [c.c_void_p, c.c_uint64]),
    "dio_told_above": (c.c_uint64, [c.c_void_p, c.c_uint64]),
    "dio_told_leave": (c.c_uint64, [c.c_void_p, c.c_uint64]),
    "dio_told_open": (None, [c.c_void_p, c.c_int]),
    "dio_told_read": (c.c_int, [c.c_void_p, c.c_int]),
    "dio_told_unread": (None, [c.c_void_p]),
    "dio_told_asked": (c.c_uint32, [c.c_void_p]),
    "dio_told_watch": (None, [c.c_void_p, c.c_int]),
    "dio_told_disturb": (None, [c.c_void_p]),
    "dio_told_busy": (c.c_int, [c.c_void_p, c.c_uint64]),
    "dio_told_post": (c.c_uint64, [c.c_void_p, c.c_uint32, c.c_uint64]),
    "dio_told_ask_node": (c.c_int, [c.c_void_p, c.c_int32, c.c_uint64, _P(ToldNode)]),
    "dio_told_ask_name": (
        c.c_int,
        [c.c_void_p, c.c_int32, c.c_uint64, c.c_char_p, c.c_size_t, _P(ToldNode)],
    ),
    "dio_told_ask_open": (
        c.c_int,
        [c.c_void_p, c.c_int32, c.c_uint64, c.c_uint32, _P(c.c_uint64), _P(c.c_uint32)],
    ),
    "dio_told_adopt": (c.c_uint64, [c.c_void_p, c.c_uint32, c.c_uint64, c.c_char_p]),
    "dio_told_abandon": (c.c_uint64, [c.c_void_p]),
    "dio_told_give_up": (c.c_int, [c.c_void_p]),
    "dio_told_find_left": (c.c_int, [c.c_void_p, c.c_uint64, _P(Left)]),
    "dio_told_lists": (None, [c.c_void_p, c.c_int, c.c_int]),
    "dio_told_left_listing": (c.c_uint64, [c.c_void_p]),
    "dio_told_list_mark": (c.c_uint32, [c.c_void_p]),
    "dio_told_list_moved": (c.c_int, [c.c_void_p, c.c_int, c.c_int64, c.c_int64]),
    "dio_told_list_changed": (None, [c.c_void_p, c.c_uint64]),
    "dio_told_listed": (c.c_int64, _LISTED),
    "dio_told_list": (c.c_int64, [*_LISTED[:2], c.c_uint32, c.c_char_p, c.c_size_t, *_LISTED[2:]]),
    "dio_told_give": (None, [c.c_void_p, _P(Left), c.c_uint64, c.c_uint32]),
    "dio_told_given": (c.c_int, [c.c_void_p, c.c_uint64, c.c_uint32, _P(c.c_uint64), _P(c.c_uint32)]),
    "dio_fuse_write": (c.c_int, [_P(FuseWrite), c.c_uint32]),
    "dio_decide": (c.c_int, [c.c_void_p, _P(Asked), _P(Verdict)]),
    "dio_call_hold": (c.c_int, [c.c_int, c.c_int64, c.c_int]),
    "dio_call_hold_guarded": (c.c_int, [c.c_int, c.c_int, c.c_int64, c.c_int]),
    "dio_call_end": (c.c_int, [c.c_int, c.c_int64]),
}


def _load(kind: type[c.CDLL], names: str) -> c.CDLL:
    library = kind(os.fspath(Path(__file__).with_name("libdiorama.so")), use_errno=False)
    for name, (result, arguments) in _SIGNATURES.items():
        if not name.startswith(names):
            continue
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    if library.dio_abi_version() != ABI_VERSION:
        raise ImportError("libdiorama.so does not fit this diorama; build it again")
    return library


lib: Final = _load(c.CDLL, "dio_")
brief: Final = _load(c.PyDLL, "dio_told_")
"""What takes no longer than it would take to let the interpreter go and get it back, and never waits."""


def check(result: int) -> int:
    """Pass a count on; raise `OSError` for a negative errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
