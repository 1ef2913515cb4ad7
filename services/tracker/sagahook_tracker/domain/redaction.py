"""What people are shown of the log's bodies, contexts and results: without what opens doors.

The log itself keeps what was sent; a name or a look that says secret is enough for it to be left out here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from orjson import JSONDecodeError, loads

from sagahook_schemas.base import JsonValue

REMOVED = "***"

_WORDS: frozenset[str] = frozenset().union(
    {"password", "passwd", "passphrase", "pwd", "secret", "token", "jwt", "apikey"},
    {"authorization", "signature", "cookie", "credential", "credentials", "cvv", "cvc"},
)
_PAIRS = frozenset(
    [
        ("api", "key"),
        ("access", "key"),
        ("private", "key"),
        ("signing", "key"),
        ("encryption", "key"),
        ("session", "id"),
        ("card", "number"),
        ("client", "secret"),
    ]
)

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_LOOKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/._~=-]{6,}", re.IGNORECASE), rf"\1 {REMOVED}"),
    (re.compile(r"(\w://)[^/\s:@]*:[^/\s@]*@"), rf"\1{REMOVED}@"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), REMOVED),  # a signed JSON web token
    (
        re.compile(r"\b(?:gh[pousr]_|github_pat_|sk_live_|sk_test_|rk_live_|whsec_|xox[abpr]-)[\w/+=-]{6,}"),
        REMOVED,
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL), REMOVED),
)
_PARAMETER = re.compile(r"([?&;]|\b)([A-Za-z0-9_.-]{1,64})=([^&\s\"'<>#;]+)")


def redacted(value: JsonValue) -> JsonValue:
    """The same, with `***` in place of what is named or looks like a secret."""
    match value:
        case str():
            return redacted_text(value)
        case list():
            return [redacted(each) for each in value]
        case dict():
            return redacted_fields(value)
    return value


def redacted_fields(fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        name: REMOVED if is_secret(name) and value not in (None, "", True, False) else redacted(value)
        for name, value in fields.items()
    }


def redacted_payload(payload: bytes) -> tuple[bool, JsonValue]:
    """Whether it is JSON; and that, or else the text, without secrets."""
    try:
        return True, redacted(loads(payload))
    except JSONDecodeError:
        return False, redacted_text(payload.decode(errors="replace"))


def redacted_text(text: str) -> str:
    """Passwords in URLs, secret parameters, bearer tokens, and keys that are known by their look."""
    for look, replacement in _LOOKS:
        text = look.sub(replacement, text)
    return _PARAMETER.sub(_parameter, text) if "=" in text else text


def is_secret(name: str) -> bool:
    """Whether a field of that name holds a secret: `clientSecret`, `api_key`, `X-Hub-Signature-256`; not
    `total_tokens` or `idempotency_key`."""
    parts = [part.lower() for part in _PART.findall(name)]
    return not _WORDS.isdisjoint(parts) or any(pair in _PAIRS for pair in pairwise(parts))


def _parameter(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    return f"{before}{name}={REMOVED}" if is_secret(name) else found.group()
