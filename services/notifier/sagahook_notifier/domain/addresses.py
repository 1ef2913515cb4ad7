"""Which addresses an outbound webhook may be sent to: only public ones, and those that an operator allows.

The networks are listed here, because Python 3.11's `is_global` calls several of them global that lead inside:
NAT64, 6to4 and some metadata services among them. Source: the IANA special-purpose address registries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; also Alibaba Cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform address: public by number, internal by use
        "169.254.0.0/16",  # link-local, with the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments; also Oracle Cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Of IPv6 only global unicast is handed out; these are the parts of it that lead elsewhere.
_UNICAST_V6 = IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments, Teredo, ORCHID, benchmarking
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be sent to besides public addresses. everything: any address at all. networks: those in them. hosts: any
    address of these names, in lower case; `.example.internal` is every name below that one."""

    everything: bool = False
    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()

    def refusal(self, host: str, addresses: Iterable[str]) -> str | None:
        """Why nothing may be sent to a host with these addresses, or None. One that is not allowed is enough: a
        name that has a public address beside it is made to get past a check."""
        if self.everything or self._names(host):
            return None
        for address in addresses:
            if reason := self._refused(address):
                of = "" if address == host else f" (an address of {host})"
                return f"{address}{of} {reason}"
        return None

    def _names(self, host: str) -> bool:
        return any(
            host.endswith(allowed) if allowed.startswith(".") else host == allowed for allowed in self.hosts
        )

    def _refused(self, address: str) -> str | None:
        try:
            parsed = ip_address(address)
        except ValueError:
            return "is not a plain IP address"
        meant = _meant(parsed)
        if _is_public(meant) or any(meant in network or parsed in network for network in self.networks):
            return None
        return "is not a public address"


def _meant(address: Address) -> Address:
    """An IPv4 address inside an IPv6 one (mapped, NAT64) is judged as what it is: the system or a gateway unwraps
    it."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _FORBIDDEN_V4)
    return address in _UNICAST_V6 and not any(address in network for network in _FORBIDDEN_V6)
