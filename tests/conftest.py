"""Settings shared by all tests: which of them this user can run."""

from __future__ import annotations

import os

import pytest

pytest.register_assert_rewrite("behaviour.harness")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
