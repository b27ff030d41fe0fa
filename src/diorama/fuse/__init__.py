"""Fuse: the kernel's side of the FUSE protocol, without any I/O.

Bytes come in and go out; who carries them is not known here.  `wire`, `attributes`, `naming`, `handles` and
`notices` have the structures, `flags` the constants, `operations` what requests there are, `connection` the
conversation.  Sizes and offsets are those of `<linux/fuse.h>`, versions 7.12 to 7.45.
"""
