"""Diorama: gives an unmodified program its own view of the system, in user space.

    import diorama

    view = diorama.View()
    view.mount("zip:data.zip", "/mnt")

    @view.on("openat", path="/etc/passwd")
    def redirect(call):
        return call.replace(path=b"/etc/hostname")

    view.run(["cat", "/etc/passwd"])

Names are imported when they are first used, so that starting is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diorama.engine.probe import Paths
    from diorama.errors import TraceeDied, Unsupported, UsageError
    from diorama.modules.networks.lan.lan import Lan
    from diorama.popen import Popen
    from diorama.session import View

__version__ = "0.1.0"
__all__ = ["Lan", "Paths", "Popen", "TraceeDied", "Unsupported", "UsageError", "View", "__version__"]

_HOMES = {
    "Lan": "diorama.modules.networks.lan.lan",
    "Paths": "diorama.engine.probe",
    "Popen": "diorama.popen",
    "TraceeDied": "diorama.errors",
    "Unsupported": "diorama.errors",
    "UsageError": "diorama.errors",
    "View": "diorama.session",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'diorama' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
