"""Formatter: requests and results as strace(1) writes them, and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diorama.abi.errno import RESTARTS, error_name, error_text
from diorama.catalogue.kinds import Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diorama.catalogue.model import Request

__all__ = ["call_text", "fields", "result_text"]

_MAX_ERRNO = 4095


def call_text(request: Request, result: int | None = None) -> str:
    """`openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)`, in the program's own spelling.

    What the call fills is shown when its result is given and no error, its address otherwise.
    """
    shown = Shown(request, result)
    name, names = _spelled(request)
    texts = [request.FIELDS[field].text(getattr(request, field), shown) for field in names]
    return f"{name}({', '.join([text for text in texts if text])})"


def result_text(request: Request, value: int) -> str:
    """`3`, or `-1 ENOENT (No such file or directory)`."""
    if -_MAX_ERRNO <= value < 0:
        mark = "?" if -value in RESTARTS else "-1"
        return f"{mark} {error_name(-value)} ({error_text(-value)})"
    return hex(value) if request.RETURNS == "address" else str(value)


def fields(request: Request, result: int | None = None) -> dict[str, Any]:
    """The fields by name, as JSON can hold them."""
    shown = Shown(request, result)
    return {name: kind.data(getattr(request, name), shown) for name, kind in request.FIELDS.items()}


def _spelled(request: Request) -> tuple[str, Sequence[str]]:
    """The name to show (behind a multiplexer the request's own) and the fields in order."""
    spelling = request.spelling
    if spelling is None or not spelling.expresses(request):
        return request.NAME, request.FORMS[0].fields
    name = spelling.name if spelling.selector is None else request.NAME
    return name, [arg.field for arg in spelling.args]
