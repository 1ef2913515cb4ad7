"""Addresses that nothing may be sent to: no connection to them is even tried. Every attempt of this process to connect
is counted by Python itself, and real servers listen where a slip would lead."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_asyncio

from sagahook_notifier.domain.addresses import Reach
from sagahook_notifier.domain.policies import Answer, NoAnswer, Unsendable
from tests.sender_harness import RawServer, delivery, sender, serving

PUBLIC_ALONE = Reach()

_counted: list[list[Any]] = []


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _counted:
        _counted[-1].append(arguments[1])


sys.addaudithook(_count)  # it cannot be taken away again


@pytest.fixture
def connects() -> Iterator[list[Any]]:
    """The addresses that this process tried to connect to."""
    _counted.append([])
    yield _counted[-1]
    _counted.pop()


@pytest_asyncio.fixture
async def inside() -> AsyncIterator[RawServer]:
    """It listens at every address of this machine."""
    async with AsyncExitStack() as listening:
        raw = await listening.enter_async_context(serving("0.0.0.0"))  # noqa: S104
        raw.says(b"HTTP/1.1 204 No Content\r\n\r\n")
        six = await asyncio.start_server(raw.serve, "::1", raw.port)
        listening.callback(six.close)
        yield raw


HOSTS = """
127.0.0.1 127.0.0.2 127.255.255.254 127.1 127.0.1 2130706433 017700000001 0x7f000001 0x7f.1 0177.0.0.1
0x7f.0.0.1 127.0.0.1. 127.1. 127.0.0.01 00127.0.0.1 0 0.0.0.0 0.1.2.3 256.256.256.256 4294967297 0x17f000001
1.1.1.1.1 localhost LOCALHOST localhost. ip6-localhost 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255
192.168.0.1 100.64.0.1 100.100.100.200 169.254.169.254 169.254.170.2 168.63.129.16 192.0.0.192 192.0.2.1
192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 2852039166
0xa9fea9fe 0251.0376.0251.0376 169.254.43518 [::] [::1] [0:0:0:0:0:0:0:1] [::7f00:1] [::127.0.0.1]
[::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe] [::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1]
[64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2001::1] [2001:20::1]
[2001:db8::1] [3fff::1] [fc00::1] [fd00:ec2::254] [fd20:ce::254] [fe80::1] [fe80::1%25lo] [::1%25lo] [fec0::1]
[ff02::1] [100::1] [5f00::1] [4000::1] [::ffff:0x7f.1] [127.0.0.1] public.example@127.0.0.1
127.0.0.1%00.public.example 127.0.0.1%2f@public.example public.example%40127.0.0.1 %31%32%37.0.0.1 127。0。0。1
１２７.0.0.1 ⑫7.0.0.1 127.0.0.1\\@public.example
""".split()  # noqa: SIM905, RUF001 as they are written in URLs; nothing binds there


@pytest.mark.parametrize("host", HOSTS)
async def test_no_connection_is_tried_to_what_is_not_public(
    host: str, inside: RawServer, connects: list[Any]
) -> None:
    async with sender(PUBLIC_ALONE) as opened:
        exchange = await opened.send(delivery(f"http://{host}:{inside.port}/"))

    assert isinstance(exchange.said, NoAnswer | Unsendable)
    assert [address for address in connects if address[1] == inside.port] == []
    assert inside.connections == 0


def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTS)) >= 90


class Names:
    """A resolver in the hands of a stranger: the n-th look-up gets the n-th answer, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answer
        ]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["1.1.1.1", "127.0.0.1"],  # a public one beside it makes it no better
        ["2606:4700:4700::1111", "::1"],
        ["not an address"],
    ],
)
async def test_no_connection_is_tried_to_a_name_with_such_an_address(
    addresses: list[str], inside: RawServer, connects: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(addresses))
    async with sender(PUBLIC_ALONE) as opened:
        exchange = await opened.send(delivery(f"http://public.example:{inside.port}/"))

    assert isinstance(exchange.said, NoAnswer)
    assert "(an address of public.example)" in exchange.said.error
    assert [address for address in connects if address[1] == inside.port] == []


async def test_a_name_that_is_rebound_is_refused_before_any_packet(
    inside: RawServer, connects: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    good = Reach(networks=(ip_network("127.0.0.2/32"),))
    async with sender(good) as opened:
        first = await opened.send(delivery(f"http://rebound.example:{inside.port}/"))
        looked_up_once = names.asked
        second = await opened.send(delivery(f"http://rebound.example:{inside.port}/"))

    assert first.said == Answer(204)
    assert looked_up_once == 1  # what was checked is what was connected to
    assert isinstance(second.said, NoAnswer)
    assert {address[0] for address in connects if address[1] == inside.port} == {"127.0.0.2"}


async def test_a_redirect_to_the_inside_leads_nowhere(inside: RawServer, connects: list[Any]) -> None:
    async with serving("127.0.0.2") as outside:
        outside.says(
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % inside.port
        )
        async with sender(Reach(networks=(ip_network("127.0.0.2/32"),))) as opened:
            exchange = await opened.send(delivery(f"http://127.0.0.2:{outside.port}/"))

    assert exchange.said == Answer(307)
    assert [address for address in connects if address[1] == inside.port] == []


@pytest.mark.parametrize(
    ("reach", "host", "allowed"),
    [
        (Reach(networks=(ip_network("127.0.0.0/8"),)), "127.0.0.1", True),
        (Reach(networks=(ip_network("127.0.0.0/8"),)), "[::ffff:127.0.0.1]", True),
        (Reach(networks=(ip_network("10.0.0.0/8"),)), "127.0.0.1", False),
        (Reach(hosts=("localhost",)), "localhost", True),
        (Reach(hosts=("localhost",)), "127.0.0.1", False),
        (Reach(hosts=(".localhost",)), "localhost", False),
    ],
)
async def test_an_operator_may_allow_networks_and_names(
    reach: Reach, host: str, allowed: bool, inside: RawServer
) -> None:
    async with sender(reach) as opened:
        exchange = await opened.send(delivery(f"http://{host}:{inside.port}/"))

    assert (exchange.said == Answer(204)) is allowed


async def test_the_refusal_of_an_address_says_what_to_do(inside: RawServer) -> None:
    async with sender(PUBLIC_ALONE) as opened:
        exchange = await opened.send(delivery(inside.url))

    assert exchange.said == NoAnswer(
        "127.0.0.1 is not a public address: if it is meant, allow it by SAGAHOOK_NOTIFY_ALLOW_NETWORKS or "
        "SAGAHOOK_NOTIFY_ALLOW_HOSTS"
    )
