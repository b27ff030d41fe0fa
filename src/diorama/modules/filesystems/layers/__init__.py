"""Layers: trees merged from directories of the host, on disk as the kernel's overlayfs has them.

`lookup` finds, `tree` changes, `layer` is a directory of the user's that keeps the changes of a copy-on-write
view, `changes` and `commit` tell and apply them, `mounting` makes the mounts.
"""
