"""What one HTTP server does with its connections as a whole: in order, bounded, drained. The application is as small
as can be; the server, its sockets and its loop are real."""

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.hostile_client import Connection, connected
from tests.hostile_served import Served, ask
from tests.hostile_served import served as serving

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET /half HTTP/1.1\r\n"


class App:
    """Answers with the request's path and what it was sent; `/held` only when it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.clients: list[str] = []
        self.let_go = asyncio.Event()

    async def until_asked(self, path: str) -> None:
        async with asyncio.timeout(10):
            while path not in self.asked:
                await asyncio.sleep(0.01)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        self.clients.append(scope["client"][0])
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        if scope["path"] == "/held":
            await self.let_go.wait()
        answer = scope["path"].encode() + b" " + body
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@contextlib.asynccontextmanager
async def served(**changed: Any) -> AsyncIterator[Served[App]]:
    app = App()
    async with serving(app, **changed) as server:
        try:
            yield server
        finally:
            app.let_go.set()


@contextlib.asynccontextmanager
async def several(port: int, count: int) -> AsyncIterator[list[Connection]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(port)) for _ in range(count)]


async def test_requests_that_come_together_are_answered_in_their_order() -> None:
    async with served() as server, connected(server.port) as connection:
        await connection.send(GET % b"held" + GET % b"second" + GET % b"third")
        await server.app.until_asked("/held")
        assert server.app.asked == ["/held"]
        server.app.let_go.set()
        assert [answer.body for answer in await connection.answers(3)] == [b"/held ", b"/second ", b"/third "]
        assert await ask(connection, GET % b"fourth") == (200, b"/fourth ")


async def test_a_refusal_waits_for_the_answers_to_what_was_asked_before() -> None:
    async with served() as server, connected(server.port) as connection:
        await connection.send(GET % b"held" + GET % b"second" + b"garbage\r\n\r\n" + GET % b"never")
        await server.app.until_asked("/held")
        server.app.let_go.set()
        assert [answer.status for answer in await connection.answers(9)] == [200, 200, 400]
        assert server.app.asked == ["/held", "/second"]


async def test_a_body_that_turns_out_malformed_while_it_waits_behind_another_is_refused_after_it() -> None:
    async with served() as server, connected(server.port) as connection:
        chunked = b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        await connection.send(GET % b"held" + chunked)
        await server.app.until_asked("/held")
        server.app.let_go.set()
        assert [answer.status for answer in await connection.answers(9)] == [200, 400]
        assert server.app.asked == ["/held"]


async def test_a_client_that_goes_on_and_on_without_reading_is_answered_as_far_as_requests_may_wait() -> None:
    async with served(http_pipeline=3) as server, connected(server.port) as connection:
        await connection.send(GET % b"held" + b"".join(GET % b"%d" % number for number in range(50)))
        await server.app.until_asked("/held")
        server.app.let_go.set()
        answers = await connection.answers(99)
        assert [answer.body for answer in answers] == [b"/held ", b"/0 ", b"/1 ", b"/2 "]
        assert answers[-1].headers["connection"] == "close"


async def test_a_large_body_is_taken_whole_though_reading_pauses() -> None:
    async with served() as server, connected(server.port) as connection:
        body = bytes(range(256)) * 8_000
        head = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        sending = asyncio.create_task(connection.send(head + body + GET % b"next"))
        first, second = await connection.answers(2)
        await sending
        assert first.body == b"/large " + body
        assert second.body == b"/next "


async def test_a_client_that_said_its_last_word_is_still_answered() -> None:
    async with served() as server, connected(server.port) as connection:
        await connection.send(GET % b"held" + GET % b"second")
        connection.say_no_more()
        await server.app.until_asked("/held")
        server.app.let_go.set()
        assert [answer.body for answer in await connection.answers(3)] == [b"/held ", b"/second "]
        assert await connection.rest() == b""


async def test_where_every_connection_is_taken_a_new_one_is_told_to_come_again_and_probes_are_answered() -> (
    None
):
    async with served(http_connections=4) as server, several(server.port, 4) as busy:
        for connection in busy:
            await connection.send(GET % b"held")
        await server.app.until_asked("/held")
        async with connected(server.port) as late:
            await late.send(GET % b"late")
            answer = await late.answer()
            assert answer is not None
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["path"] == "/late"
            assert await late.rest() == b""
        async with connected(server.port) as probe:
            assert await ask(probe, GET % b"livez") == (200, b"/livez ")
            assert await probe.rest() == b""
        assert "/late" not in server.app.asked


async def test_a_flood_of_connections_is_told_at_once_or_let_go() -> None:
    async with served(http_connections=1) as server, several(server.port, 1) as first:
        await first[0].send(GET % b"held")
        await server.app.until_asked("/held")
        spare = 16
        async with several(server.port, 4 * spare) as flood:
            ends = [await connection.rest() for connection in flood]
        assert b"" in ends
        assert {end.split(b" ")[1] for end in ends if end} == {b"503"}
        assert server.app.asked == ["/held"]


@pytest.mark.parametrize(
    "first", [b"", GET % b"first"], ids=["for the first request", "for the next request"]
)
async def test_connections_that_only_wait_make_room_the_longest_waiting_first(first: bytes) -> None:
    async with served(http_connections=3) as server, contextlib.AsyncExitStack() as stack:
        idle = []
        for _ in range(3):
            idle.append(await stack.enter_async_context(connected(server.port)))
            if first:
                assert (await ask(idle[-1], first))[0] == 200
            await asyncio.sleep(1.1)  # longer than a sweep, which is the clock's step
        new = await stack.enter_async_context(connected(server.port))
        assert await ask(new, GET % b"new") == (200, b"/new ")
        assert await idle[0].rest() == b""
        assert await ask(idle[1], GET % b"again") == (200, b"/again ")


async def test_a_server_that_stops_answers_what_it_was_asked_and_closes_what_only_waits() -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with served() as server:
            asking, idle, silent, half = await stack.enter_async_context(several(server.port, 4))
            assert (await ask(idle, GET % b"idle"))[0] == 200
            await asking.send(GET % b"held")
            await half.send(HALF)
            await server.app.until_asked("/held")
            server.server.should_exit = True
            for connection in (idle, silent, half):
                assert await connection.rest() == b""
            server.app.let_go.set()
            answer = await asking.answer()
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("forwarded", [b"X-Forwarded-For: 192.0.2.1", b"Forwarded: for=192.0.2.1"])
async def test_what_a_header_says_of_the_address_is_not_taken_for_the_connections(forwarded: bytes) -> None:
    async with served() as server, connected(server.port) as connection:
        await ask(connection, b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % forwarded)
        assert server.app.clients == ["127.0.0.1"]


POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"

ENDED = {
    "that sent nothing": b"",
    "that sent half a head": HALF,
    "that sent half a body": POST + b"Content-Length: 9\r\n\r\n{",
    "that was answered": GET % b"a",
    "that was answered for the last time": POST + b"Connection: close\r\nContent-Length: 1\r\n\r\n1",
    "that was refused": b"garbage\r\n\r\n",
    "that was refused while its body came": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "that asked for more than may wait": GET % b"a" * 50,
    "that offered an upgrade": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n1",
}


@pytest.mark.parametrize("sent", ENDED.values(), ids=ENDED)
async def test_of_a_connection_nothing_is_left_for_the_collector_which_hardly_ever_comes(sent: bytes) -> None:
    async with served() as server:
        gc.disable()
        try:
            async with connected(server.port) as connection:
                await connection.send(sent)
                async with asyncio.timeout(10):
                    while not server.server.server_state.connections:
                        await asyncio.sleep(0.01)
                left = weakref.ref(next(iter(server.server.server_state.connections)))
                await asyncio.sleep(0.1)
            async with asyncio.timeout(10):
                while left() is not None:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("most", "allowed"), [(9_000, 4_512), (2_000, 2_000)], ids=["and gets", "as far as it gets"]
)
async def test_a_process_asks_for_the_open_files_that_its_connections_need(most: int, allowed: int) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, {most}));"
        "from sagahook.runtime.service import allow_files; allow_files(4_000);"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().splitlines()[-1] == f"{allowed} {most}"
