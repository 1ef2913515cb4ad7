"""The request headers that mean something to ingest, each read and checked by one function."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

from sagahook.runtime.http_errors import CORRELATION_HEADER, CORRELATION_ID
from sagahook_ingest.domain.refusals import Refusal
from sagahook_schemas.envelope import JSON

Headers = Mapping[bytes, bytes]
"""By lower-case name."""

READ = frozenset(
    {
        b"accept",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"idempotency-key",
        b"traceparent",
        b"ce-id",
        b"ce-source",
        b"ce-specversion",
        b"ce-type",
        b"x-correlation-id",
        b"x-event-type",
        b"x-notify-url",
    }
)
"""What is read of every request, whatever its source."""

_JSON = JSON.encode()
_MAY_REPEAT = frozenset({b"accept", b"traceparent"})
_NOTIFY_URL_LIMIT = 2048
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+\Z")
_SHORT_TEXT = re.compile(r"[\x20-\x7e]{1,255}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")  # W3C Trace Context §3.2


def read(
    headers: Iterable[tuple[bytes, bytes]], wanted: Collection[bytes] = READ
) -> tuple[Headers, Collection[bytes]]:
    """Of all headers those that are wanted, each as it came first, and the names of those that came again."""
    found: dict[bytes, bytes] = {}
    repeated: Collection[bytes] = ()
    for name, value in headers:
        if name in wanted:
            if name in found:
                repeated = {*repeated, name}
            else:
                found[name] = value
    return found, repeated


def refuse_repeated(repeated: Collection[bytes], read: Collection[bytes]) -> None:
    """Of what came twice, who is on the way and who is here may take different ones. read: what the source's own
    fields are in. Raises Refusal."""
    for name in sorted(repeated):
        if name not in _MAY_REPEAT and (name in READ or name in read):
            raise Refusal(400, f"The header {name.decode()} was sent twice: send it once")


def correlation_id(headers: Headers) -> str | None:
    """None where the sender gave none. Raises Refusal."""
    given = _text(headers, b"x-correlation-id")
    if given is not None and not CORRELATION_ID.match(given):
        raise Refusal(
            400,
            f"{CORRELATION_HEADER} must be 1 to 128 letters, digits, '.', '_' or '-'; send such a one or none",
        )
    return given


def content_length(headers: Headers) -> int | None:
    """As declared, which may be a lie; None for a chunked body."""
    given = headers.get(b"content-length", b"")
    return int(given) if given.isdigit() else None


def content_type(headers: Headers) -> str:
    """Where none is given, and for JSON as most declare it, the constant JSON itself. Raises Refusal."""
    given = headers.get(b"content-type")
    if not given or given == _JSON:
        return JSON
    text = given.decode("latin-1")
    if not _SHORT_TEXT.match(text):
        raise Refusal(400, "Content-Type must be at most 255 printable ASCII characters")
    return text


def event_type(headers: Headers) -> str | None:
    """`X-Event-Type`; None where the body has to say it. Raises Refusal."""
    given = _text(headers, b"x-event-type")
    if given is not None and not _SHORT_TEXT.match(given):
        raise Refusal(400, "X-Event-Type must be 1 to 255 printable ASCII characters")
    return given


def idempotency_key(headers: Headers) -> str | None:
    """The bare key: the draft (draft-ietf-httpapi-idempotency-key-header) has it quoted, most senders do not.
    Raises Refusal."""
    given = _text(headers, b"idempotency-key")
    if given is None:
        return None
    if len(given) > 1 and given[0] == given[-1] == '"':
        given = given[1:-1]
    return checked_key(given, "header Idempotency-Key")


def with_access_token(headers: Headers, query: bytes) -> Headers:
    """A bearer token in `?access_token=`, as CloudEvents senders may send it ("HTTP 1.1 Web Hooks for Event Delivery"
    §3.2, RFC 6750 §2.3), where it is for a header. Of several, and beside a header, none counts."""
    given = parse_qs(query.decode("latin-1")).get("access_token", ())
    if len(given) != 1 or b"authorization" in headers:
        return headers
    return {**headers, b"authorization": b"Bearer " + given[0].encode("utf-8", "replace")}


def check_forms(headers: Headers) -> None:
    """Of those that are read only later, where it is known what for. Raises Refusal."""
    if b"idempotency-key" in headers:
        idempotency_key(headers)
    if b"x-event-type" in headers:
        event_type(headers)


def checked_key(given: str, where: str) -> str:
    """Raises Refusal, which does not quote the key."""
    if not _SHORT_TEXT.match(given):
        raise Refusal(400, f"The {where} must be 1 to 255 printable ASCII characters")
    return given


def traceparent(headers: Headers) -> str:
    """ "" where there is none, or none that another system could use."""
    given = _text(headers, b"traceparent")
    return given if given is not None and _TRACEPARENT.match(given) else ""


def notify_url(headers: Headers, query: bytes) -> str:
    """`X-Notify-URL`, else `?notify_url=`, else "". Raises Refusal where it is no URL that can be posted to.

    The URL is in no message: it may hold a secret of the receiver's.
    """
    header = _text(headers, b"x-notify-url")
    named = [] if header is None else [header]
    if query:
        named += parse_qs(query.decode("latin-1"), keep_blank_values=True).get("notify_url", ())
    if not all(map(_is_postable, named)):
        raise Refusal(
            400,
            f"X-Notify-URL must be an absolute http or https URL of at most {_NOTIFY_URL_LIMIT} characters, "
            "without a user name or password in it",
        )
    return named[0] if named else ""


def _is_postable(url: str) -> bool:
    if len(url) > _NOTIFY_URL_LIMIT or not _VISIBLE_ASCII.match(url):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.username is None
        and parts.password is None
        and port != 0
    )


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
