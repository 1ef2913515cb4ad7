"""The sagas that a deployment runs: those of one module."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from sagahook.saga.errors import DefinitionError
from sagahook.saga.families import family_problems
from sagahook.saga.language import Saga
from sagahook.saga.modules import AppError, import_app
from sagahook.saga.problems import gathering
from sagahook_schemas.definitions import SagaDefinition

__all__ = ["AppError", "SagaApp", "check_app", "load_app"]


class SagaApp:
    """Every deployed saga, by name and version. Raises DefinitionError where they do not go together."""

    def __init__(self, sagas: Iterable[Saga]) -> None:
        self._sagas: dict[tuple[str, int], Saga] = {}
        problems: list[str] = []
        for saga in sagas:
            key = (saga.name, saga.version)
            if key in self._sagas:
                problems.append(f"two sagas are named {saga.name!r} and have version {saga.version}")
            self._sagas[key] = saga
        newest: dict[str, Saga] = {}
        for (name, version), saga in self._sagas.items():
            if name not in newest or newest[name].version < version:
                newest[name] = saga
        self._newest = newest
        problems += family_problems(
            self.definitions(), {name: saga.definition for name, saga in newest.items()}
        )
        if problems:
            raise DefinitionError(*problems)
        for saga in self._sagas.values():
            saga.app = self

    def get(self, name: str, version: int) -> Saga | None:
        return self._sagas.get((name, version))

    def newest(self) -> tuple[Saga, ...]:
        """Only the newest version of a saga triggers."""
        return tuple(self._newest.values())

    def newest_of(self, name: str) -> Saga | None:
        """What runs as a child of that name."""
        return self._newest.get(name)

    def definitions(self) -> tuple[SagaDefinition, ...]:
        return tuple(saga.definition for saga in self._sagas.values())


def load_app(name: str) -> SagaApp:
    """The saga classes found in the module `name` (dotted), or in the file of that path.

    Raises AppError where it cannot be imported or holds no saga, DefinitionError where a saga is wrong.
    """
    return SagaApp(saga() for saga in _classes(import_app(name), name))


def check_app(name: str) -> SagaApp:
    """As load_app, but what is wrong is gathered from the whole module, and not only told of the first class.

    The module stays imported with what is wrong in it: it is for a process that ends then.
    """
    with gathering() as problems:
        classes = _classes(import_app(name), name)
    if problems:
        raise DefinitionError(*problems)
    return SagaApp(saga() for saga in classes)


def _classes(module: ModuleType, name: str) -> tuple[type[Saga], ...]:
    """Raises AppError. The library's own classes, which others derive from, are not the app's."""
    found = {  # a dict, because a class may stand there under several names, and order is kept
        member: None
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Saga)
        if not f"{member.__module__}.".startswith("sagahook.saga.")
    }
    if not found:
        raise AppError(
            f"the module {name} holds no saga: define a class that derives from sagahook.saga.Saga"
        )
    return tuple(found)
