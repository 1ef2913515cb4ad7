"""An open-loop HTTP/1.1 load generator over raw sockets, to be run in a process of its own.

    python -m bench.arrivals --port 8080 --path /webhooks/orders --rate 1000 --connections 64 --seconds 5

Requests come at random moments (a Poisson process), `--rate` of them a second on average, whether or not earlier ones
were answered: as the senders of webhooks do. One that finds all kept-alive connections busy waits for one, which
counts, and is given up after `--patience` seconds. With `--rate 0` every connection sends its next request when it
has the answer to the last (a closed loop), which finds the rate at which a server is saturated.

A request's time begins when the generator gets to it, mostly at most `late_p99_ms` after its moment, so that what the
generator itself lacks on a small machine is not taken for the server's. Prints one line of JSON, as
`Arrivals.summary` has it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import sys
import time
from collections import Counter, deque
from typing import Any, cast

import uvloop

from bench.load import json_body

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d", re.IGNORECASE)
_TRY_AGAIN = (429, 503)
_RECONNECT_SECONDS = 0.05
_DRAIN_SECONDS = 20.0


class _Connection(asyncio.Protocol):
    """One kept-alive connection, with one request under way at most."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._began: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it
        self._arrivals.free(self)

    def ask(self, request: bytes, began: float) -> None:
        self._began = began
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, head) if head >= 0 else None
        if length is None or len(self._buffer) < head + 4 + int(length[1]) or self._began is None:
            return
        answer, self._buffer = self._buffer[: head + 2], b""
        began, self._began = self._began, None
        self._arrivals.answered(answer, time.perf_counter() - began)
        if not self._transport.is_closing():
            self._arrivals.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrivals.lost(self, under_way=self._began is not None)

    def close(self) -> None:
        self._transport.close()


class Arrivals:
    """rate: a second; 0 for a closed loop. patience: seconds that a request waits for a free connection."""

    def __init__(
        self, port: int, request: bytes, *, rate: float, connections: int, seconds: float, patience: float
    ) -> None:
        self._port = port
        self._request = request
        self._rate = rate
        self._connections = connections
        self._seconds = seconds
        self._patience = patience
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._open = True
        self._begun = False
        self._drained = asyncio.Event()
        self._counted: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._times: list[float] = []
        self._late: list[float] = [0.0]
        self._opening: set[asyncio.Task[None]] = set()
        self._ended_at = 0.0
        self._took = 0.0

    async def run(self) -> None:
        await asyncio.gather(*(self._connect() for _ in range(self._connections)))
        self._begun, began = True, time.perf_counter()
        await (self._arrive(began + self._seconds) if self._rate else self._keep_busy())
        self._open = False
        self._took, self._ended_at = time.perf_counter() - began, time.monotonic()
        self._counted["not_sent"] += len(self._waiting)
        self._waiting.clear()
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), _DRAIN_SECONDS)

    def summary(self) -> dict[str, Any]:
        """not_sent: given up for want of a connection. cut: requests that lost theirs. hung: not answered in the end.
        blind: told to try again without when. ended_at: when the last request came, on the system's monotonic clock.
        """
        times, late = sorted(self._times) or [0.0], sorted(self._late)
        return {
            "offered": self._counted["offered"],
            "offered_per_second": round(self._counted["offered"] / self._took, 1),
            "answered_per_second": round(self._counted["in_time"] / self._took, 1),
            **{name: self._counted[name] for name in ("sent", "not_sent", "cut", "blind")},
            "hung": self._under_way,
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
            "p50_ms": round(times[len(times) // 2] * 1000, 3),
            "p99_ms": round(times[len(times) * 99 // 100] * 1000, 3),
            "late_p99_ms": round(late[len(late) * 99 // 100] * 1000, 3),
            "ended_at": self._ended_at,
        }

    def free(self, connection: _Connection) -> None:
        """It may carry the next request."""
        oldest = time.perf_counter() - self._patience
        while self._waiting and self._waiting[0] < oldest:
            self._waiting.popleft()
            self._counted["not_sent"] += 1
        if self._waiting:
            self._ask(connection, self._waiting.popleft())
        elif self._open and self._begun and not self._rate:
            self._offer_on(connection)
        else:
            self._idle.append(connection)

    def answered(self, answer: bytes, seconds: float) -> None:
        status = int(answer[9:12])
        self._statuses[status] += 1
        self._times.append(seconds)
        self._counted["answered"] += 1
        self._counted["in_time"] += self._open
        self._note_drained()
        if status in _TRY_AGAIN and not _RETRY_AFTER.search(answer):
            self._counted["blind"] += 1

    def lost(self, connection: _Connection, *, under_way: bool) -> None:
        self._counted["cut"] += under_way
        self._note_drained()
        if connection in self._idle:
            self._idle.remove(connection)
        if self._open:
            opening = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    @property
    def _under_way(self) -> int:
        return self._counted["sent"] - self._counted["answered"] - self._counted["cut"]

    def _note_drained(self) -> None:
        if not self._open and not self._under_way:
            self._drained.set()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open:
            try:
                await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            except OSError:
                self._counted["refused"] += 1
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                return

    async def _arrive(self, until: float) -> None:
        dice = random.Random(1)
        due = time.perf_counter()
        rung = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, rung.set)
        while due < until:
            # The loop's own timers count whole milliseconds: with less to wait it would turn without rest, and take
            # from a small machine a processor that the servers need.
            if (left := due - time.perf_counter()) > 0:
                rung.clear()
                signal.setitimer(signal.ITIMER_REAL, left)
                await rung.wait()
            now = time.perf_counter()
            self._late.append(now - due)
            while due <= now:
                due += dice.expovariate(self._rate)
                self._counted["offered"] += 1
                if self._idle:
                    self._ask(self._idle.popleft(), now)
                else:
                    self._waiting.append(now)

    async def _keep_busy(self) -> None:
        while self._idle:
            self._offer_on(self._idle.popleft())
        await asyncio.sleep(self._seconds)

    def _offer_on(self, connection: _Connection) -> None:
        self._counted["offered"] += 1
        self._ask(connection, time.perf_counter())

    def _ask(self, connection: _Connection, began: float) -> None:
        self._counted["sent"] += 1
        connection.ask(self._request, began)


def request_of(path: str, body: bytes, headers: list[str]) -> bytes:
    """headers: each `Name: value`."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0 for a closed loop")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--patience", type=float, default=1.0, help="seconds")
    parser.add_argument("--body", type=int, default=500, help="bytes")
    parser.add_argument("--header", action="append", default=[], help="Name: value")
    args = parser.parse_args()
    arrivals = Arrivals(
        args.port,
        request_of(args.path, json_body(args.body), args.header),
        rate=args.rate,
        connections=args.connections,
        seconds=args.seconds,
        patience=args.patience,
    )
    uvloop.run(arrivals.run())
    sys.stdout.write(json.dumps(arrivals.summary()) + "\n")


if __name__ == "__main__":
    main()
