"""A captured request, and which of ingest's checks it passes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from sagahook.cli.sagas_client import NotDone
from sagahook.cli.sources_here import Local
from sagahook.runtime import addresses
from sagahook_ingest.domain import body as bodies
from sagahook_ingest.domain import encodings
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.signatures import Scheme, Unsigned
from sagahook_ingest.domain.sources import KnownSource, known_source, scheme_for

_REQUEST_LINE = re.compile(r"[A-Z]+ \S+( HTTP/[0-9.]+)?\Z")
_SAMPLE = b'{"sample": true}'
_SECONDS = re.compile(rb"(?<![0-9])[0-9]{10}(?![0-9])")
"""What may be a time of these years, as seconds since 1970."""


class Captured(NamedTuple):
    """headers: as they came, the names in lower case."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Check(NamedTuple):
    """ok None: it says what is so, and checks nothing."""

    name: str
    ok: bool | None
    said: str


@dataclass(frozen=True)
class Circumstances:
    """now: when the request came. client: the address that it came from, None for one that is not known. body_limit:
    ingest's, in bytes, for sources without one of their own."""

    now: datetime
    client: IPv4Address | IPv6Address | None
    body_limit: int


def checks(local: Local, captured: Captured, at: Circumstances) -> Iterator[Check]:
    """In ingest's order. It would stop at the first that fails; here the others are told as well. Raises NotDone."""
    try:
        source = known_source(local.name, local.source)
    except ValueError as unusable:
        raise NotDone(str(unusable)) from None
    headers, repeated = requested.read(captured.headers, requested.READ | source.reads)
    if source.networks:
        yield _address(source, at.client)
    yield _passed("headers", "each is there once", lambda: requested.refuse_repeated(repeated, source.reads))
    limit = source.body_limit or at.body_limit
    size = len(captured.body)
    yield Check("size", size <= limit, f"{size} bytes, and the limit is {limit}")
    yield _passed("encoding", "none", lambda: encodings.refuse_encoded(headers))
    yield _signature(source, len(local.source.secrets), headers, captured.body, at.now)
    yield from _content(source, headers, captured.body)


def sample_check(local: Local, now: datetime) -> Check:
    """Whether what the source signs verifies. Raises NotDone."""
    try:
        scheme = scheme_for(local.name, local.source)
    except ValueError as unusable:
        raise NotDone(str(unusable)) from None
    try:
        signed = scheme.sign(_SAMPLE, now, "sample")
    except ValueError as cannot:
        return Check("signature", None, f"no sample: {cannot}. Test a captured request")
    headers = {name.lower().encode(): value.encode() for name, value in signed.items()}
    known = known_source(local.name, local.source)
    return _signature(known, len(local.source.secrets), headers, _SAMPLE, now)


def _address(source: KnownSource, client: IPv4Address | IPv6Address | None) -> Check:
    allowed = ", ".join(map(str, source.networks))
    if client is None:
        return Check("address", None, f"only from {allowed}: --from ADDRESS checks it")
    return Check("address", addresses.is_allowed(client, source.networks), f"{client}; only from {allowed}")


def _signature(source: KnownSource, secrets: int, headers: Headers, body: bytes, now: datetime) -> Check:
    scheme = source.scheme
    if scheme is None:
        return Check("signature", None, "the source has the scheme none: anybody's webhooks are taken")
    try:
        scheme.verify(headers, body, now)
    except Unsigned as refused:
        hint = _hint(scheme, headers, body, now)
        return Check("signature", False, f"{refused.error}{'. ' if hint else ''}{hint}")
    by = "the secret" if secrets == 1 else f"one of {secrets} secrets"
    return Check("signature", True, f"{source.scheme_name}, by {by}")


def _hint(scheme: Scheme, headers: Headers, body: bytes, now: datetime) -> str:
    """What the request lacks of a right one: the time of its signature, or a body that was not changed on the way."""
    times = [("", now)] + [
        (f"It is right for the time of its signature: --at {at:%Y-%m-%dT%H:%M:%SZ}", at)
        for at in _times(headers, scheme.reads)
    ]
    for told_time, at in times:
        for told_body, tried in _bodies(body):
            if (told_time or told_body) and _verifies(scheme, headers, tried, at):
                return ". ".join(filter(None, (told_time, told_body)))
    return ""


def _times(headers: Headers, names: Iterable[bytes]) -> Iterator[datetime]:
    for name in sorted(names):
        for found in _SECONDS.findall(headers.get(name, b"")):
            yield datetime.fromtimestamp(int(found), UTC)


def _bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "", body
    yield (
        "It is right without the line break at the end: the capture, not the sender, added that",
        body.rstrip(b"\r\n"),
    )
    yield "It is right with a line break at the end: the capture lost that", body + b"\n"
    yield (
        "It is right with CR LF between the lines: the capture made LF of them",
        body.replace(b"\n", b"\r\n"),
    )
    try:
        compact = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return
    yield (
        "It is right for the same JSON without white space: something on the way wrote the body anew; the signature "
        "is of the bytes as they were sent",
        compact,
    )


def _verifies(scheme: Scheme, headers: Headers, body: bytes, now: datetime) -> bool:
    try:
        scheme.verify(headers, body, now)
    except Unsigned:
        return False
    return True


def _content(source: KnownSource, headers: Headers, body: bytes) -> Iterator[Check]:
    try:
        event = bodies.read(body, requested.content_type(headers), forms=source.takes_forms)
    except Refusal as refused:
        yield Check("body", False, refused.error)
        return
    yield Check("body", True, "it can be read")
    try:
        found = source.fields.identify(headers, event)
    except Refusal as refused:
        yield Check("fields", False, refused.error)
        return
    yield Check("event type", None, found.event_type or "none: only triggers without an event want it")
    yield Check(
        "delivery id", None, found.delivery_id or "none: a replay is not told from a first delivery by it"
    )
    yield Check("idempotency key", None, found.idempotency_key or "none")


def _passed(name: str, said: str, check: Callable[[], object]) -> Check:
    try:
        check()
    except Refusal as refused:
        return Check(name, False, refused.error)
    return Check(name, True, said)


def parse_request(captured: bytes) -> Captured:
    """A request as it went over the wire, or as `curl -v` shows it: the request line, headers, an empty line, and the
    body. Raises NotDone."""
    head, separator, body = captured.partition(b"\r\n\r\n")
    if not separator or b"\n\n" in head:
        head, separator, body = captured.partition(b"\n\n")
    return Captured(parse_headers(head), body)


def parse_headers(written: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """A header on each line, or a JSON object of them; a request line before them is passed over. Raises NotDone."""
    text = written.decode("latin-1").lstrip("\ufeff")
    if text.lstrip().startswith("{"):
        return tuple(_of_json(text))
    return tuple(_of_lines(text))


def _of_lines(text: str) -> Iterator[tuple[bytes, bytes]]:
    for number, each in enumerate(text.splitlines(), 1):
        line = each.removeprefix("> ").strip()
        if (
            not line
            or line in (">", "<")
            or line.startswith(":")
            or (number == 1 and _REQUEST_LINE.match(line))
        ):
            continue  # between HTTP/2's pseudo-headers and curl's marks
        name, colon, value = line.partition(":")
        if not colon or " " in name:
            raise NotDone(f"Line {number} of the headers is not NAME: VALUE")
        yield _pair(name, value)


def _of_json(text: str) -> Iterator[tuple[bytes, bytes]]:
    try:
        parsed: Mapping[str, object] = json.loads(text)
    except ValueError as wrong:
        raise NotDone(f"The headers are not JSON: {wrong}") from None
    for name, value in parsed.items():
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, str):
                raise NotDone(f"The header {name!r} must be a text or a list of texts")
            yield _pair(name, each)


def _pair(name: str, value: str) -> tuple[bytes, bytes]:
    return name.strip().lower().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")
