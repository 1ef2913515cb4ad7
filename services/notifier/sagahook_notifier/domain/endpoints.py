"""Where outbound webhooks go: as people say it, and as the log's events are matched with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
)

from sagahook.runtime.sources import RateLimit, parse_rate
from sagahook_notifier.domain.credentials import MOST_SECRETS, Credentials, Secret
from sagahook_notifier.domain.filters import LONGEST, Filter, parsed
from sagahook_notifier.domain.policies import PolicyName
from sagahook_notifier.domain.signing import check_secret
from sagahook_notifier.domain.urls import destination
from sagahook_schemas.codec import CONTRACTS
from sagahook_schemas.definitions import SourceName
from sagahook_schemas.identity import NOTIFY_ENDPOINT_PREFIX

PayloadFormat = Literal["standard", "task", "cloudevents"]
Origin = Literal["configuration", "api", "notify_url"]

TASK_TYPES = ("task_started", "task_progress", "task_completed", "task_failed")
DEFAULT_TYPES = ("task_started", "task_completed", "task_failed")
FINAL_TYPES = ("task_completed", "task_failed")

TEST_TYPE = "endpoint.test"
"""Sent only on request, to the endpoint that is tested."""
DISABLED_TYPE = "endpoint.disabled"
"""Tells of another endpoint that was switched off because it failed."""

LOOK_BACK = timedelta(minutes=5)
"""An endpoint hears of what happened since it was registered, not of the log's whole past; and of so much before,
because the services of a new deployment start in any order and their clocks differ."""

REMOVED = "[removed]"
"""Shown in place of a header's value. Who sends it back means the value that is there."""


def fine_type(ce_type: str) -> str:
    """`sagahook.step.retry_scheduled.v1` → `step.retry_scheduled`."""
    return ce_type.removeprefix("sagahook.").rpartition(".")[0]


FINE_TYPES = tuple(
    name for name in map(fine_type, CONTRACTS) if name.startswith("saga.") or name.startswith("step.")
)
KNOWN_TYPES = tuple(sorted((*TASK_TYPES, *FINE_TYPES, "saga.*", "step.*", DISABLED_TYPE)))
_KNOWN_TYPES = frozenset(KNOWN_TYPES)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
_OUR_HEADERS = frozenset(
    {"host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"}
    | {"user-agent", "accept-encoding", "expect", "te", "trailer", "upgrade", "keep-alive"}
)
_OUR_PREFIXES = ("webhook-", "proxy-")
_LONGEST_VALUE = 4_096


def check_url(url: str) -> str:
    """The same URL. Raises InvalidUrl."""
    destination(url)
    return url


def _check_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(types) - _KNOWN_TYPES):
        raise ValueError(f"unknown event types {', '.join(unknown)}; known: {', '.join(KNOWN_TYPES)}")
    return types


def _check_policy(policy: PolicyName | tuple[float, ...]) -> PolicyName | tuple[float, ...]:
    if not isinstance(policy, str) and any(not 0 <= delay <= 7 * 86_400 for delay in policy):
        raise ValueError("each delay is from 0 seconds to 7 days")
    return policy


def _check_filter(text: str) -> str:
    parsed(text)
    return text


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    names = [name.lower() for name in headers]
    for name, value in headers.items():
        if not _TOKEN.match(name):
            raise ValueError(f"{name!r} is no header name")
        if name.lower() in _OUR_HEADERS or name.lower().startswith(_OUR_PREFIXES):
            raise ValueError(f"{name} is set by sagahook itself")
        if names.count(name.lower()) > 1:
            raise ValueError(f"{name} is there twice")
        text = value.get_secret_value()
        if len(text) > _LONGEST_VALUE or not all(" " <= character <= "~" for character in text):
            raise ValueError(
                f"the value of {name} must be printable ASCII, at most {_LONGEST_VALUE} characters"
            )
    return headers


def _check_secrets(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for secret in secrets:
        check_secret(secret.get_secret_value())
    return secrets


def _rate(given: Any) -> Any:
    rate = None if given is None else parse_rate(given)
    return None if isinstance(rate, RateLimit) and rate.unlimited else rate


EndpointId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Without control characters: what a log line and a terminal can show as it is."""
Plain = Annotated[str, StringConstraints(max_length=256, pattern=PLAIN)]
Rate = Annotated[
    RateLimit | None,
    BeforeValidator(_rate),
    PlainSerializer(lambda rate: None if rate is None else str(rate), return_type=str | None),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^[1-9][0-9]{0,5}/(s|min|h|d)$"}, {"type": "null"}]}
    ),
]


class EndpointOptions(BaseModel):
    """What people say of an endpoint. sources, sagas: None for every one. retry_policy: a name, or the delays in
    seconds before each further attempt. headers: sent beside ours, which they never replace."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[
        str, Field(max_length=2048, json_schema_extra={"format": "uri"}), AfterValidator(check_url)
    ]
    description: Plain = ""
    event_types: Annotated[
        tuple[str, ...], Field(min_length=1, max_length=100), AfterValidator(_check_types)
    ] = DEFAULT_TYPES
    sources: Annotated[tuple[SourceName, ...], Field(max_length=100)] | None = None
    sagas: Annotated[tuple[Plain, ...], Field(max_length=100)] | None = None
    filter: Annotated[str, Field(max_length=LONGEST), AfterValidator(_check_filter)] | None = None
    payload_format: PayloadFormat = "standard"
    retry_policy: Annotated[
        PolicyName | Annotated[tuple[float, ...], Field(max_length=50)], AfterValidator(_check_policy)
    ] = "standard"
    headers: Annotated[dict[str, SecretStr], Field(max_length=20), AfterValidator(_check_headers)] = {}
    rate_limit: Rate = None
    ordered: bool = False
    enabled: bool = True


def _own_id(given: str) -> str:
    if given.startswith(NOTIFY_ENDPOINT_PREFIX):
        raise ValueError(f"ids that begin with {NOTIFY_ENDPOINT_PREFIX} are made by sagahook")
    return given


OwnId = Annotated[EndpointId, AfterValidator(_own_id)]


class EndpointConfig(EndpointOptions):
    """One endpoint of `SAGAHOOK_ENDPOINTS`. secret: one, or several while they are rotated; every one signs."""

    id: OwnId
    secret: Annotated[
        tuple[SecretStr, ...],
        BeforeValidator(lambda given: (given,) if isinstance(given, str | SecretStr) else given),
        Field(min_length=1, max_length=MOST_SECRETS),
        AfterValidator(_check_secrets),
    ]

    def options(self) -> EndpointOptions:
        return EndpointOptions.model_construct(
            **{name: getattr(self, name) for name in EndpointOptions.model_fields}
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it is stored. credentials None: no key that is configured opens them; the headers of `options`
    are empty then. disabled_at, disabled_reason: the notifier switched it off by itself."""

    id: str
    origin: Origin
    options: EndpointOptions
    credentials: Credentials | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    signing_source: str | None = None

    @property
    def active(self) -> bool:
        """Whether anything is sent to it."""
        return self.options.enabled and self.disabled_at is None


def configured(config: EndpointConfig, before: Endpoint | None, now: datetime) -> Endpoint:
    """The endpoint as the configuration has it: `before` itself where that is what it is. One that was switched off
    stays so until its URL changes or a person enables it."""
    held = before.credentials.secrets if before is not None and before.credentials is not None else ()
    since = {secret.value: secret.created_at for secret in held}
    same_url = before is not None and before.options.url == config.url
    after = Endpoint(
        id=config.id,
        origin="configuration",
        options=config.options(),
        credentials=Credentials(
            tuple(Secret(value, since.get(value, now)) for value in config.secret), config.headers
        ),
        created_at=now if before is None else before.created_at,
        updated_at=now if before is None else before.updated_at,
        disabled_at=before.disabled_at if before is not None and same_url else None,
        disabled_reason=before.disabled_reason if before is not None and same_url else None,
    )
    return before if before == after else replace(after, updated_at=now)


def with_kept_headers(
    headers: Mapping[str, SecretStr], held: Mapping[str, SecretStr]
) -> dict[str, SecretStr]:
    """The headers that are asked for, with what is held of those whose value was sent back as REMOVED. Raises
    ValueError where there is none."""
    found = {name.lower(): value for name, value in held.items()}
    kept = dict(headers)
    for name, value in headers.items():
        if value.get_secret_value() == REMOVED:
            if name.lower() not in found:
                raise ValueError(f"headers: there is no value of {name} to keep: say it")
            kept[name] = found[name.lower()]
    return kept


@dataclass(frozen=True)
class Subscriber:
    """An endpoint as events are matched with it. sources, sagas: None for every one. filter: an expression."""

    endpoint_id: str
    event_types: tuple[str, ...]
    registered_at: datetime
    sources: tuple[str, ...] | None = None
    payload_format: PayloadFormat = "standard"
    sagas: tuple[str, ...] | None = None
    filter: str | None = None

    @cached_property
    def condition(self) -> Filter | None:
        return None if self.filter is None else parsed(self.filter)

    def type_for(self, types: Iterable[str], source: str, saga: str, at: datetime) -> str | None:
        """The first of an event's names that this endpoint asked for; None: it wants none of them. Its filter has not
        been asked yet."""
        if at < self.registered_at - LOOK_BACK:
            return None
        if self.sources is not None and source not in self.sources:
            return None
        if self.sagas is not None and saga not in self.sagas:
            return None
        return next(filter(self.asked_for, types), None)

    def asked_for(self, event_type: str) -> bool:
        return event_type in self.event_types or f"{event_type.partition('.')[0]}.*" in self.event_types
