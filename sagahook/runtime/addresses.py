"""Where a request comes from: the address of the connection, or what the configured proxies say of it.

A forwarded header is what anybody may send. It is believed only as far as configured proxies wrote it: each appends
the address that it was asked from, so the header is read from its right end, and the first address that is none of
the proxies is the client's. What stands left of it is the client's own word, and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from sagahook.runtime.settings import ProxyHeader

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
UNKNOWN = "unknown"
"""The name that all clients share whose address cannot be told."""

_LONGEST = 64
_PORT = re.compile(r":[0-9]{1,5}\Z")
# RFC 7239 §4: pairs separated by ";", elements by ",", either a token or a quoted string as the value. Nothing of it is
# tried twice, whatever a client writes.
_PAIR = re.compile(
    r"[ \t]*+(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)="
    r'(?:([!#$%&\'*+.^_`|~0-9A-Za-z-]++)|"((?:[^"\\]|\\.)*+)")[ \t]*+)?(;|,|\Z)'
)


def client_address(
    peer: str | None,
    headers: Iterable[tuple[bytes, bytes]],
    proxies: Sequence[Network],
    header: ProxyHeader = "x-forwarded-for",
) -> Address | None:
    """peer: the other end of the connection. headers: all of the request's, names in lower case.

    None where it cannot be told: the last word of a believed proxy was no address. Never raises, whatever the
    headers hold.
    """
    address = parse(peer or "")
    if address is None or not proxies or not _is_in(address, proxies):
        return address
    name = header.encode()
    lines = [value.decode("latin-1") for given, value in headers if given == name]
    hops = _forwarded(lines) if header == "forwarded" else _x_forwarded_for(lines)
    for hop in hops:
        address = parse(hop)
        if address is None or not _is_in(address, proxies):
            return address
    return address


def is_allowed(address: Address | None, networks: Sequence[Network]) -> bool:
    """No networks: from everywhere. An address that cannot be told is in none."""
    return not networks or (address is not None and _is_in(address, networks))


def client_name(address: Address | None) -> str:
    """What tells one client from another: the address, or of IPv6 its /64, all of which one host may have."""
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def parse(text: str) -> Address | None:
    """An address with or without a port, an IPv6 address with or without brackets and zone; an IPv4 address that is
    written as an IPv6 one is taken for what it is. None for everything else."""
    return _parse(text.strip(" \t")) if len(text) <= _LONGEST else None


@lru_cache(maxsize=4_096)
def _parse(text: str) -> Address | None:
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not _PORT.match(port)) or ":" not in text:
            return None
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        if ":" not in text:
            return IPv4Address(text)
        address = IPv6Address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _x_forwarded_for(lines: Sequence[str]) -> Iterator[str]:
    """The hops from the right. Several header lines are one list, and its empty elements are none
    (RFC 9110 §5.6.1)."""
    for line in reversed(lines):
        yield from (hop for hop in reversed(line.split(",")) if hop.strip(" \t"))


def _forwarded(lines: Sequence[str]) -> Iterator[str]:
    """As `_x_forwarded_for`. "" stands for an element without `for=`, and for a whole line that is malformed: what
    the client left open in it may have swallowed what a proxy appended."""
    for line in reversed(lines):
        elements = _elements(line)
        yield from ("",) if elements is None else reversed(elements)


def _elements(line: str) -> list[str] | None:
    """The `for=` of each element of one header line. None: malformed."""
    found: list[str] = []
    element: dict[str, str] = {}
    position = 0
    while pair := _PAIR.match(line, position):
        name, token, quoted, end = pair.groups()
        if name is not None:
            if name.lower() in element:
                return None
            element[name.lower()] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
        if end != ";" and element:
            found.append(element.get("for", ""))
            element = {}
        position = pair.end()
        if not end:
            return found
    return None
