"""Settings shared by all tests: which of them this user can run, and the engines they run with."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from engines import ENGINES

pytest.register_assert_rewrite("behaviour.harness")
# On a busy machine an example takes any time.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """What a shell ignores for its background jobs, programs of the tests are to be told."""
    for sig in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(sig) is signal.SIG_IGN:
            signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, for what handles calls in views of its own."""
    return str(request.param)
