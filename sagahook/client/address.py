"""Where the API is."""

from __future__ import annotations

from typing import NamedTuple, Self
from urllib.parse import urlsplit

from sagahook.client.errors import SagahookError


class Address(NamedTuple):
    """prefix: what stands before every path, without a slash at its end."""

    url: str
    host: str
    port: int
    prefix: str
    tls: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises SagahookError."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in ("http", "https"):
            raise SagahookError(f"{url!r} is no address of an API: it is like http://host:port")
        tls = parts.scheme == "https"
        return cls(url.rstrip("/"), host, port or (443 if tls else 80), parts.path.rstrip("/"), tls)

    def silent(self, why: BaseException) -> str:
        return f"{self.url} does not answer ({why or type(why).__name__}): is it running there?"
