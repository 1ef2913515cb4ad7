"""A case of the hostile suite: what is sent, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field

BODY_LIMIT = 100_000
"""Of the replica that is asked."""

TARGET = b"/webhooks/orders"


@dataclass(frozen=True)
class Case:
    """sends: the bytes, in pieces that are sent one after the other. answers: all that come, in order. closes: the
    connection ends then; else it serves on. Whatever was sent, as many webhooks are in the log as 202 were said."""

    sends: tuple[bytes, ...]
    answers: tuple[int, ...]
    closes: bool = True
    half_close: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    """What the last answer says besides."""


def post(
    body: bytes = b'{"a": 1}', *headers: bytes, target: bytes = TARGET, host: bytes = b"Host: x"
) -> bytes:
    """A webhook. headers: whole lines."""
    lines = (b"POST %s HTTP/1.1" % target, host, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def framed(body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    """A webhook whose framing is in the headers."""
    lines = (b"POST %s HTTP/%s" % (TARGET, version), b"Host: x", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes, *headers: bytes) -> bytes:
    """body: the chunks as they are sent."""
    return framed(body, b"Transfer-Encoding: chunked", *headers)


GOOD = post()
PROBE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
"""What is smuggled in: something that would be answered."""

CHUNKS = b'8\r\n{"a": 1}\r\n0\r\n\r\n'


def ends(*sends: bytes, status: int = 400) -> Case:
    """One refusal, and the end: what stands behind it is no request."""
    return Case((*sends, GOOD), (status,))


def goes_on(*sends: bytes, status: int, **headers: str) -> Case:
    """One answer, and the connection serves on."""
    return Case(sends, (status,), closes=False, headers=headers)


def accepted(*sends: bytes) -> Case:
    return goes_on(*sends, status=202)


def line(text: bytes) -> bytes:
    """A request whose first line is the text."""
    return text + b"\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def with_header(*lines: bytes) -> Case:
    return ends(post(b"{}", *lines))


def at(target: bytes, status: int = 404) -> Case:
    return goes_on(post(target=target), status=status)


def with_chunks(chunks: bytes) -> Case:
    return ends(chunked(chunks))


def with_body(body: bytes) -> Case:
    return goes_on(post(body), status=400)
