"""A receiver that costs next to nothing: it answers each POST with 204 and counts. Run by bench/delivery.py.

`GET` answers with what it counted since the last one: `{"count", "first", "last"}`, times as seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Counted:
    count = 0
    first = last = 0.0

    def add(self) -> None:
        self.last = time.time()
        self.first = self.first or self.last
        self.count += 1

    def taken(self) -> dict[str, float]:
        counted = {"count": self.count, "first": self.first, "last": self.last}
        self.count, self.first, self.last = 0, 0.0, 0.0
        return counted


class Receiver(asyncio.Protocol):
    """Requests with a `Content-Length`, one after the other on a connection."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            _, found, rest = head.partition(b"content-length: ")
            whole = end + 4 + (int(rest.partition(b"\r\n")[0]) if found else 0)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"post"):
            self._counted.add()
            self._transport.write(_ANSWER)
        else:
            said = json.dumps(self._counted.taken()).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))


async def main(port: int) -> None:
    counted = Counted()
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(counted), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
