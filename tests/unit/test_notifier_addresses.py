"""Which addresses an outbound webhook may be sent to."""

import pytest

from sagahook_notifier.domain.addresses import Reach


def refusal(address: str) -> str | None:
    return Reach().refusal(address, [address])


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001:82b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_addresses_may_be_sent_to(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 nothing binds here
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",  # metadata of Alibaba Cloud
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",  # Azure's platform
        "169.254.169.254",  # metadata of most clouds
        "169.254.170.2",  # of AWS containers
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",  # metadata of Oracle Cloud
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",  # IPv4-compatible
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",  # a network's own NAT64
        "100::1",
        "2001::1",  # Teredo
        "2001:db8::1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2002:a9fe:a9fe::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",  # metadata of AWS over IPv6
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_lead_inside_may_not(address: str) -> None:
    assert refusal(address) == f"{address} is not a public address"


@pytest.mark.parametrize("address", ["2130706433", "127.1", "0x7f000001", "0177.0.0.1", "localhost", ""])
def test_what_is_no_plain_address_may_not(address: str) -> None:
    assert refusal(address) == f"{address} is not a plain IP address"
