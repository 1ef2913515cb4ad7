"""Where a URL leads: one reading of it, so that what is checked and what is connected to are the same.

Stricter than browsers and resolvers, which read `127.1`, `0x7f.1`, `2130706433` and `017700000001` as addresses: a
host is either a plain IP address or a name that nothing takes for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")


class InvalidUrl(ValueError):
    """A person must correct the endpoint: nothing can be sent to it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """host: a name in lower case without a dot at its end, or an address. is_address: which of them. target: path and
    query, as a request line has them."""

    secure: bool
    host: str
    port: int
    target: str
    is_address: bool

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _PORTS["https" if self.secure else "http"]
        return host if usual else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.target}"


def destination(url: str) -> Destination:
    """Raises InvalidUrl."""
    if any(not "!" <= character <= "~" for character in url):
        raise InvalidUrl(
            "the URL must be printable ASCII without spaces: write an international name in its xn-- form"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as invalid:
        raise InvalidUrl(f"the URL is malformed: {invalid}") from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise InvalidUrl("the URL must be http or https, with a host")
    if "@" in parts.netloc:
        raise InvalidUrl("the URL must not carry a user name or password: use a header for credentials")
    if "\\" in url:
        raise InvalidUrl("the URL must not hold a backslash: some take it for a slash")
    name, is_address = _address6(host) if parts.netloc.startswith("[") else _host(host)
    return Destination(
        secure=parts.scheme == "https",
        host=name,
        port=port or _PORTS[parts.scheme],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        is_address=is_address,
    )


def _address6(host: str) -> tuple[str, bool]:
    try:
        if "%" in host:
            raise AddressValueError("zone")
        return str(IPv6Address(host)), True
    except AddressValueError:
        raise InvalidUrl(f"[{host}] is no IPv6 address, or one of a zone of this machine") from None


def _host(host: str) -> tuple[str, bool]:
    name = host.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.match(labels[-1]):
        try:
            return str(IPv4Address(name)), True
        except AddressValueError:
            raise InvalidUrl(f"{host} is no plain IP address: write it as four decimal numbers") from None
    if len(name) > _LONGEST_NAME or not all(_LABEL.match(label) for label in labels):
        raise InvalidUrl(f"{host[:_LONGEST_NAME]} is no host name")
    return name, False
