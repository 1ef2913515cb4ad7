"""What a request's head must be beyond what the parser checks: nothing in it may mean one thing here and another to
the server in front, which is what request smuggling lives on (RFC 9112 §11.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sagahook.runtime.http_refusals import Refused, large_head, long_target
from sagahook.runtime.settings import ServiceSettings

Header = tuple[bytes, bytes]

WATCHED = frozenset({b"host", b"expect", b"transfer-encoding"})
"""The headers that `check_watched` looks at, in lower case."""

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]*\Z")
_ABSOLUTE = re.compile(rb"https?://[^/?#]+/", re.IGNORECASE)


def check_size(target: bytes, headers: Sequence[Header], limits: ServiceSettings) -> None:
    """Raises Refused."""
    if len(headers) > limits.http_headers:
        raise Refused(
            431, "large head", f"The request has more than {limits.http_headers} headers: send fewer"
        )
    size = len(target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if size > limits.http_header_bytes and len(target) <= limits.http_target_bytes:
        raise large_head(limits.http_header_bytes)


def check_target(target: bytes, version: str, limits: ServiceSettings) -> None:
    """A path, or a URL with one (RFC 9112 §3.2.2). Raises Refused."""
    if version not in ("1.1", "1.0"):
        raise Refused(505, "version", f"HTTP/{version} is not spoken here: send HTTP/1.1")
    if len(target) > limits.http_target_bytes:
        raise long_target(limits.http_target_bytes)
    if (target[:1] != b"/" and not _ABSOLUTE.match(target)) or b"#" in target:
        raise Refused(400, "target", "The request's target is no path: it begins with '/' and has no '#'")


def check_watched(watched: Sequence[Header], version: str) -> None:
    """Raises Refused."""
    hosts = codings = 0
    for name, value in watched:
        if name == b"host":
            hosts += 1
            if not _HOST.match(value):
                raise Refused(400, "host", "The Host header is no host: send the server's name and port")
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Refused(417, "expect", "Expect has no other value than 100-continue")
        else:
            codings += 1
            if value.strip(b" \t").lower() != b"chunked":
                raise Refused(501, "transfer coding", "There is no Transfer-Encoding here but chunked")
    if hosts > 1 or (not hosts and version == "1.1"):
        raise Refused(400, "host", "An HTTP/1.1 request has one Host header: send it once (RFC 9112 §3.2)")
    if codings > 1 or (codings and version == "1.0"):
        raise Refused(
            400, "transfer coding", "Transfer-Encoding is sent once, and not in HTTP/1.0: it is ambiguous"
        )


def waits(watched: Sequence[Header]) -> bool:
    """Whether the client waits to be told to send the body."""
    return any(name == b"expect" for name, _ in watched)


def framing(headers: Iterable[Header]) -> bytes:
    """The header that says how the body is framed; b"" where there is no body. The parser has checked it."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and int(value)):
            return b"%s: %s" % (name, value)
    return b""
