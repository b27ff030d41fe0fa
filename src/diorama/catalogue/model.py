"""Requests: what a program asks of the kernel, and what the catalogue needs to know of the asker.

A request is a frozen value, one attribute per field. One that was decoded from a call remembers the raw
arguments, so encoding it again gives them back to the bit, apart from the fields that `replace` changed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar, dataclass_transform

from diorama.abi.fcntl import AT_FDCWD
from diorama.abi.record import Frozen
from diorama.catalogue import kinds
from diorama.catalogue.forms import Form, Spelling, spellings_of
from diorama.catalogue.kinds import FdKind, Kind, PathKind
from diorama.catalogue.pointers import PointerKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from diorama.abi.arch import Abi
    from diorama.catalogue.forms import Args

__all__ = ["Execution", "Memory", "PathRule", "Request", "Spelling", "Syscalls", "Tracee", "request"]

C = TypeVar("C", bound="type[Request]")
R = TypeVar("R", bound="Request")


class Memory(Protocol):
    """The memory of a tracee."""

    def read(self, address: int, size: int) -> bytes:
        """The bytes there, fewer where the mapping ends; OSError(EFAULT) if there are none."""
        ...

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes up to NUL; OSError(EFAULT), or ENAMETOOLONG without NUL within the limit."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Put the data there; OSError(EFAULT)."""
        ...

    def place(self, data: bytes) -> int:
        """Put the data into the tracee's private arena, where it stays for this call; its address."""
        ...


class Syscalls(Protocol):
    """Calls that a tracee makes for us: `tracee.syscall.lseek(fd, 0, SEEK_END)`."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        """The call of this name; it raises OSError when it fails."""
        ...


class Tracee(Protocol):
    """The thread that makes a call."""

    @property
    def tid(self) -> int:
        """The thread id."""
        ...

    @property
    def pid(self) -> int:
        """The process (thread group) id."""
        ...

    @property
    def abi(self) -> Abi:
        """The ABI of the call that it is making."""
        ...

    @property
    def memory(self) -> Memory:
        """Its memory."""
        ...

    @property
    def syscall(self) -> Any:
        """Calls made in it, see `Syscalls`."""
        ...

    @property
    def gives_at_once(self) -> bool:
        """Whether a descriptor given as the outcome costs no call of the tracee's own."""
        ...

    def step_aside(self) -> None:
        """Whoever decides is about to wait for something that another program of the view may have to do."""
        ...

    def give(self, fd: int, *, cloexec: bool = True) -> int:
        """Give it a descriptor of this process while one of its calls is handled: its number there."""
        ...


class Execution(Protocol):
    """What can make a request happen."""

    @property
    def tracee(self) -> Any:
        """The thread that asked."""
        ...

    def run(self, request: Request) -> int:
        """Let it happen; its result, or OSError."""
        ...


class PathRule(NamedTuple):
    """How one path of a request is resolved: where it begins and what its last component may be."""

    field: str
    anchor: str | None
    kind: PathKind

    def dirfd(self, call: Request) -> int:
        """The descriptor at which a relative path begins, AT_FDCWD for the current directory."""
        return AT_FDCWD if self.anchor is None else int(getattr(call, self.anchor))

    def follows(self, call: Request) -> bool:
        """Whether a symbolic link in the last component is followed."""
        return self.kind.follow(call)

    def applies(self, call: Request) -> bool:
        """Whether the field holds a path in this request: it is not NULL, and not a mere name."""
        return getattr(call, self.field) is not None and self.kind.applies(call)

    def creates(self, call: Request) -> bool:
        """Whether the last component may be missing."""
        return self.kind.missing(call)

    def accepts_empty(self, call: Request) -> bool:
        """Whether an empty path stands for what the descriptor refers to."""
        return self.kind.empty(call)


class Request(Frozen):
    """The base of the classes made by `@request`."""

    __slots__ = ("_changed", "_execution", "_origin")
    _origin: Origin | None
    _execution: Execution | None
    _changed: frozenset[str]

    NAME: ClassVar[str] = ""
    MAN: ClassVar[str] = ""
    DOC: ClassVar[str] = ""
    SUBJECT: ClassVar[str] = ""
    RETURNS: ClassVar[str] = ""
    FORMS: ClassVar[tuple[Form, ...]] = ()
    FIELDS: ClassVar[Mapping[str, Kind]] = {}
    CLASSES: ClassVar[frozenset[str]] = frozenset()
    PATHS: ClassVar[tuple[PathRule, ...]] = ()
    FDS: ClassVar[tuple[str, ...]] = ()
    WRITES: ClassVar[Callable[[Any], bool]] = kinds.never

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        _set_origin(self, None)
        _set_execution(self, None)
        _set_changed(self, frozenset())

    def begin(self, spelling: Spelling, raw: Args, values: Args, memory: Memory) -> None:
        """Remember the call that this request was decoded from."""
        _set_origin(self, (spelling, raw, values, memory))
        _set_execution(self, None)
        _set_changed(self, _NOTHING)

    @property
    def spelling(self) -> Spelling | None:
        """How the program spelled it; None for a request that was made by hand."""
        return self._origin[0] if self._origin else None

    @property
    def memory(self) -> Memory | None:
        """The memory that its addresses refer to; None for a request that was made by hand."""
        return self._origin[3] if self._origin else None

    @property
    def tracee(self) -> Any:
        """The thread that asked."""
        return self._bound().tracee

    @property
    def writes(self) -> bool:
        """Whether it would change the file system that it names, so that a read-only one answers EROFS."""
        return type(self).WRITES(self)

    @property
    def is_bound(self) -> bool:
        """Whether an execution runs it."""
        return self._execution is not None

    def bind(self, execution: Execution) -> None:
        """Have this very request, which nobody else holds, run by that execution."""
        _set_execution(self, execution)

    def bound(self, execution: Execution) -> Self:
        """The same request, run by that execution."""
        copy = self._copy()
        _set_execution(copy, execution)
        return copy

    def instead(self, other: R) -> R:
        """Another request, run by the execution of this one."""
        return other.bound(self._bound())

    def run(self, **changes: Any) -> int:
        """Let it happen now, with some fields changed; the result, or OSError."""
        call = self.replace(**changes) if changes else self
        return self._bound().run(call)

    def replace(self, **changes: Any) -> Self:
        """The same request with some fields changed; all else stays as the program passed it."""
        unknown = changes.keys() - self.FIELDS.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        copy = self._copy()
        for name, value in changes.items():
            object.__setattr__(copy, name, value)
        _set_changed(copy, self._changed | changes.keys())
        return copy

    def encode(self, abi: Abi, memory: Memory) -> tuple[int, Args]:
        """The number and the six arguments; data that was given by hand is placed in the tracee's memory.

        OSError(ENOSYS) when the ABI has no call that can express the request.
        """
        origin = self._origin if self._origin and self._origin[0].abi is abi else None
        if origin and not self._changed:
            return origin[0].number, origin[1]
        spelling = self._choose(abi)
        args = list(origin[1]) if origin and spelling is origin[0] else [0] * 6
        kept = self._kept(origin)
        for arg in spelling.args:
            raw = kept.get((arg.field, arg.modifier, arg.layout))
            if raw is None:
                arg.put(getattr(self, arg.field), args, memory)
            else:
                args[arg.index : arg.index + arg.span] = raw
        return spelling.number, tuple(args)

    def _choose(self, abi: Abi) -> Spelling:
        own = [self._origin[0]] if self._origin and self._origin[0].abi is abi else []
        for spelling in [*own, *spellings_of(type(self), abi)]:
            if spelling.is_direct and spelling.expresses(self):
                return spelling
        raise OSError(errno.ENOSYS, f"{os.strerror(errno.ENOSYS)}: {self.NAME} on {abi.title}")

    def _kept(self, origin: Origin | None) -> dict[tuple[str, str, str], Args]:
        """The raw arguments of the fields that have not been changed."""
        if origin is None:
            return {}
        spelling, _, values, _ = origin
        return {
            (arg.field, arg.modifier, arg.layout): values[arg.index : arg.index + arg.span]
            for arg in spelling.args
            if arg.field not in self._changed
        }

    def _bound(self) -> Execution:
        if self._execution is None:
            raise RuntimeError(f"{self.NAME}: a request can be run only while its call is being handled")
        return self._execution

    def _copy(self) -> Self:
        copy = object.__new__(type(self))
        for assign, value in zip(type(self).ASSIGN, self.values(), strict=True):
            assign(copy, value)
        _set_origin(copy, self._origin)
        _set_execution(copy, self._execution)
        _set_changed(copy, self._changed)
        return copy

    ASSIGN: ClassVar[tuple[Callable[[Any, Any], None], ...]] = ()


Origin = tuple[Spelling, "Args", "Args", Memory]
_NOTHING: frozenset[str] = frozenset()
_SLOTS: Mapping[str, Any] = vars(Request)
_set_origin = _SLOTS["_origin"].__set__
_set_execution = _SLOTS["_execution"].__set__
_set_changed = _SLOTS["_changed"].__set__

REQUESTS: list[type[Request]] = []
"""All declared requests, in the order of their declaration."""


def _kind_of(annotation: Any) -> Kind:
    for kind in getattr(annotation, "__metadata__", ()):
        if isinstance(kind, Kind):
            return kind
    return PointerKind(annotation.__origin__, annotation.__args__[0])


def _anchor(field: str, fields: Mapping[str, Kind]) -> str | None:
    """The directory descriptor of a path is named like it: `dirfd` of `path`, `newdirfd` of `newpath`."""
    name = field.replace("path", "dirfd")
    return name if name != field and name in fields else None


@dataclass_transform(frozen_default=True)
def request(
    *,
    man: str,
    forms: Mapping[str, Mapping[str, Any]],
    classes: str = "",
    writes: Callable[[Any], bool] = kinds.never,
    returns: str = "",
) -> Callable[[C], C]:
    """Declare a system call: its man page and its spellings (see `forms`).

    `classes` are the words by which it can be selected with `%` apart from `file` and `desc`, which follow
    from its fields; `writes` tells whether it changes a file system; `returns` is "fd", "pid" or "address"
    when the result is that.
    """

    def declare(cls: C) -> C:
        own: Mapping[str, Any] = vars(cls).get("__annotations__", {})
        fields = {name: _kind_of(annotation) for name, annotation in own.items()}
        cls.FORMS = tuple([Form(text, fixed) for text, fixed in forms.items()])
        cls.NAME = cls.FORMS[0].name
        cls.MAN = man
        cls.DOC = cls.__doc__ or ""
        cls.SUBJECT = cls.__module__.rpartition(".")[2]
        cls.RETURNS = returns
        cls.WRITES = staticmethod(writes)
        cls.FIELDS = fields
        cls.PATHS = tuple([
            PathRule(name, _anchor(name, fields), kind)
            for name, kind in fields.items()
            if isinstance(kind, PathKind)
        ])
        cls.FDS = tuple([name for name, kind in fields.items() if isinstance(kind, FdKind)])
        implied = ["file"] * bool(cls.PATHS) + ["desc"] * bool(cls.FDS)
        cls.CLASSES = frozenset([*classes.split(), *implied])
        cls.ASSIGN = tuple([vars(cls)[name].__set__ for name in fields])
        REQUESTS.append(cls)
        return cls

    return declare
