"""Where outbound webhooks go: as it is configured, and as the log's events are matched with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from sagahook_notifier.domain.policies import PolicyName
from sagahook_notifier.domain.signing import signing_key
from sagahook_schemas.codec import CONTRACTS
from sagahook_schemas.identity import NOTIFY_ENDPOINT_PREFIX

PayloadFormat = Literal["standard", "task"]

TASK_TYPES = ("task_started", "task_progress", "task_completed", "task_failed")
DEFAULT_TYPES = ("task_started", "task_completed", "task_failed")
FINAL_TYPES = ("task_completed", "task_failed")

LOOK_BACK = timedelta(minutes=5)
"""An endpoint hears of what happened since it was registered, not of the log's whole past; and of so much before,
because the services of a new deployment start in any order and their clocks differ."""


def fine_type(ce_type: str) -> str:
    """`sagahook.step.retry_scheduled.v1` → `step.retry_scheduled`."""
    return ce_type.removeprefix("sagahook.").rpartition(".")[0]


FINE_TYPES = tuple(
    name for name in map(fine_type, CONTRACTS) if name.startswith("saga.") or name.startswith("step.")
)
_KNOWN_TYPES = frozenset((*TASK_TYPES, *FINE_TYPES, "saga.*", "step.*"))

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_OUR_HEADERS = frozenset(
    {"host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"}
    | {"user-agent", "accept-encoding", "expect", "te", "trailer", "upgrade"}
)


class InvalidUrl(ValueError):
    """A person must correct the endpoint: nothing can be sent to it."""


def check_url(url: str) -> str:
    """The same URL. Raises InvalidUrl."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as invalid:
        raise InvalidUrl(f"the URL is malformed: {invalid}") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise InvalidUrl("the URL must be http or https, with a host")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrl("the URL must not carry a user name or password: use a header for credentials")
    if any(not "!" <= character <= "~" for character in url):
        raise InvalidUrl("the URL must be printable ASCII without spaces")
    return url


def _check_secret(secret: SecretStr) -> SecretStr:
    signing_key(secret.get_secret_value())
    return secret


def _check_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(types) - _KNOWN_TYPES):
        raise ValueError(
            f"unknown event types {', '.join(unknown)}; known: {', '.join(sorted(_KNOWN_TYPES))}"
        )
    return types


def _check_policy(policy: PolicyName | tuple[float, ...]) -> PolicyName | tuple[float, ...]:
    if not isinstance(policy, str) and any(not 0 <= delay <= 7 * 86_400 for delay in policy):
        raise ValueError("each delay is from 0 seconds to 7 days")
    return policy


class EndpointConfig(BaseModel):
    """One endpoint of `SAGAHOOK_ENDPOINTS`. retry_policy: a name, or the delays in seconds before each
    further attempt. sources: None for every one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    url: Annotated[str, Field(max_length=2048), AfterValidator(check_url)]
    secret: Annotated[SecretStr, AfterValidator(_check_secret)]
    event_types: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_check_types)] = DEFAULT_TYPES
    sources: tuple[str, ...] | None = None
    payload_format: PayloadFormat = "standard"
    retry_policy: Annotated[
        PolicyName | Annotated[tuple[float, ...], Field(max_length=50)], AfterValidator(_check_policy)
    ] = "standard"
    headers: dict[str, SecretStr] = Field(default={}, max_length=20)
    enabled: bool = True

    @model_validator(mode="after")
    def _check(self) -> EndpointConfig:
        if self.id.startswith(NOTIFY_ENDPOINT_PREFIX):
            raise ValueError(f"id: ids that begin with {NOTIFY_ENDPOINT_PREFIX} are made by sagahook")
        for name, value in self.headers.items():
            if not _TOKEN.match(name):
                raise ValueError(f"headers: {name!r} is no header name")
            if name.lower() in _OUR_HEADERS or name.lower().startswith("webhook-"):
                raise ValueError(f"headers: {name} is set by sagahook itself")
            if not all(" " <= character <= "~" for character in value.get_secret_value()):
                raise ValueError(f"headers: the value of {name} must be printable ASCII")
        return self


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An endpoint as events are matched with it. sources: None for every one."""

    endpoint_id: str
    event_types: tuple[str, ...]
    registered_at: datetime
    sources: tuple[str, ...] | None = None
    payload_format: PayloadFormat = "standard"

    def type_for(self, types: Iterable[str], source: str, at: datetime) -> str | None:
        """The first of an event's names that this endpoint asked for; None: it wants none of them."""
        if at < self.registered_at - LOOK_BACK or (self.sources is not None and source not in self.sources):
            return None
        return next(filter(self.asked_for, types), None)

    def asked_for(self, event_type: str) -> bool:
        return event_type in self.event_types or f"{event_type.partition('.')[0]}.*" in self.event_types
