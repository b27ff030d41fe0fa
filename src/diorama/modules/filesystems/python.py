"""Python: a file system, or a device, that is a class of the user's own.

`py:package.module:Class(arguments)`, or `py:./file.py:Class`.  What is named is a class, a function that
returns one, or one that was made already; arguments are literals of Python (numbers, strings, lists
and so on).  Modules are found as `python3` finds them, and in the current directory.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from diorama.errors import UsageError
from diorama.interfaces.device import Device
from diorama.interfaces.filesystem import FileSystem
from diorama.modules.filesystems.calling import OneThread
from diorama.modules.filesystems.operations import OperationsFileSystem, is_operations
from diorama.modules.options import Options

__all__ = ["object_of", "open_python"]

_SOURCE: Final = re.compile(r"(?P<module>.+?):(?P<name>[A-Za-z_][\w.]*)(?P<arguments>\(.*\))?", re.DOTALL)


def open_python(rest: str, options: Options | None = None) -> FileSystem:
    """The file system that `rest` names; `UsageError` in one line for whatever goes wrong."""
    found = object_of(rest, options)
    if isinstance(found, Device):
        raise UsageError(f"cannot mount py:{rest}: it is a device")
    return found


def object_of(rest: str, options: Options | None = None) -> FileSystem | Device:
    """The file system or device that `rest` names; `UsageError` in one line for whatever goes wrong."""
    what = f"py:{rest}"
    options = options or Options()
    raw_fi, thread = options.is_set("raw_fi"), OneThread() if options.is_set("nothreads") else None
    match = _SOURCE.fullmatch(rest)
    if match is None:
        raise UsageError(f"cannot mount {what}: write py:MODULE:CLASS(ARGUMENTS) or py:./FILE.py:CLASS")
    positional, named = _arguments(what, match["arguments"] or "()")
    module = _module(what, match["module"])
    found: Any = module
    for name in match["name"].split("."):
        found = getattr(found, name, None)
        if found is None:
            raise UsageError(f"cannot mount {what}: {match['module']} has no {match['name']}")
    if callable(found):
        try:
            make = partial(found, *positional, **named)
            found = make() if thread is None else thread(make)
        except Exception as error:
            _fail(what, module, error)
    elif match["arguments"]:
        raise UsageError(f"cannot mount {what}: {match['name']} takes no arguments")
    if isinstance(found, Device):
        return found
    if not isinstance(found, FileSystem) and is_operations(found):
        return OperationsFileSystem(found, raw_fi=raw_fi, thread=thread)
    if not isinstance(found, FileSystem):
        reason = f"it gives no FileSystem and no Device, but an object of type {type(found).__name__}"
        raise UsageError(f"cannot mount {what}: {reason}")
    return found


def _arguments(what: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        call = ast.parse(f"f{text}", mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError(text)
        positional = [ast.literal_eval(one) for one in call.args]
        named = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg is not None}
    except (SyntaxError, ValueError):
        raise UsageError(f"cannot mount {what}: arguments are literals of Python, not {text}") from None
    return positional, named


def _module(what: str, name: str) -> ModuleType:
    try:
        if name.endswith(".py") or "/" in name:
            return _run(what, Path(name))
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        return import_module(name)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        raise UsageError(f"cannot mount {what}: {error}") from None
    except SyntaxError as error:
        raise UsageError(f"cannot mount {what}: {error.filename}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise UsageError(f"cannot mount {what}: {type(error).__name__}: {error}") from error


def _run(what: str, file: Path) -> ModuleType:
    name = f"diorama_filesystem_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise UsageError(f"cannot mount {what}: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # what stands beside it
    spec.loader.exec_module(module)
    return module


def _fail(what: str, module: ModuleType, error: Exception) -> NoReturn:
    if isinstance(error, UsageError):
        raise error
    file = getattr(module, "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"{file}, line {lines[-1]}: " if lines else ""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    raise UsageError(f"cannot mount {what}: {where}{text}") from error
