"""Who may send: the sources of the configuration and those that the deployed sagas' triggers name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sagahook.runtime.sources import Source, Sources
from sagahook_ingest.domain.refusals import Refusal
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import SagaDefinition, TriggerDefinition
from sagahook_schemas.paths import MISSING, identity_value, lookup


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """A trigger that takes a saga's identity from the body. path: one of the fields that it is made of."""

    saga: str
    trigger: TriggerDefinition
    path: str


@dataclass(frozen=True, slots=True)
class KnownSource:
    name: str
    allow_notify_url: bool
    rules: tuple[IdentityRule, ...] = ()

    def check_notify_url(self, url: str) -> None:
        """Raises Refusal."""
        if url and not self.allow_notify_url:
            raise Refusal(
                400,
                f"The source {self.name!r} does not allow X-Notify-URL: set allow_notify_url for it in "
                "SAGAHOOK_SOURCES, or leave it out",
            )

    def check_identity(self, event_type: str, body: JsonValue) -> None:
        """Every trigger that wants the event finds its idempotency key in it. Raises Refusal."""
        for rule in self.rules:
            if not rule.trigger.wants(self.name, event_type):
                continue
            found = lookup(body, rule.path)
            if found is MISSING:
                raise Refusal(
                    400,
                    f"The field {rule.path!r} is missing or null: it is the idempotency key of the "
                    f"saga {rule.saga!r}",
                )
            if identity_value(found) is None:
                raise Refusal(
                    400,
                    f"The field {rule.path!r} is the idempotency key of the saga {rule.saga!r}: it must be a "
                    "string, a boolean or a number that needs no rounding",
                )


class KnownSources:
    """A view of `saga.definitions` over the configured sources; of each saga the newest version counts."""

    def __init__(self, configured: Sources) -> None:
        self._configured = configured
        self._deployed: dict[str, dict[int, SagaDefinition]] = {}
        self._by_name = _index(configured, {})

    def get(self, name: str) -> KnownSource | None:
        return self._by_name.get(name)

    def deployed(self, definition: SagaDefinition) -> None:
        self._deployed.setdefault(definition.name, {})[definition.version] = definition
        self._by_name = _index(self._configured, self._deployed)

    def removed(self, key: str) -> None:
        """A tombstone for the definition with that record key."""
        name, _, version = key.rpartition("@")
        versions = self._deployed.get(name, {})
        if version.isdigit() and versions.pop(int(version), None) is not None:
            if not versions:
                del self._deployed[name]
            self._by_name = _index(self._configured, self._deployed)


def _index(
    configured: Sources, deployed: Mapping[str, Mapping[int, SagaDefinition]]
) -> dict[str, KnownSource]:
    rules: dict[str, list[IdentityRule]] = {name: [] for name in configured}
    for versions in deployed.values():
        newest = versions[max(versions)]
        for trigger in newest.triggers:
            of_source = rules.setdefault(trigger.source, [])
            of_source += [IdentityRule(newest.name, trigger, path) for path in trigger.identifying]
    default = Source()
    return {
        name: KnownSource(name, configured.get(name, default).allow_notify_url, tuple(of_source))
        for name, of_source in rules.items()
    }
