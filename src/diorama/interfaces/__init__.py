"""Interfaces: what modules implement."""
