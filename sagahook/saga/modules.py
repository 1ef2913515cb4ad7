"""Finds the module that the sagas of an app stand in."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from sagahook.saga.errors import DefinitionError
from sagahook.saga.problems import lines_of


class AppError(Exception):
    """The operator must act: the module with the sagas cannot be used."""


def import_app(name: str) -> ModuleType:
    """The module of that dotted name, or in the file of that path.

    Raises AppError, and DefinitionError where a Retry or a RateLimit in it cannot be.
    """
    try:
        return _import(name)
    except ValidationError as invalid:
        at = _author_s_line(invalid)
        raise DefinitionError(*(f"{at}: {invalid.title}: {line}" for line in lines_of(invalid))) from invalid


def _author_s_line(raised: BaseException) -> str:
    """`orders.py, line 7`: the last place that is not in a library."""
    frames = traceback.extract_tb(raised.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and frame.filename != __file__]
    last = [frame for frame in own if not frame.filename.startswith("<")][-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def _import(name: str) -> ModuleType:
    if name.endswith(".py"):
        return _import_file(name)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        # As `python -m` does: a module beside the person who started us is found.
        sys.path.insert(0, str(Path.cwd()))
    return _import_module(name)


def _import_file(name: str) -> ModuleType:
    path = Path(name).resolve()
    if not path.is_file():
        raise AppError(f"there is no file {name}: give a file or a dotted module name with --app")
    sys.path.insert(0, str(path.parent))
    module = _import_module(path.stem)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise AppError(
            f"{name} cannot be loaded because another module is called {path.stem}: give the file another name"
        )
    return module


def _import_module(name: str) -> ModuleType:
    if not all(name.split(".")):
        raise AppError(f"there is no module {name!r}: give a file or a dotted module name with --app")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name == name or name.startswith(f"{missing.name}."):
            raise AppError(
                f"there is no module {name}: run from the folder that holds it, or install its package"
            ) from missing
        raise AppError(f"the module {name} needs {missing.name}, which is not installed") from missing
