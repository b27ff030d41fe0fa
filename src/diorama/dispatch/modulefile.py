"""Modulefile: a Python file that adds to a view (`--module FILE.py`).

The file defines `load(view)`.  What goes wrong in it is told in one line with the place.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from diorama.errors import UsageError


def load_module(file: str, view: Any) -> None:
    """Import `file` and call its `load(view)`; `UsageError` if that fails."""
    name = "diorama_module_" + Path(file).stem
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise UsageError(f"cannot load module {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        load = getattr(module, "load", None)
        if not callable(load):
            raise UsageError(f"module {file} has no function load(view)")
        load(view)
    except UsageError:
        raise
    except SyntaxError as error:
        raise UsageError(f"module {file}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise UsageError(f"module {_place(error, file)}: {type(error).__name__}: {error}") from error


def _place(error: BaseException, file: str) -> str:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).resolve() == Path(file).resolve():
            return f"{file}, line {frame.lineno}"
    return file
