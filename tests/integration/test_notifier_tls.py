"""Whom an attempt trusts."""

import pytest

from sagahook_notifier.domain.policies import Answer, NoAnswer
from tests.certificates import authority, certified
from tests.sender_harness import delivery, sender, serving


async def test_tls_is_verified_by_the_name_in_the_url() -> None:
    trusted, ours = authority()
    async with serving("localhost", tls=certified(ours, "localhost")) as server:
        server.says(b"HTTP/1.1 204 No Content\r\n\r\n")
        async with sender(tls=trusted) as opened:
            exchange = await opened.send(delivery(f"https://localhost:{server.port}/"))

    assert exchange.said == Answer(204)


@pytest.mark.parametrize("name", ["other.example", "*.localhost"])
async def test_a_certificate_of_another_name_is_refused(name: str) -> None:
    trusted, ours = authority()
    async with serving("localhost", tls=certified(ours, name)) as server, sender(tls=trusted) as opened:
        exchange = await opened.send(delivery(f"https://localhost:{server.port}/"))

    assert isinstance(exchange.said, NoAnswer)
    assert "no secure connection to localhost: its certificate is not accepted" in exchange.said.error
    assert server.requests == []


async def test_a_certificate_of_an_unknown_authority_is_refused_and_plain_http_behind_https_is_a_failure() -> (
    None
):
    _, ours = authority()
    async with (
        serving("localhost", tls=certified(ours, "localhost")) as strange,
        serving() as server,
        sender() as opened,
    ):
        unknown = await opened.send(delivery(f"https://localhost:{strange.port}/"))
        plain = await opened.send(delivery(f"https://127.0.0.1:{server.port}/"))

    assert isinstance(unknown.said, NoAnswer)
    assert "its certificate is not accepted" in unknown.said.error
    assert isinstance(plain.said, NoAnswer)
    assert server.requests == []
