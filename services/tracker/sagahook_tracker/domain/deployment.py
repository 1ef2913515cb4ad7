"""What is deployed, and what of it operators paused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sagahook_schemas.definitions import ControlKind, ControlSet, SagaDefinition


class DeployedVersion(NamedTuple):
    definition: SagaDefinition
    deployed_at: datetime


@dataclass(frozen=True, slots=True)
class Pausable:
    """A definition with all its versions, or a source. control: what an operator said of it last. sources: of a
    definition, those whose webhooks start its newest version. definitions: of a source, those that it starts."""

    kind: ControlKind
    name: str
    control: ControlSet | None
    versions: tuple[DeployedVersion, ...] = ()
    sources: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()

    @property
    def paused(self) -> bool:
        return self.control is not None and self.control.paused


class Deployment:
    """versions: every version of every definition, those of one name in their order. controls: of each kind and name
    the newest."""

    def __init__(self, versions: Iterable[DeployedVersion], controls: Iterable[ControlSet]) -> None:
        self._controls = {(each.kind, each.name): each for each in controls}
        by_name: dict[str, list[DeployedVersion]] = {}
        for each in versions:
            by_name.setdefault(each.definition.name, []).append(each)
        started: dict[str, set[str]] = {}
        for name, each_version in by_name.items():
            for source in _sources(each_version[-1].definition):
                started.setdefault(source, set()).add(name)
        self.definitions = self._all("definition", by_name, versions=by_name)
        self.sources = self._all("source", started, started=started)

    def find(self, kind: ControlKind, name: str) -> Pausable | None:
        """None: nothing of that name is deployed, and no operator ever said anything of it."""
        among = self.definitions if kind == "definition" else self.sources
        return next((each for each in among if each.name == name), None)

    def _all(
        self,
        kind: ControlKind,
        names: Iterable[str],
        *,
        versions: Mapping[str, list[DeployedVersion]] | None = None,
        started: Mapping[str, set[str]] | None = None,
    ) -> tuple[Pausable, ...]:
        told = {name for of, name in self._controls if of == kind}
        found = []
        for name in sorted(told.union(names)):
            deployed = tuple((versions or {}).get(name, ()))
            found.append(
                Pausable(
                    kind,
                    name,
                    self._controls.get((kind, name)),
                    versions=deployed,
                    sources=_sources(deployed[-1].definition) if deployed else (),
                    definitions=tuple(sorted((started or {}).get(name, ()))),
                )
            )
        return tuple(found)


def _sources(definition: SagaDefinition) -> tuple[str, ...]:
    return tuple(dict.fromkeys(trigger.source for trigger in definition.triggers))
