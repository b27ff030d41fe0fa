"""Stacks: which network a task has, for each address family.

As with root directories, a child inherits what its parent has. Whoever chooses another does so for its whole
process, and the children that it makes from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from diorama.abi.socket import AF_UNIX

__all__ = ["NO_STACKS", "Stacks"]


@dataclass(frozen=True, slots=True)
class Stacks:
    """A network for every family but AF_UNIX (`all`; None: the kernel's), and others for some.

    What a network is nobody here needs to know.  `before`: those of who has a network namespace of the
    kernel's now, away from the networks of its view.
    """

    all: Any = None
    of_family: Mapping[int, Any] = field(default_factory=dict[int, Any])
    before: Stacks | None = None

    def __bool__(self) -> bool:
        return self.all is not None or bool(self.of_family)

    @property
    def guards(self) -> bool:
        """Whether nothing may get round one of them, nor round those that it had before."""
        if self.before is not None and self.before.guards:
            return True
        return any(getattr(network, "guards", False) for network in (self.all, *self.of_family.values()))

    def networks(self) -> list[Any]:
        """All of them, and those that it had before."""
        found = [network for network in (self.all, *self.of_family.values()) if network is not None]
        return found if self.before is None else found + self.before.networks()

    @property
    def is_plain(self) -> bool:
        """Whether all is the kernel's own, as without them."""
        networks = (self.all, *self.of_family.values())
        if self.before is not None and not self.before.is_plain:
            return False
        return all(network is None or getattr(network, "is_plain", False) for network in networks)

    def find(self, family: int) -> Any:
        """The network of a family; None for the kernel's own."""
        return self.of_family.get(family, None if family == AF_UNIX else self.all)

    def choose(self, network: Any, families: frozenset[int]) -> Stacks:
        """The same with a network for some families, or for all if none are named."""
        if not families:
            return Stacks(network)
        return Stacks(self.all, {**self.of_family, **dict.fromkeys(families, network)}, self.before)

    def leave(self) -> Stacks:
        """What is left of them to who has a network namespace of the kernel's."""
        return Stacks(before=self) if self else self


NO_STACKS: Final = Stacks()
