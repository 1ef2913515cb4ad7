"""`OPTIONS /webhooks/{source}`: the validation by which CloudEvents senders ask whether they may send at all.

Source: "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2 §4. The answer is given at once; the callback that a sender may
offer (`WebHook-Request-Callback`) is never called, since whoever asks could have ingest call any address with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import floor

from sagahook_ingest import metrics
from sagahook_ingest.answers import Answer
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.sources import KnownSource

_ALLOW = (b"allow", b"OPTIONS, POST")

_ORIGIN = b"webhook-request-origin"
_RATE = b"webhook-request-rate"
# A DNS name; with a port and a wildcard, as senders in the field have them.
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,10}\.?(:[0-9]{1,5})?\Z")
_POSITIVE = re.compile(rb"[1-9][0-9]{0,9}\Z")


def validate(source: KnownSource, headers: Iterable[tuple[bytes, bytes]]) -> Answer:
    """headers: all of the request's. Without WebHook-Request-Origin it is a plain OPTIONS, which permits nothing.
    Raises Refusal."""
    asked = {name: value for name, value in headers if name in (_ORIGIN, _RATE)}
    if _RATE in asked and not _POSITIVE.match(asked[_RATE]):
        raise Refusal(400, "WebHook-Request-Rate must be a whole number of requests a minute, from 1")
    if _ORIGIN not in asked:
        return Answer(200, None, headers=(_ALLOW,))
    origin = asked[_ORIGIN].decode("latin-1")
    if len(origin) > 255 or not _NAME.match(origin):
        raise Refusal(400, "WebHook-Request-Origin must be a DNS name, such as eventemitter.example.com")
    metrics.HANDSHAKES.labels(source.name, "validation").inc()
    allowed = (b"webhook-allowed-origin", origin.encode()), (b"webhook-allowed-rate", _rate(source, asked))
    return Answer(200, None, headers=(_ALLOW, *allowed))


def _rate(source: KnownSource, asked: dict[bytes, bytes]) -> bytes:
    """Requests a minute; no more than was asked for."""
    if source.rate is None:
        return b"*"
    ours = max(1, floor(source.rate.per_second * 60))
    return b"%d" % min(ours, int(asked.get(_RATE, ours)))
