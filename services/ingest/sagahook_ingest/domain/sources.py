"""Who may send: the sources of the configuration and those that the deployed sagas' triggers name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sagahook.runtime.addresses import Network
from sagahook.runtime.sources import UNLIMITED, RateLimit, SchemeName, Source, Sources
from sagahook_ingest.domain.fields import EVERYONES, FieldRules
from sagahook_ingest.domain.headers import READ
from sagahook_ingest.domain.recorded import HARMLESS, Recorder
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.signatures import Options, Scheme, scheme_of
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import SagaDefinition, TriggerDefinition
from sagahook_schemas.paths import MISSING, identity_value, lookup

_FORMS: frozenset[SchemeName] = frozenset({"slack", "github"})
"""Whose senders use forms: Slack for slash commands and interactions, GitHub where a hook is set up so."""


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """A trigger that takes a saga's identity from the body. path: one of the fields that it is made of."""

    saga: str
    trigger: TriggerDefinition
    path: str


@dataclass(frozen=True, slots=True)
class KnownSource:
    """scheme None: whoever reaches ingest may send. body_limit: bytes; None for the usual one. networks: empty for
    everyone. rate: of each client, None for no limit. reads: the names of headers beside those that are always read.
    subject_path: what it sends is sealed, under a key for each value there; "": under one key; None: it is not sealed.
    """

    name: str
    allow_notify_url: bool = False
    scheme_name: SchemeName = "none"
    scheme: Scheme | None = None
    fields: FieldRules = EVERYONES
    body_limit: int | None = None
    rate: RateLimit | None = None
    networks: tuple[Network, ...] = ()
    reads: frozenset[bytes] = frozenset()
    takes_forms: bool = False
    subject_path: str | None = None
    recorder: Recorder = field(default_factory=Recorder)
    rules: tuple[IdentityRule, ...] = ()
    triggers: tuple[TriggerDefinition, ...] = ()

    def check_notify_url(self, url: str) -> None:
        """Raises Refusal."""
        if url and not self.allow_notify_url:
            raise Refusal(
                400,
                f"The source {self.name!r} does not allow X-Notify-URL: set allow_notify_url for it in "
                "SAGAHOOK_SOURCES, or leave it out",
            )

    def wants(self, event_type: str) -> bool:
        """Whether a deployed saga has a trigger for such an event."""
        return any(trigger.wants(self.name, event_type) for trigger in self.triggers)

    def subject(self, body: JsonValue) -> str | None:
        """Whose data it is: "" where it does not say so, or where all is the source's; None: nothing is sealed."""
        if not self.subject_path:
            return self.subject_path
        found = lookup(body, self.subject_path)
        return "" if found is MISSING else identity_value(found) or ""

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
    """A view of `saga.definitions` over the configured sources; of each saga the newest version counts.

    unsigned_rate: of each client of a source that neither signs nor has a rate of its own.
    """

    def __init__(self, configured: Sources, unsigned_rate: RateLimit = UNLIMITED) -> None:
        """Raises ValueError where a secret has not its scheme's form."""
        self._unsigned_rate = unsigned_rate
        self._configured = self._built(configured)
        self._deployed: dict[str, dict[int, SagaDefinition]] = {}
        self._index()

    headers: frozenset[bytes]
    """The lower-case names of all that some source reads."""

    def get(self, name: str) -> KnownSource | None:
        return self._by_name.get(name)

    def reconfigure(self, configured: Sources) -> None:
        """From now on these are configured. Raises ValueError, and then all stays as it was."""
        self._configured = self._built(configured)
        self._index()

    def deployed(self, definition: SagaDefinition) -> None:
        self._deployed.setdefault(definition.name, {})[definition.version] = definition
        self._index()

    def removed(self, key: str) -> None:
        """A tombstone for the definition with that record key."""
        name, _, version = key.rpartition("@")
        versions = self._deployed.get(name, {})
        if version.isdigit() and versions.pop(int(version), None) is not None:
            if not versions:
                del self._deployed[name]
            self._index()

    def _built(self, configured: Sources) -> dict[str, KnownSource]:
        return {name: known_source(name, source, self._unsigned_rate) for name, source in configured.items()}

    def _index(self) -> None:
        triggers: dict[str, list[tuple[str, TriggerDefinition]]] = {name: [] for name in self._configured}
        for versions in self._deployed.values():
            newest = versions[max(versions)]
            for trigger in newest.triggers:
                triggers.setdefault(trigger.source, []).append((newest.name, trigger))
        self._by_name = {
            name: _with_triggers(
                self._configured.get(name) or known_source(name, Source(), self._unsigned_rate), wanting
            )
            for name, wanting in triggers.items()
        }
        self.headers = READ.union(*(source.reads for source in self._by_name.values()))


def known_source(name: str, source: Source, unsigned_rate: RateLimit = UNLIMITED) -> KnownSource:
    """Without what the triggers add. Raises ValueError, which names the source and quotes no secret."""
    signed = source.scheme != "none"
    scheme = scheme_for(name, source) if signed else None
    fields = FieldRules.of(source)
    rate = source.rate_limit or (UNLIMITED if signed else unsigned_rate)
    return KnownSource(
        name,
        allow_notify_url=source.allow_notify_url,
        scheme_name=source.scheme,
        scheme=scheme,
        fields=fields,
        body_limit=source.body_limit,
        rate=None if rate.unlimited else rate,
        networks=source.allowed_ips,
        reads=fields.reads | (scheme.reads if scheme else frozenset()),
        takes_forms=source.scheme in _FORMS,
        subject_path=None if source.erasure is None else source.erasure.partition(":")[2],
        recorder=Recorder(_secrets(source, scheme, fields)),
    )


def _secrets(source: Source, scheme: Scheme | None, fields: FieldRules) -> set[bytes]:
    """The headers whose values the log must not have, whatever they are called."""
    secrets = set(scheme.reads - HARMLESS) if scheme is not None else set()
    if source.header is not None:
        secrets.add(source.header.lower().encode())
    if fields.idempotency_key is not None:
        secrets |= fields.idempotency_key.names
    return secrets


def scheme_for(name: str, source: Source) -> Scheme:
    """Raises ValueError, which names the source and quotes no secret."""
    options = Options(
        tolerance=timedelta(seconds=source.tolerance),
        header=source.header,
        prefix=source.prefix,
        algorithm=source.algorithm,
        encoding=source.encoding,
        username=source.username,
    )
    try:
        return scheme_of(source.scheme, [secret.get_secret_value() for secret in source.secrets], options)
    except ValueError as unusable:
        raise ValueError(f"{name}.secrets: {unusable}") from None


def _with_triggers(source: KnownSource, wanting: Iterable[tuple[str, TriggerDefinition]]) -> KnownSource:
    triggers = tuple(wanting)
    return replace(
        source,
        triggers=tuple(trigger for _, trigger in triggers),
        rules=tuple(
            IdentityRule(saga, trigger, path) for saga, trigger in triggers for path in trigger.identifying
        ),
    )
