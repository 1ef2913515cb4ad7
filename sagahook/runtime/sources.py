"""The senders that a deployment knows by configuration; triggers name further ones (design.md §4)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from sagahook_schemas.definitions import SourceName
from sagahook_schemas.topics import BODY_LIMIT

SchemeName = Literal[
    "none", "github", "standard", "stripe", "slack", "shopify", "hmac", "bearer", "basic", "api_key"
]

TOLERANCE = 300.0
"""Seconds that a signature's timestamp may be away from now, which is what the vendors recommend."""

OPTIONS: dict[SchemeName, frozenset[str]] = {
    "none": frozenset(),
    "github": frozenset(),
    "standard": frozenset({"tolerance"}),
    "stripe": frozenset({"tolerance"}),
    "slack": frozenset({"tolerance"}),
    "shopify": frozenset(),
    "hmac": frozenset({"header", "prefix", "algorithm", "encoding"}),
    "bearer": frozenset(),
    "basic": frozenset({"username"}),
    "api_key": frozenset({"header", "prefix"}),
}
"""Which of the options that describe a signature fit each scheme."""

_SIGNATURE_OPTIONS = frozenset().union(*OPTIONS.values())
_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_PER = {name[0]: seconds for name, seconds in _UNITS.items()}
"""Seconds, by the first letter of their name; the names are those that a trigger's rate_limit takes."""
_RATE = re.compile(
    r"\s*(?P<count>[1-9][0-9]{0,8})\s*/\s*(?P<per>s|sec|second|min|minute|h|hour|d|day)"
    r"(?:\s+burst\s+(?P<burst>[1-9][0-9]{0,8}))?\s*\Z"
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"  # noqa: S105  # RFC 9110 §5.6.2, what a header's name is made of
_WHERE = re.compile(rf"(header:{_TOKEN}|body:[^.\x00-\x1f]+(\.[^.\x00-\x1f]+)*)\Z")

_ERASURE = re.compile(r"(source|subject:[^.\x00-\x1f]+(\.[^.\x00-\x1f]+)*)\Z")

HeaderName = Annotated[str, StringConstraints(pattern=rf"^{_TOKEN}$")]


class RateLimit(NamedTuple):
    """A token bucket's rate and size. per_second infinite: no limit."""

    per_second: float
    burst: int

    @property
    def unlimited(self) -> bool:
        return math.isinf(self.per_second)

    def __str__(self) -> str:
        """As it is written."""
        if self.unlimited:
            return "none"
        counts = {name: self.per_second * seconds for name, seconds in _UNITS.items()}
        whole = (name for name, count in counts.items() if count >= 1 and math.isclose(count, round(count)))
        name = next(whole, "s")
        count = counts[name]
        burst = "" if self.burst == round(count) else f" burst {self.burst}"
        return f"{count:g}/{name}{burst}"


UNLIMITED = RateLimit(math.inf, 1)


def parse_rate(given: Any) -> Any:
    """`"10/s"`, `"100/min burst 50"`, `"none"`; without a burst it is the count. Raises ValueError."""
    if isinstance(given, RateLimit):
        return given
    if given == "none":
        return UNLIMITED
    found = _RATE.match(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError(
            'a rate is written "10/s", "100/min burst 50" (s, min, h or d), or "none" for no limit at all'
        )
    count = int(found["count"])
    return RateLimit(count / _PER[found["per"][0]], int(found["burst"] or count))


Rate = Annotated[RateLimit, BeforeValidator(parse_rate), PlainSerializer(str)]


def _networks(given: Any) -> Any:
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, Sequence):
        return given
    return tuple(_network(each) for each in given)


def _network(given: Any) -> IPv4Network | IPv6Network:
    if isinstance(given, IPv4Network | IPv6Network):
        return given
    try:
        if not isinstance(given, str):
            raise ValueError("it is no text")
        return ip_network(given)
    except ValueError as wrong:
        raise ValueError(
            f'{wrong}: write an address ("192.0.2.7") or a network ("192.30.252.0/22", "2a0a:a440::/29")'
        ) from None


def _several(given: Any) -> Any:
    """One secret may be written without the list."""
    return (given,) if isinstance(given, str | SecretStr) else given


def _where(given: Any) -> Any:
    if isinstance(given, str) and not _WHERE.match(given):
        raise ValueError(
            'write "header:X-Name", or "body:" and the path of a field, as "body:data.object.id"'
        )
    return given


Where = Annotated[str, BeforeValidator(_where)]


def _erasure(given: Any) -> Any:
    if isinstance(given, str) and not _ERASURE.match(given):
        raise ValueError(
            'write "source", for one data key for all that the source sends, or "subject:" and the path of the field '
            'that names whose data it is, as "subject:customer.id"'
        )
    return given


Erasure = Annotated[str, BeforeValidator(_erasure)]


class Source(BaseModel):
    """One sender of webhooks, with the values of its secrets: what is configured holds references to them, which
    `source_files` resolves.

    scheme: how it proves who it is. secrets: any of them will do, so that two can be valid while one replaces the
    other; the first signs what `sagahook send` sends. tolerance: seconds that a timestamp may lie in the past or
    the future. body_limit: bytes; None for SAGAHOOK_BODY_LIMIT. event_type, delivery_id, idempotency_key: where
    each is found, `header:X-Name` or `body:path`; None for where the scheme's vendor puts it. rate_limit: None for
    what is usual (api.md §8). allowed_ips: empty for any address. header, prefix, algorithm, encoding, username:
    options of `hmac`, `api_key` and `basic`.

    allow_notify_url: its events may name an outbound endpoint of their own (`X-Notify-URL`), which is then signed
    with `secret` (Standard Webhooks form, `whsec_` + base64).

    erasure: under which data keys its payloads are sealed, so that they can be erased; None: they are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    scheme: SchemeName = "none"
    secrets: Annotated[tuple[SecretStr, ...], BeforeValidator(_several), Field(max_length=10)] = ()
    tolerance: float = Field(default=TOLERANCE, gt=0, le=86_400)
    body_limit: int | None = Field(default=None, ge=1, le=BODY_LIMIT)
    event_type: Where | None = None
    delivery_id: Where | None = None
    idempotency_key: Where | None = None
    rate_limit: Rate | None = None
    allowed_ips: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)] = ()
    header: HeaderName | None = None
    prefix: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,64}$")] = ""
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    username: Annotated[str, StringConstraints(pattern=r"^[^:\x00-\x1f\x7f]{1,255}$")] | None = None
    secret: SecretStr | None = None
    allow_notify_url: bool = False
    erasure: Erasure | None = None

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        """What fits what. A context {"secrets_unread": True}: this process does without them."""
        misplaced = sorted((self.model_fields_set & _SIGNATURE_OPTIONS) - OPTIONS[self.scheme])
        if misplaced:
            fits = sorted(name for name, options in OPTIONS.items() if misplaced[0] in options)
            raise ValueError(
                f"{misplaced[0]} does nothing with the scheme {self.scheme}: leave it out, or choose the scheme "
                f"{' or '.join(fits)}"
            )
        if self.scheme == "none" and self.secrets:
            raise ValueError(
                "there are secrets, but the scheme none checks nothing with them: say which scheme the sender signs by"
            )
        unread = isinstance(info.context, dict) and info.context.get("secrets_unread", False)
        if self.scheme != "none" and not self.secrets and not unread:
            raise ValueError(
                f'the scheme {self.scheme} needs secrets: write secrets = ["env:NAME"] or ["file:/path"]'
            )
        return self


Sources = dict[SourceName, Source]
"""By the name in `/webhooks/{source}`."""
