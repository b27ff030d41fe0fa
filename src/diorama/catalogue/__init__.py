"""The catalogue: what requests there are, each declared once.

Decoder, encoder, routing, trace line and reference page derive from the declarations, which stand in one
file for each subject. They are loaded when something is first asked of the catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama.catalogue.explanation import explain
    from diorama.catalogue.index import find, reason, requests, select, spelling, spellings

__all__ = ["explain", "find", "reason", "requests", "select", "spelling", "spellings"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = "explanation" if name == "explain" else "index"
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
