"""A closed-loop HTTP/1.1 load generator over raw sockets, to be run in a process of its own.

    python -m bench.load --port 8080 --path /webhooks/orders --connections 16 --seconds 3

Each connection is kept alive and sends its next request when it has the whole answer to the last. Prints
one line of JSON: {"requests", "seconds", "per_second", "p50_ms", "p99_ms", "statuses": {status: count}}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter
from typing import Any, cast

import orjson
import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; `deadline` in monotonic seconds. `done` resolves when it stopped asking."""

    def __init__(self, request: bytes, deadline: float) -> None:
        self._request = request
        self._deadline = deadline
        self._buffer = b""
        self._sent = 0.0
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head)
        if length is None:
            self._finish(ValueError("an answer without a Content-Length"))
        elif len(self._buffer) >= head + 4 + int(length[1]):
            self.times.append(time.perf_counter() - self._sent)
            self.statuses[int(self._buffer[9:12])] += 1
            self._buffer = b""
            if time.monotonic() < self._deadline:
                self._ask()
            else:
                self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionError("the server closed a connection"))

    def _ask(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _finish(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self._transport.close()


def json_body(size: int) -> bytes:
    """A JSON object of exactly `size` bytes (at least 100), shaped like an order."""
    order: dict[str, Any] = {
        "order_id": "ord_1234567890",
        "amount": 4200,
        "items": [{"sku": "A1", "n": 2}],
        "note": "",
    }
    order["note"] = "x" * (size - len(orjson.dumps(order)))
    return orjson.dumps(order)


def post(path: str, body: bytes, header: str = "") -> bytes:
    """The bytes of one request. header: a further one, `Name: value`."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"{header}\r\n" if header else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def run(host: str, port: int, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    begun = time.monotonic()
    made = [
        await loop.create_connection(lambda: _Connection(request, begun + seconds), host, port)
        for _ in range(connections)
    ]
    clients = [client for _, client in made]
    await asyncio.gather(*(client.done for client in clients))
    elapsed = time.monotonic() - begun
    times = sorted(taken for client in clients for taken in client.times)
    statuses = sum((client.statuses for client in clients), Counter[int]())
    return {
        "requests": len(times),
        "seconds": round(elapsed, 3),
        "per_second": round(len(times) / elapsed, 1),
        "p50_ms": round(times[len(times) // 2] * 1000, 3),
        "p99_ms": round(times[len(times) * 99 // 100] * 1000, 3),
        "statuses": {str(status): count for status, count in statuses.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--body", type=int, default=500, help="bytes")
    parser.add_argument("--header", default="", help="`Name: value`")
    args = parser.parse_args()
    request = post(args.path, json_body(args.body), args.header)
    result = uvloop.run(run(args.host, args.port, request, args.connections, args.seconds))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
