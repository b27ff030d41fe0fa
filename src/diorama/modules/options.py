"""Options: those of a mount, `ro` or `name=value`, as mount(8) writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from diorama.errors import UsageError

__all__ = ["Options", "without_secrets"]

_FOR_ALL: Final = frozenset({"ro", "rw", "noexec", "exec"})
_OPPOSITES: Final = (("ro", "rw"), ("noexec", "exec"))
_SECRET: Final = re.compile(r"pass|secret|token|(^|_)key$|credential|sas|^auth$", re.IGNORECASE)
_IN_URL: Final = re.compile(r"((?:https?|s?ftp|ssh|smb|socks[45][ah]?|webdav|dav)s?:(?://)?[^/:@]*:)[^/@]+(?=@)")


def without_secrets(url: str) -> str:
    """A URL without the password that may be in it."""
    return _IN_URL.sub(r"\1***", url)


@dataclass(slots=True)
class Options:
    """What was asked for.  A kind of mount takes its own with `take` and `values`, then calls `finish`."""

    asked: tuple[tuple[str, str | None], ...] = ()
    _known: set[str] = field(default_factory=lambda: set(_FOR_ALL))

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Options:
        """Take `name` and `name=value` apart; `UsageError` for what contradicts itself."""
        parts = (text.partition("=") for text in texts)
        asked = [(name, value if found else None) for name, found, value in parts]
        names = {name for name, _ in asked}
        for one, other in _OPPOSITES:
            if one in names and other in names:
                raise UsageError(f"a mount is {one} or {other}, not both")
        return cls(tuple(asked))

    def is_set(self, name: str) -> bool:
        """Whether an option without a value was given."""
        self._known.add(name)
        return any(one == name for one, _ in self.asked)

    def values(self, name: str) -> list[str]:
        """The values of an option that may be given several times."""
        self._known.add(name)
        return [value for one, value in self.asked if one == name and value is not None]

    def take(self, name: str) -> str | None:
        """The value of an option; the last one counts."""
        values = self.values(name)
        return values[-1] if values else None

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed through the mount."""
        return self.is_set("ro")

    @property
    def shown(self) -> tuple[str, ...]:
        """All of them, as a mount table shows them, which everybody reads: without passwords and the like."""
        return tuple(
            name if value is None else f"{name}={'***' if _SECRET.search(name) else without_secrets(value)}"
            for name, value in self.asked
        )

    def rest(self) -> list[tuple[str, str]]:
        """Those with a value that nobody has taken, which are somebody else's to know."""
        left = [(name, value) for name, value in self.asked if value is not None and name not in self._known]
        self._known.update(name for name, _ in left)
        return left

    def finish(self, source: str) -> None:
        """All that is known was asked for: `UsageError` for what remains."""
        for name, _ in self.asked:
            if name not in self._known:
                known = ", ".join(sorted(self._known))
                raise UsageError(f"cannot mount {source}: unknown mount option {name!r}; known are {known}")
