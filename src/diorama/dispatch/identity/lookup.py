"""Look-up: users and groups by name, in the /etc/passwd and /etc/group that the view has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from diorama.errors import UsageError
from diorama.view.identity import Identity

__all__ = ["Account", "Accounts"]

_MOST: Final = 0xFFFFFFFE
PASSWD: Final = "/etc/passwd"
GROUP: Final = "/etc/group"


class Account(NamedTuple):
    """A line of passwd(5), as far as it counts here."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


_ROOT: Final = Account("root", 0, 0, "/root", "/bin/sh")


class Accounts:
    """Users and groups of a view; `read` gives a file of it, `OSError` if there is none."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read

    def identity(self, text: str) -> Identity:
        """Who `NAME|UID[:GROUP]` logs in as; `UsageError` for who is unknown.

        A number that is no user's has the group of the same number, and no others.
        """
        name, colon, group = text.partition(":")
        account = self.find(name)
        gid = self.group(group) if colon else account.gid
        return Identity.of(account.uid, gid, self.groups(account, gid))

    def find(self, name: str) -> Account:
        """A user, by name or number; `UsageError`."""
        number = _number(name)
        for account in self._users():
            if account.name == name or account.uid == number:
                return account
        if number is not None:
            return Account("", number, number, "/", _ROOT.shell)
        if name == _ROOT.name:
            return _ROOT
        raise UsageError(f"unknown user {name!r}: write a name of the view's {PASSWD}, or a number")

    def group(self, name: str) -> int:
        """The number of a group; `UsageError`."""
        number = _number(name)
        if number is not None:
            return number
        found = next((gid for entry, gid, _ in self._groups() if entry == name), None)
        if found is None and name == _ROOT.name:
            return 0
        if found is None:
            raise UsageError(f"unknown group {name!r}: write a name of the view's {GROUP}, or a number")
        return found

    def groups(self, account: Account, gid: int) -> tuple[int, ...]:
        """All groups of a user, with the first one, as initgroups(3) has it."""
        if not account.name:
            return ()
        members = {number for _, number, names in self._groups() if account.name in names}
        return tuple(sorted(members | {gid}))

    def _users(self) -> Iterator[Account]:
        for name, uid, gid, home, shell in self._lines(PASSWD, (0, 2, 3, 5, 6)):
            if uid.isdecimal() and gid.isdecimal():
                yield Account(name, int(uid), int(gid), home or "/", shell or _ROOT.shell)

    def _groups(self) -> Iterator[tuple[str, int, list[str]]]:
        for name, gid, names in self._lines(GROUP, (0, 2, 3)):
            if gid.isdecimal():
                yield name, int(gid), names.split(",")

    def _lines(self, path: str, columns: tuple[int, ...]) -> Iterator[list[str]]:
        try:
            text = os.fsdecode(self._read(path))
        except OSError:
            return
        for line in text.splitlines():
            fields = line.split(":")
            if len(fields) > columns[-1]:
                yield [fields[at] for at in columns]


def _number(text: str) -> int | None:
    """An id; `UsageError` for one that is none, None for a name."""
    if not text:
        raise UsageError("cannot run as nobody in particular: write NAME|UID[:GID]")
    if not (text.isascii() and text.lstrip("-").isdecimal()):
        return None
    number = int(text)
    if not 0 <= number <= _MOST:
        raise UsageError(f"cannot run with the id {text}: ids are from 0 to {_MOST}")
    return number
