"""Observe: what is told about a view's programs while they run."""
