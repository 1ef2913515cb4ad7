"""Which headers of a request the log keeps, and of which no more than that they were sent.

A webhook's headers help whoever looks into it later; its log is endless, and must hold no credential. So the rule errs
on the side of removing: a value is kept as it is where its name is known to be harmless; never where the name is one of
the source's own secrets or sounds like one; and else only while it is short, or does not look like a credential.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from sagahook_schemas.webhooks import REMOVED

MOST_HEADERS = 64
MOST_BYTES = 8 * 1024
"""Of all together; what comes after is left out."""

_NEVER, _SHORT, _LONG = -1, 8, 1024
"""How long a value may be to be kept without a look: under a name that sounds like a secret, any, a harmless one."""

HARMLESS = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-encoding content-length "
    b"content-type date expect from host max-forwards origin pragma te traceparent tracestate "
    b"transfer-encoding upgrade user-agent via x-correlation-id x-event-type x-forwarded-for "
    b"x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip x-request-id x-trace-id webhook-id "
    b"webhook-timestamp svix-id svix-timestamp ce-id ce-source ce-specversion ce-time ce-type ce- "
    b"subject ce-datacontenttype webhook-request-origin webhook-request-rate x-github-delivery "
    b"x-github-event x-github-hook-id x-github-hook-installation-target-id x-github-hook-installation- "
    b"target-type x-github-enterprise-host x-github-enterprise-version x-gitlab-event x-gitlab-event- "
    b"uuid x-gitlab-webhook-uuid x-gitlab-instance x-shopify-topic x-shopify-shop-domain x-shopify- "
    b"webhook-id x-shopify-event-id x-shopify-api-version x-shopify-triggered-at x-slack-request- "
    b"timestamp x-slack-retry-num x-slack-retry-reason x-b3-traceid x-b3-spanid x-b3-sampled x-cloud- "
    b"trace-context x-amzn-trace-id x-amz-cf-id cf-ray cf-connecting-ip cf-ipcountry cf-visitor cdn- "
    b"loop true-client-ip forwarded".split()
)
# An address may have a credential in its query.
_SOUNDS_SECRET = re.compile(
    rb"auth|token|secret|cookie|signature|hmac|passw|passphrase|pwd|credential|session|jwt|bearer|assertion|saml|oidc|cert"
    rb"|csrf|xsrf|nonce|private|api-?key|access-?key|idempotency|ur[il]|referer|path|query"
    rb"|(?:^|[-_])(?:key|sig|mac|otp|pin|sid|pass|digest)(?:$|[-_])"
)
_LOOKS_SECRET = re.compile(
    rb"(?i:\b(?:bearer|basic|digest|hmac|aws4-hmac-sha256)\s+\S|[?&;\s](?:\w*(?:token|secret|key|sig|passw)\w*)=|://[^/\s@]+@)"
    rb"|\beyJ[\w-]{8,}"  # a JSON Web Token
    rb"|\b(?:sk|pk|rk|ghp|gho|ghs|ghu|github_pat|glpat|xox[a-z]|whsec|AKIA|ASIA|SG|AIza)[-_.A-Z0-9]"
    # As long as no word is: a digest, or a key. With dashes longer than a traceparent.
    rb"|[A-Za-z0-9+/=_]{25,}|[\w+/=-]{57,}"
)
_REMOVED = REMOVED.encode()


class Recorder:
    """Of one source. secrets: lower-case names whose values are never kept, whatever they sound like."""

    def __init__(self, secrets: Collection[bytes] = (), limit: int = 1_000) -> None:
        self._secrets = frozenset(secrets)
        self._limit = limit
        self._allowed: dict[bytes, int] = {}
        """By name, the longest value that is kept without a look."""

    def record(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """As `webhooks.HTTP_HEADERS` has them. headers: names in lower case."""
        if len(headers) > MOST_HEADERS:
            headers = headers[:MOST_HEADERS]
        try:
            lines = self._lines(headers, self._allowed)
        except KeyError:
            lines = self._lines(headers, self._learn(headers))
        written = b"\n".join(lines)
        return written if len(written) <= MOST_BYTES else _cut(lines)

    @staticmethod
    def _lines(headers: Sequence[tuple[bytes, bytes]], known: Mapping[bytes, int]) -> list[bytes]:
        """Raises KeyError for a name that is not known yet."""
        lines: list[bytes] = []
        for header in headers:  # the quickest of nine ways to write it: every webhook waits for it
            name, value = header
            allowed = known[name]
            if len(value) <= allowed or (allowed == _SHORT and _is_harmless(value)):
                lines += header
            else:
                lines += (name, _REMOVED)
        return lines

    def _learn(self, headers: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, int]:
        """What is known of these and of all earlier names: of so many as are remembered, since senders choose them."""
        known = self._allowed | {name: self._judged(name) for name, _ in headers}
        if len(known) <= self._limit:
            self._allowed = known
        return known

    def _judged(self, name: bytes) -> int:
        if name in self._secrets:
            return _NEVER
        if name in HARMLESS:
            return _LONG
        return _NEVER if _SOUNDS_SECRET.search(name) else _SHORT


def _is_harmless(value: bytes) -> bool:
    return len(value) <= _LONG and not _LOOKS_SECRET.search(value)


def _cut(lines: Sequence[bytes]) -> bytes:
    room = MOST_BYTES
    kept: list[bytes] = []
    for name, value in zip(lines[::2], lines[1::2], strict=True):
        room -= len(name) + len(value) + 2
        if room < 0:
            break
        kept += (name, value)
    return b"\n".join(kept)
