"""Files: how requests are answered for what is mounted, by subject.

`translation` is the general case and the one to read first: a path that meets no mount is the kernel's, one
that leads to a host place is replaced by that place's path, one into a file system of ours is refused unless
another file here answers it.
"""
