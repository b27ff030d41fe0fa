"""Engines: what runs under both, and the skip of the half that this kernel cannot do."""

from __future__ import annotations

import pytest

from diorama.engine.choice import GUARDIANS, NOTIFY, missing_for_notify
from diorama.engine.probe import probe

MISSING = missing_for_notify(probe())
needs_notify = pytest.mark.skipif(MISSING is not None, reason=f"the engine notify: {MISSING}")
ENGINES = (pytest.param(GUARDIANS, id=GUARDIANS), pytest.param(NOTIFY, id=NOTIFY, marks=needs_notify))
