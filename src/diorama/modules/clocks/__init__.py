"""Clocks: what can be mounted to read and set a clock."""
