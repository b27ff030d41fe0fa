"""Fuse: file systems served by FUSE servers, without the kernel's part of it."""
