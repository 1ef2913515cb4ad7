"""The sagas that a deployment runs: those of one module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from sagahook.saga.errors import DefinitionError
from sagahook.saga.language import Saga
from sagahook_schemas.definitions import SagaDefinition


class AppError(Exception):
    """The operator must act: the module with the sagas cannot be used."""


class SagaApp:
    """Every deployed saga, by name and version."""

    def __init__(self, sagas: Iterable[Saga]) -> None:
        self._sagas: dict[tuple[str, int], Saga] = {}
        for saga in sagas:
            key = (saga.name, saga.version)
            if key in self._sagas:
                raise DefinitionError(f"two sagas are named {saga.name!r} and have version {saga.version}")
            self._sagas[key] = saga
        newest: dict[str, Saga] = {}
        for (name, version), saga in self._sagas.items():
            if name not in newest or newest[name].version < version:
                newest[name] = saga
        self._newest = newest

    def get(self, name: str, version: int) -> Saga | None:
        return self._sagas.get((name, version))

    def newest(self) -> tuple[Saga, ...]:
        """Only the newest version of a saga triggers."""
        return tuple(self._newest.values())

    def definitions(self) -> tuple[SagaDefinition, ...]:
        return tuple(saga.definition for saga in self._sagas.values())


def load_app(name: str) -> SagaApp:
    """The saga classes found in the module `name` (dotted), or in the file of that path.

    Raises AppError where it cannot be imported or holds no saga, DefinitionError where a saga is wrong.
    """
    module = _import(name)
    classes = {  # a dict, because a class may stand there under several names, and order is kept
        member: None
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Saga) and member is not Saga
    }
    if not classes:
        raise AppError(
            f"the module {name} holds no saga: define a class that derives from sagahook.saga.Saga"
        )
    return SagaApp(saga() for saga in classes)


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
