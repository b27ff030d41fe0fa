"""Modules: what can be put into a view; independent of one another."""
