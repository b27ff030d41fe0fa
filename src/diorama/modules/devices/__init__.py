"""Devices: the kinds that are built in."""
