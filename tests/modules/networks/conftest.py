from __future__ import annotations

from modules.networks.lan_room import room

__all__ = ["room"]
