"""The signed messages that the vendors document, and what each scheme makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from sagahook.runtime.sources import SchemeName
from sagahook_ingest.domain.signatures import Options, Scheme, scheme_of

SIGNING: tuple[SchemeName, ...] = ("github", "standard", "stripe", "slack", "shopify", "hmac")
"""The schemes whose proof covers the body."""

TIMED: tuple[SchemeName, ...] = ("standard", "stripe", "slack")
"""Those of them that say when."""

SHOWING: tuple[SchemeName, ...] = ("bearer", "basic", "api_key")
"""Those whose proof is the secret itself."""

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

SECRETS: dict[SchemeName, tuple[str, str]] = {
    **dict.fromkeys(get_args(SchemeName), ("a-secret-of-the-source", "another-secret-of-it")),
    "standard": ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_51TKyHBy5KFY1Ab98GQ8V60BkWnejkWy"),
}
"""Two of the form of each scheme."""

OPTIONS: dict[SchemeName, Options] = {
    "hmac": Options(header="X-Signature"),
    "basic": Options(username="sender"),
}


def a_scheme(name: SchemeName, *secrets: str) -> Scheme:
    """With these secrets, else with the first of its usual ones."""
    return scheme_of(name, secrets or SECRETS[name][:1], OPTIONS.get(name, Options()))


def as_received(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """As `domain/headers.py` hands them on."""
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


@dataclass(frozen=True)
class Vector:
    """documented: where. at: when the message was signed. proves_nothing: a part of a header that may be changed."""

    name: str
    documented: str
    scheme: SchemeName
    secrets: tuple[str, ...]
    headers: Mapping[bytes, bytes]
    body: bytes
    at: datetime = NOW
    options: Options = field(default_factory=Options)
    proves_nothing: bytes = b""

    def __str__(self) -> str:
        return self.name

    def verify(self, *, late: timedelta = timedelta()) -> None:
        """Raises Unsigned. late: after it was signed."""
        scheme_of(self.scheme, self.secrets, self.options).verify(self.headers, self.body, self.at + late)

    def with_header(self, name: bytes, value: bytes) -> Vector:
        return replace(self, headers={**self.headers, name: value})


def _vector(written: dict[str, Any]) -> Vector:
    at = written.get("at")
    return Vector(
        name=written["name"],
        documented=written["documented"],
        scheme=written["scheme"],
        secrets=tuple(written["secrets"]),
        headers=as_received(written["headers"]),
        body=written["body"].encode(),
        at=NOW if at is None else datetime.fromtimestamp(at, UTC),
        options=Options(**written.get("options", {})),
        proves_nothing=written.get("proves_nothing", "").encode(),
    )


VECTORS = tuple(
    _vector(written) for written in json.loads((Path(__file__).parent / "signatures.json").read_bytes())
)
