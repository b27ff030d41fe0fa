"""Filesystems: what can be mounted."""
