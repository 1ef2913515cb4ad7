"""What a request's head must be beyond what the parser checks: nothing in it may mean one thing here and another to
the server in front, which is what request smuggling lives on (RFC 9112 §11.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from sagahook.runtime.http_refusals import Refused
from sagahook.runtime.settings import ServiceSettings

Header = tuple[bytes, bytes]

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]*\Z")
_ABSOLUTE = re.compile(rb"https?://[^/?#]+/", re.IGNORECASE)


class Target(NamedTuple):
    """What a request asks for. raw: as it was sent. path: decoded."""

    raw: bytes
    path: str
    raw_path: bytes
    query: bytes


def target_of(raw: bytes, root: str) -> Target:
    """A path, or a URL with one (RFC 9112 §3.2.2). The parser has seen to it that it is visible ASCII. Raises
    Refused."""
    absolute = _ABSOLUTE.match(raw)
    if (raw[:1] != b"/" and absolute is None) or b"#" in raw:
        raise Refused(400, "target", "The request's target is no path: it begins with '/' and has no '#'")
    path, _, query = (raw if absolute is None else raw[absolute.end() - 1 :]).partition(b"?")
    text = path.decode("ascii")
    return Target(raw, root + (unquote(text) if "%" in text else text), root.encode("ascii") + path, query)


def check_version(version: str) -> None:
    """Raises Refused."""
    if version not in ("1.1", "1.0"):
        raise Refused(505, "version", f"HTTP/{version} is not spoken here: send HTTP/1.1")


def check_size(target: bytes, headers: Sequence[Header], limits: ServiceSettings) -> None:
    """Raises Refused."""
    if len(headers) > limits.http_headers:
        raise Refused(
            431, "large head", f"The request has more than {limits.http_headers} headers: send fewer"
        )
    size = len(target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if len(target) > limits.http_target_bytes or size > limits.http_header_bytes:
        raise too_large(target, limits)


def too_large(target: bytes, limits: ServiceSettings) -> Refused:
    """For a head that is. target: as far as it is known."""
    if len(target) > limits.http_target_bytes:
        return Refused(
            414, "long target", f"The request's target is longer than {limits.http_target_bytes} bytes"
        )
    return Refused(
        431, "large head", f"The request's head is larger than {limits.http_header_bytes} bytes: send less"
    )


def check_framing(headers: Iterable[Header], version: str) -> None:
    """Raises Refused."""
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _HOST.match(value):
                raise Refused(400, "host", "The Host header is no host: send the server's name and port")
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Refused(417, "expect", "Expect has no other value than 100-continue")
        elif name == b"transfer-encoding":
            codings += 1
            if value.strip(b" \t").lower() != b"chunked":
                raise Refused(501, "transfer coding", "There is no Transfer-Encoding here but chunked")
    if hosts > 1 or (not hosts and version == "1.1"):
        raise Refused(400, "host", "An HTTP/1.1 request has one Host header: send it once (RFC 9112 §3.2)")
    if codings > 1 or (codings and version == "1.0"):
        raise Refused(
            400, "transfer coding", "Transfer-Encoding is sent once, and not in HTTP/1.0: it is ambiguous"
        )


def framing(headers: Iterable[Header]) -> bytes:
    """The header that says how the body is framed; b"" where there is no body. The parser has checked it."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and int(value)):
            return b"%s: %s" % (name, value)
    return b""
