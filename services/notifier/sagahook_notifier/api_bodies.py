"""What the notifier's routes take and answer (api.md §6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from orjson import loads
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, SecretStr

from sagahook_notifier.adapters.delivery_store import DeliveryStatus
from sagahook_notifier.domain.endpoints import (
    PLAIN,
    REMOVED,
    Endpoint,
    EndpointOptions,
    Origin,
    OwnId,
    PayloadFormat,
)
from sagahook_notifier.domain.policies import PolicyName
from sagahook_notifier.domain.signing import Scheme, check_secret, public_key, scheme_of
from sagahook_schemas.base import AwareDatetime
from sagahook_schemas.envelope import parse_rfc3339


def _read(given: Any) -> Any:
    """A number is no time here, though pydantic would take it for one."""
    return parse_rfc3339(given) if isinstance(given, str) else given if isinstance(given, datetime) else None


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_read),
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC)),
]
"""One that PostgreSQL can hold in UTC too."""


def _check_secret(secret: SecretStr) -> SecretStr:
    check_secret(secret.get_secret_value())
    return secret


GivenSecret = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    Field(description="whsec_… or whsk_…; by default one is made", max_length=256),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewEndpoint(EndpointOptions):
    id: OwnId | None = Field(default=None, description="by default one is made")
    secret: GivenSecret | None = None
    signature: Scheme = Field(
        default="v1", description="of the secret that is made: v1 is HMAC-SHA256, v1a is ed25519"
    )

    def options(self) -> EndpointOptions:
        return EndpointOptions.model_construct(**_options(self))


class EndpointChange(EndpointOptions):
    """Only what is there is changed."""

    url: Annotated[str, EndpointOptions.model_fields["url"]] = ""

    def changed(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class Rotation(_Body):
    secret: GivenSecret | None = None
    signature: Scheme | None = Field(default=None, description="by default that of the secret before")
    overlap: float = Field(
        default=86_400,
        ge=0,
        le=30 * 86_400,
        description="seconds that the secrets before it go on signing; 0 ends them at once",
    )


class Recovery(_Body):
    since: Time = Field(description="deliveries that were made since then, and whose attempts are used up")
    until: Time | None = None
    rate: float | None = Field(
        default=None, ge=0.01, le=1_000, description="deliveries a second to each endpoint"
    )


class Redrive(Recovery):
    endpoint_id: Annotated[str, Field(max_length=64, pattern=PLAIN)] | None = Field(
        default=None, description="by default those of every endpoint"
    )


class SecretBody(BaseModel):
    signature: Scheme
    public_key: str | None = Field(description="whpk_…: what receivers verify v1a by")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(description="until when it signs beside the newest")


class EndpointBody(BaseModel):
    id: str
    url: str
    description: str
    event_types: list[str]
    sources: list[str] | None = Field(description="null: every one")
    sagas: list[str] | None = Field(description="null: every one")
    filter: str | None
    secret: str | None = Field(description="shown once, in the answer to the call that made it; else null")
    secrets: list[SecretBody] | None = Field(
        description="those that sign, the newest first; null: no key that is configured opens them"
    )
    retry_policy: PolicyName | list[float]
    payload_format: PayloadFormat
    headers: dict[str, str] = Field(description="their values are not shown")
    rate_limit: str | None
    ordered: bool
    enabled: bool = Field(description="whether anything is sent to it")
    disabled_at: AwareDatetime | None = Field(description="when it was switched off because it failed")
    disabled_reason: str | None
    origin: Origin
    created_at: AwareDatetime
    updated_at: AwareDatetime


class DeliverySummary(BaseModel):
    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    task_id: str = Field(description='"" where it is about no task')
    run: int
    correlation_id: str
    status: DeliveryStatus
    attempt_count: int
    next_attempt_at: AwareDatetime | None
    created_at: AwareDatetime
    finished_at: AwareDatetime | None


class AttemptBody(BaseModel):
    attempt: int
    started_at: AwareDatetime
    duration_ms: float
    status_code: int | None
    error: str | None
    request_headers: dict[str, str] = Field(description="without secrets")
    response_headers: dict[str, str]
    response_excerpt: str | None
    phases: dict[str, float] = Field(description="milliseconds")


class DeliveryBody(DeliverySummary):
    content_type: str
    payload: JsonValue
    attempts: list[AttemptBody] = Field(description="the first one first")


class Statistics(BaseModel):
    endpoint_id: str
    since: AwareDatetime
    deliveries: dict[DeliveryStatus, int] = Field(description="that were made since then")
    attempts: dict[str, int] = Field(description="of those: succeeded, failed")
    success_rate: float | None = Field(description="of the deliveries that ended; null: none did")
    latency_ms: dict[str, float | None] = Field(description="of their attempts: p50, p95")
    backlog: int = Field(description="deliveries that wait, whenever they were made")
    oldest_pending_at: AwareDatetime | None
    failures: int = Field(description="attempts that failed, one after the other, until now")
    failing_since: AwareDatetime | None
    paused_until: AwareDatetime | None = Field(
        description="it failed so often that it is left alone until then"
    )


class Accepted(BaseModel):
    delivery_id: str


class Redriven(BaseModel):
    count: int = Field(description="deliveries that are sent again")
    more: bool = Field(description="there are more: ask again once these are sent")


def shown(endpoint: Endpoint, at: datetime, secret: SecretStr | None = None) -> EndpointBody:
    """secret: to be seen this once."""
    options, credentials = endpoint.options, endpoint.credentials
    return EndpointBody(
        **{name: value for name, value in _options(options).items() if name not in _SHOWN_OTHERWISE},
        id=endpoint.id,
        secret=None if secret is None else secret.get_secret_value(),
        secrets=None
        if credentials is None
        else [
            SecretBody(
                signature=scheme_of(each.value.get_secret_value()),
                public_key=public_key(each.value.get_secret_value()),
                created_at=each.created_at,
                expires_at=each.until,
            )
            for each in credentials.valid(at)
        ],
        headers=dict.fromkeys(credentials.headers if credentials else (), REMOVED),
        rate_limit=None if options.rate_limit is None else str(options.rate_limit),
        enabled=endpoint.active,
        disabled_at=endpoint.disabled_at,
        disabled_reason=endpoint.disabled_reason,
        origin=endpoint.origin,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


_SHOWN_OTHERWISE = ("headers", "rate_limit", "enabled")


def _options(body: EndpointOptions) -> dict[str, Any]:
    return {name: getattr(body, name) for name in EndpointOptions.model_fields}


def summary(row: Mapping[str, Any]) -> dict[str, Any]:
    waits = row["status"] == "pending" and row["leased_until"] is None
    return {
        "id": row["id"],
        "endpoint_id": row["endpoint_id"],
        "event_id": row["event_id"],
        "event_type": row["event_type"],
        "task_id": row["saga_id"],
        "run": row["run"],
        "correlation_id": row["correlation_id"],
        "status": row["status"],
        "attempt_count": row["attempts"],
        "next_attempt_at": row["claimable_at"] if waits else None,
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


def delivery(row: Mapping[str, Any], attempts: list[Mapping[str, Any]]) -> DeliveryBody:
    return DeliveryBody(
        **summary(row),
        content_type=row["content_type"],
        payload=loads(row["body"]),
        attempts=[
            AttemptBody(
                attempt=each["attempt"],
                started_at=each["started_at"],
                duration_ms=round(each["duration_ms"], 1),
                status_code=each["status_code"],
                error=each["error"],
                request_headers=each["request_headers"],
                response_headers=each["response_headers"] or {},
                response_excerpt=each["response_excerpt"],
                phases=each["phases"] or {},
            )
            for each in attempts
        ],
    )


def statistics(endpoint_id: str, row: Mapping[str, Any]) -> Statistics:
    ended = row["succeeded"] + row["exhausted"]
    return Statistics(
        endpoint_id=endpoint_id,
        since=row["since"],
        deliveries={name: row[name] for name in ("pending", "succeeded", "exhausted", "cancelled")},
        attempts={"succeeded": row["attempts_succeeded"], "failed": row["attempts_failed"]},
        success_rate=round(row["succeeded"] / ended, 4) if ended else None,
        latency_ms={name: None if row[name] is None else round(row[name], 1) for name in ("p50", "p95")},
        backlog=row["backlog"],
        oldest_pending_at=row["oldest_pending_at"],
        failures=row["failures"] or 0,
        failing_since=row["failing_since"],
        paused_until=row["open_until"],
    )
