"""Choosing: the user that the programs of a view run as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.dispatch.identity.lookup import Accounts
from diorama.dispatch.identity.mediator import IdentityMediator

if TYPE_CHECKING:
    from diorama.dispatch.mediator import Mediator

__all__ = ["choose_user"]


def choose_user(mediator: Mediator, who: str) -> IdentityMediator:
    """Who answers for identity in a view whose programs run as `NAME|UID[:GROUP]`; `UsageError`."""

    def read(path: str) -> bytes:
        with open(mediator.open_for_us(path), "rb") as file:
            return file.read()

    return IdentityMediator(mediator.files, Accounts(read).identity(who))
