"""Answers: which function answers which call about time, filled by the files of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diorama.dispatch.answering import Answers, Outcome
from diorama.dispatch.files.answers import fail

if TYPE_CHECKING:
    from diorama.dispatch.clock.state import Clocks

__all__ = ["ANSWERS", "Outcome", "answers", "fail"]

ANSWERS: Answers[Clocks] = Answers()
answers = ANSWERS.on
