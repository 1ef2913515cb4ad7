"""How answers are written, whatever an application sends."""

from typing import Any

import pytest

from tests.hostile_client import connected
from tests.hostile_served import served


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answered(*messages: dict[str, Any], request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n") -> bytes:
    """All that comes back, without its date, when an application sends these."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with served(app) as server, connected(server.port) as connection:
        await connection.send(request + b"\r\n")
        connection.say_no_more()
        lines = (await connection.rest()).split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.startswith((b"date: ", b"connection: ")))


async def test_a_body_of_a_known_length_is_sent_as_it_is() -> None:
    came = await answered(
        start((b"Content-Length", b"5"), (b"x-a", b"1")), body(b"he", more=True), body(b"llo")
    )
    assert came == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-a: 1\r\n\r\nhello"


async def test_a_body_of_an_unknown_length_is_sent_in_chunks() -> None:
    came = await answered(start(), body(b"he", more=True), body(b"", more=True), body(b"llo"))
    assert came == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_has_no_length_either(status: int) -> None:
    assert (await answered(start(status=status), body(b""))).partition(b"\r\n")[2] == b"\r\n"


async def test_a_head_is_answered_with_the_headers_alone() -> None:
    came = await answered(
        start((b"content-length", b"5")), body(b"hello"), request=b"HEAD / HTTP/1.1\r\nHost: x\r\n"
    )
    assert came == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nX-Injected: yes", b"a\nb", b"a\rb", b"a\0b"])
async def test_no_header_of_an_answer_becomes_two(value: bytes) -> None:
    came = await answered(start((b"x-a", value), (b"content-length", b"0")), body(b""))
    assert came.startswith(b"HTTP/1.1 500 ")
    assert b"Injected" not in came


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (start(),),
        (body(b"x"),),
        (start((b"content-length", b"2")), body(b"x")),
        (start((b"content-length", b"2")), body(b"xyz")),
    ],
    ids=["nothing", "a head alone", "a body alone", "too short a body", "too long a body"],
)
async def test_an_application_that_answers_wrongly_is_a_failure_of_the_server(
    messages: tuple[Any, ...],
) -> None:
    assert (await answered(*messages)).startswith(b"HTTP/1.1 500 ")


async def test_an_answer_that_breaks_off_is_seen_to_be_broken_off() -> None:
    came = await answered(start((b"content-length", b"9")), body(b"half", more=True), start())
    assert came.endswith(b"\r\n\r\nhalf")
