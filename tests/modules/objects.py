"""Objects: an object store as fsspec shows one, in memory, that counts what is asked of it.

It has no directories but those that are implied by names, no rename, no times that could be set; making a
directory does nothing, and removing one is an error, as in s3fs.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

from fsspec import AbstractFileSystem


class ObjectStore(AbstractFileSystem):
    """The store; `fetched` counts bytes, `asked` calls."""

    protocol = "objects"
    root_marker = ""
    cachable = False
    store: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    fetched = 0
    asked: Counter[str] = Counter()
    failing: Exception | None = None

    @classmethod
    def reset(cls) -> None:
        cls.store, cls.sizes, cls.fetched, cls.asked, cls.failing = {}, {}, 0, Counter(), None

    @classmethod
    def size_of(cls, path: str) -> int | None:
        if path in cls.sizes:
            return cls.sizes[path]
        return len(cls.store[path]) if path in cls.store else None

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        self._ask("info")
        path = self._strip_protocol(path).strip("/")
        size = self.size_of(path)
        if size is not None:
            return {"name": path, "size": size, "type": "file"}
        if not path or any(one.startswith(path + "/") for one in [*self.store, *self.sizes]):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        self._ask("ls")
        path = self._strip_protocol(path).strip("/")
        start = path + "/" if path else ""
        below = [one[len(start) :] for one in [*self.store, *self.sizes] if one.startswith(start)]
        if not below and path:
            raise FileNotFoundError(path)
        names = sorted({start + one.partition("/")[0] for one in below})
        return [self.info(name) for name in names] if detail else names

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        self._ask("cat_file")
        path = self._strip_protocol(path).strip("/")
        size = self.size_of(path)
        if size is None:
            raise FileNotFoundError(path)
        start, end = start or 0, min(size if end is None else end, size)
        content = self.store.get(path)
        found = piece_of(start, end) if content is None else content[start:end]
        type(self).fetched += len(found)
        return found

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        self._ask("open")
        path = path.strip("/")
        return io.BytesIO(self.cat_file(path)) if mode == "rb" else _Writing(self, path)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.store[path2.strip("/")] = self.store[path1.strip("/")]

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        self._ask("mkdir")

    def rmdir(self, path: str) -> None:
        raise FileExistsError(path)

    def _rm(self, path: str) -> None:
        self._ask("rm")
        del self.store[path.strip("/")]

    def _ask(self, what: str) -> None:
        self.asked[what] += 1
        if self.failing is not None:
            raise self.failing


class _Writing(io.BytesIO):
    """An object is there when it is closed."""

    def __init__(self, objects: ObjectStore, path: str) -> None:
        super().__init__()
        self._objects, self._path = objects, path

    def close(self) -> None:
        if not self.closed:
            self._objects.store[self._path] = self.getvalue()
            self._objects.sizes.pop(self._path, None)
        super().close()


def piece_of(start: int, end: int) -> bytes:
    """The content of an object that has a size only: each 8 bytes tell where they are."""
    first = start // 8
    text = b"".join(number.to_bytes(8, "big") for number in range(first, -(-end // 8)))
    return text[start - first * 8 : end - first * 8]
