"""What the native library is told about each call."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from diorama.abi.arch import Abi
from diorama.abi.fcntl import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, O_CREAT, O_TRUNC, O_WRONLY
from diorama.abi.numbers import NUMBERS
from diorama.catalogue import index
from diorama.catalogue.model import REQUESTS
from diorama.dispatch.mediator import Mediator
from diorama.dispatch.settling import Numbers, decision_of, settle_calls, settle_mounts
from diorama.engine.decider import (
    NO_ARG,
    Decision,
    Do,
    Follow,
    Mounted,
    Needs,
    PathUse,
    Settle,
    VerdictKind,
)
from diorama.interfaces.tree import Tree
from diorama.view.mounts import Mount, MountTree, Place

NATIVE = Abi.native()[0]
ABIS = [abi for abi in Abi if abi in Abi.native()]


def decision(abi: Abi, name: str) -> Decision:
    return decision_of(index.spellings(abi)[NUMBERS[abi.title][name]])


def on_x86_64(name: str) -> Decision:
    if NATIVE is not Abi.X86_64:
        pytest.skip("not on x86-64")
    return decision(Abi.X86_64, name)


def test_every_spelling_has_one_decision() -> None:
    found = [(one.abi, one.nr) for one in settle_calls()]
    assert len(found) == len(set(found))
    assert set(found) == {(abi.audit, nr) for abi in Abi.native() for nr in index.spellings(abi)}


def test_a_network_sees_no_message_that_is_bare() -> None:
    if NATIVE is not Abi.X86_64:
        pytest.skip("not on x86-64")
    with_networks = {(one.abi, one.nr): one for one in settle_calls(networked=True, named=True)}
    for name, fd in (("sendmsg", 0), ("recvmsg", NO_ARG)):
        at = Abi.X86_64.audit, NUMBERS[Abi.X86_64.title][name]
        assert with_networks[at] == Decision(*at, Settle.BARE, arg=1, arg2=fd, flags_arg=2)
    for name in ("sendmmsg", "recvmmsg", "connect", "sendto"):
        at = Abi.X86_64.audit, NUMBERS[Abi.X86_64.title][name]
        assert with_networks[at].settle not in (Settle.RUN, Settle.BARE)


@pytest.mark.parametrize("abi", ABIS, ids=lambda abi: abi.title)
def test_only_what_means_more_than_its_paths_is_left_to_python(abi: Abi) -> None:
    asked = {
        spelling.request.__name__
        for spelling in index.spellings(abi).values()
        if spelling.request.PATHS and decision_of(spelling).settle == Settle.ASK
    }
    assert asked == {
        "ChRoot", "FsPick", "Mount", "MountSetAttr", "MoveMount", "NameToHandleAt", "OpenAt2", "OpenTree",
        "OpenTreeAttr", "PivotRoot", "Umount2",
    }  # fmt: skip


@pytest.mark.parametrize("abi", ABIS, ids=lambda abi: abi.title)
def test_what_names_no_file_and_has_no_rule_is_asked(abi: Abi) -> None:
    settled = {
        spelling.request.__name__
        for spelling in index.spellings(abi).values()
        if not spelling.request.PATHS and decision_of(spelling).settle != Settle.ASK
    }
    assert settled <= {
        "Bind", "Connect", "FChDir", "FChMod", "FChOwn", "FGetXattr", "FListXattr", "FRemoveXattr",
        "FSetXattr", "FStat", "FStatfs", "FStatfs64", "GetCwd", "GetDents", "GetDents64", "ReadDir",
        "SendMsg", "SendTo", "Clone", "Clone3", "Fork", "VFork", "FSync", "FDataSync", "SyncFs",
        "RtSigAction", "CopyFileRange", "LLSeek", "LSeek", "MMap", "PRead64", "PReadV2", "Read", "ReadV",
        "SendFile", "Splice", "Close", "CloseRange", "Dup2", "Dup3",
        "Alarm", "ClockGetTime", "ClockNanoSleep", "EpollPWait", "EpollPWait2", "EpollWait", "Futex",
        "GetITimer", "GetTimeOfDay", "IoGetEvents", "IoPGetEvents", "MqTimedReceive", "MqTimedSend",
        "NanoSleep", "PPoll",
        "PSelect6", "Poll", "RecvMMsg", "RtSigTimedWait", "Select", "SemTimedOp", "SetITimer", "Time",
        "TimerFdGetTime", "TimerFdSetTime", "TimerGetTime", "TimerSetTime",
        "Dup", "FAllocate", "FTruncate", "Fcntl", "Flock", "Ioctl", "PWrite64", "PWriteV2", "Write", "WriteV",
    }  # fmt: skip


@pytest.mark.parametrize("abi", ABIS, ids=lambda abi: abi.title)
def test_every_path_of_a_settled_call_is_looked_at(abi: Abi) -> None:
    for spelling in index.spellings(abi).values():
        found = decision_of(spelling)
        if found.settle in (Settle.PATHS, Settle.EXEC):
            assert len(found.paths) == len(spelling.request.PATHS)
            assert all(use.path_arg < 6 for use in found.paths)


def test_openat_is_resolved_by_its_flags() -> None:
    assert decision(NATIVE, "openat") == Decision(
        NATIVE.audit,
        NUMBERS[NATIVE.title]["openat"],
        Settle.PATHS,
        Do.OPEN,
        (PathUse(1, 0, Follow.OPEN, 2),),
        flags_arg=2,
        mode_arg=3,
    )


def test_creat_has_the_flags_that_its_name_says() -> None:
    found = on_x86_64("creat")
    flags = O_CREAT | O_WRONLY | O_TRUNC
    assert found.paths == (PathUse(0, NO_ARG, Follow.OPEN, NO_ARG, flags),)
    assert (found.flags_arg, found.fixed_flags) == (NO_ARG, flags)


def test_status_follows_unless_a_flag_forbids_it() -> None:
    names = NUMBERS[NATIVE.title]
    found = decision(NATIVE, "newfstatat" if "newfstatat" in names else "fstatat64")
    assert found.paths == (PathUse(1, 0, Follow.UNLESS_FLAG, 3, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH),)
    assert (found.op, found.buffer_arg, found.flags_arg) == (Do.STAT, 2, 3)


def test_the_flags_of_lstat_are_in_its_name() -> None:
    found = on_x86_64("lstat")
    assert found.paths == (PathUse(0, follow=Follow.NEVER),)
    assert (found.buffer_arg, found.flags_arg, found.fixed_flags) == (1, NO_ARG, AT_SYMLINK_NOFOLLOW)


def test_readlink_of_an_empty_path_is_of_the_descriptor() -> None:
    found = decision(NATIVE, "readlinkat")
    assert found.paths == (PathUse(1, 0, Follow.NEVER, empty_flag=PathUse.ALWAYS_EMPTY),)
    assert (found.op, found.buffer_arg, found.size_arg) == (Do.READLINK, 2, 3)


def test_a_rename_has_two_paths() -> None:
    found = decision(NATIVE, "renameat2")
    assert found.paths == (PathUse(1, 0, Follow.NEVER), PathUse(3, 2, Follow.NEVER))
    assert found.op == Do.NOTHING


def test_what_changes_the_current_directory_needs_a_plain_one() -> None:
    assert decision(NATIVE, "chdir").needs == Needs.PLAIN_CWD | Needs.CHANGES_NOTHING
    assert decision(NATIVE, "fchdir").needs == Needs.PLAIN_CWD | Needs.NOT_OPENED
    assert decision(NATIVE, "getcwd").settle == Settle.CWD


def test_what_changes_a_file_by_descriptor_needs_one_not_opened_through_a_mount() -> None:
    assert decision(NATIVE, "fchmod").needs == Needs.NOT_OPENED
    assert decision(NATIVE, "utimensat").needs == Needs.NOT_OPENED
    assert decision(NATIVE, "fstat").needs == Needs.NOTHING


def test_an_address_is_walked_to_its_end_unless_it_is_made() -> None:
    assert decision(NATIVE, "connect").paths[0].follow == Follow.ALWAYS
    assert decision(NATIVE, "bind").paths[0].follow == Follow.NEVER
    found = decision(NATIVE, "sendto")
    assert (found.settle, found.arg, found.arg2) == (Settle.ADDRESS, 4, 5)


def test_i386_calls_are_never_done_here() -> None:
    if Abi.I386 not in Abi.native() or NATIVE is Abi.I386:
        pytest.skip("no i386 calls besides the native ones")
    found = [one for one in settle_calls() if one.abi == Abi.I386.audit]
    assert {one.op for one in found} == {Do.NOTHING}
    assert decision(Abi.I386, "stat64").settle == Settle.PATHS
    assert decision(Abi.I386, "socketcall").settle == Settle.ASK


def test_requests_that_can_be_done_exist() -> None:
    done = {one.op for one in settle_calls()}
    assert done == set(Do)
    assert len(REQUESTS) > 0


def test_mounts_are_numbered_as_in_the_tree() -> None:
    tree = MountTree()
    bind = Mount(host=b"/srv/", read_only=True)
    tree.attach(bind, Place(tree.root, b"/mnt"))
    tree.attach(Mount(filesystem=Tree("test")), Place(bind, b"/x"))
    tree.attach(Mount(host=b"/etc/hosts", kind=stat.S_IFREG), Place(tree.root, b"/mnt"))
    assert settle_mounts(tree) == [
        Mounted(-1, b"", b""),
        Mounted(0, b"/mnt", b"/srv", read_only=True),
        Mounted(1, b"/x", None, read_only=True),
        Mounted(1, b"", b"/etc/hosts", directory=False),
    ]


def test_a_mount_keeps_its_number_when_others_come_and_go() -> None:
    tree, numbers = MountTree(), Numbers()
    first, second = Mount(host=b"/srv"), Mount(host=b"/opt")
    tree.attach(first, Place(tree.root, b"/a"))
    tree.attach(second, Place(tree.root, b"/b"))
    assert numbers.settle(tree)[1:] == [Mounted(0, b"/a", b"/srv"), Mounted(0, b"/b", b"/opt")]
    tree.detach(first)
    gone, kept = numbers.settle(tree)[1:]
    assert kept == Mounted(0, b"/b", b"/opt")
    assert gone.host is None
    assert gone.parent == 0
    assert (numbers.of(first), numbers.of(second), numbers.mount(1)) == (1, 2, first)


def test_a_mount_that_was_moved_below_a_later_one_gets_another_number() -> None:
    tree, numbers = MountTree(), Numbers()
    first, second = Mount(host=b"/srv"), Mount(host=b"/opt")
    tree.attach(first, Place(tree.root, b"/a"))
    tree.attach(second, Place(tree.root, b"/b"))
    numbers.settle(tree)
    tree.move(first, Place(second, b"/x"))
    settled = numbers.settle(tree)
    assert settled[1].host is None
    assert settled[2:] == [Mounted(0, b"/b", b"/opt"), Mounted(2, b"/x", b"/srv")]
    assert numbers.mount(1) is numbers.mount(3) is first
    assert numbers.of(first) == 3


def test_mounts_of_another_namespace_lead_nowhere_in_the_first() -> None:
    tree, numbers = MountTree(), Numbers()
    bind = Mount(host=b"/srv")
    tree.attach(bind, Place(tree.root, b"/a"))
    _, twins = tree.copy()
    number = numbers.of(twins[bind]) if numbers.settle(tree) else 0
    assert numbers.settle(tree)[number].host is None
    assert numbers.mount(number) is twins[bind]


def test_what_changes_an_open_file_is_asked_where_there_are_layers() -> None:
    def settles(name: str, **how: bool) -> Settle:
        found = {one.nr: one for one in settle_calls(**how) if one.abi == NATIVE.audit}
        return found[NUMBERS[NATIVE.title][name]].settle

    for name in ("fchmod", "fchown", "fsetxattr", "fremovexattr", "fgetxattr", "flistxattr"):
        assert settles(name) == Settle.FD
        assert settles(name, layered=True) == settles(name, layered=True, merged=True) == Settle.ASK
    assert settles("getdents64", layered=True) == Settle.ASK
    assert settles("getdents64", layered=True, merged=True) == Settle.FD


def test_nothing_is_decided_natively_while_mounts_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that has read of a mount in /proc/self/mounts must not be let past it to the host."""
    mediator = Mediator()
    decider = mediator.decider()
    mediator.mount(Mount(filesystem=Tree("other")), tmp_path / "before")
    spelling = index.spellings(NATIVE)[NUMBERS[NATIVE.title]["getcwd"]]
    verdicts: list[VerdictKind] = []

    def look() -> None:
        verdicts.append(decider.decide(os.getpid(), NATIVE.audit, spelling.number, [0] * 6).kind)

    attach = MountTree.attach

    def slowly(tree: MountTree, mount: Mount, place: Place) -> None:
        attach(tree, mount, place)
        mediator.files.mounting.on_change()
        look()

    monkeypatch.setattr(MountTree, "attach", slowly)
    look()
    mediator.mount(Mount(filesystem=Tree("made")), tmp_path)
    look()
    assert verdicts == [VerdictKind.RUN, VerdictKind.ASK, VerdictKind.RUN]
