"""Most webhooks come as a whole, head and body together, and go another way than those that come in pieces: nobody is
to see a difference."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, ServedIngest, serving, settings_for

LIMIT = 1_000
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest_asyncio.fixture(scope="module")
async def ingest(kafka_bootstrap: str, module_prefix: str) -> AsyncIterator[ServedIngest]:
    await ensure_topics(kafka_bootstrap, module_prefix, PARTITIONS)
    async with serving(settings_for(kafka_bootstrap, module_prefix, body_limit=LIMIT)) as served:
        yield served


async def told(ingest: ServedIngest, path: str, body: bytes, *header: str, whole: bool) -> tuple[bytes, str]:
    """The status, and the answer's body without its ids. Not whole: the body is sent when it is asked for."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: here",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *header,
    ]
    if not whole:
        lines.append("Expect: 100-continue")
    head = "\r\n".join([*lines, "", ""]).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
    writer.write(head + body if whole else head)
    answer = await reader.readuntil(b"\r\n\r\n")
    if not whole and b" 100 " in answer.partition(b"\r\n")[0]:
        writer.write(body)
        answer = await reader.readuntil(b"\r\n\r\n")
    rest = (await reader.read()).decode()
    writer.close()
    return answer.partition(b"\r\n")[0], re.sub(UUID, "id", rest)


@pytest.mark.parametrize(
    ("status", "path", "body", "header"),
    [
        (b"202", "/webhooks/orders", b"{}", "X-Correlation-ID: mine"),
        (b"202", "/webhooks/orders", b"{}", "Idempotency-Key: whole-or-not"),
        (b"202", "/webhooks/orders/batch", b"[1, 2]", "X-Correlation-ID: mine"),
        (b"400", "/webhooks/orders", b"{", "X-Event-Type: none"),
        (b"400", "/webhooks/orders", b"{}", "X-Correlation-ID: not one"),
        (b"404", "/webhooks/nobody", b"{}", "Accept: application/problem+json"),
        (b"404", "/nothing/here", b"{}", "Accept: */*"),
        (b"413", "/webhooks/orders", b"1" * (LIMIT + 1), "Accept: */*"),
        (b"415", "/webhooks/orders", b"{}", "Content-Encoding: gzip"),
    ],
)
async def test_a_request_that_comes_as_a_whole_is_answered_as_one_that_comes_in_pieces(
    ingest: ServedIngest, status: bytes, path: str, body: bytes, header: str
) -> None:
    answers = [await told(ingest, path, body, header, whole=whole) for whole in (True, False)]
    assert answers[0] == answers[1]
    assert answers[0][0].split()[1] == status
