"""Free TCP ports on 127.0.0.1."""

import random
import socket
from collections.abc import Awaitable, Callable

from sagahook.embedded.errors import StackError

# Below the ranges that Linux (32768 and up) and macOS (49152 and up) take for outgoing connections. A port
# from inside them can be lost while its server restarts: to any client of anything, or to our own client,
# whose attempts to connect to a port without a listener sometimes connect to themselves.
FIRST, LAST = 20000, 32000
_ATTEMPTS = 3


def free_port() -> int:
    """A port that nobody listens on now; another program may still be quicker to bind it."""
    for _ in range(200):
        port = random.randint(FIRST, LAST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StackError(
        f"No free port between {FIRST} and {LAST} on 127.0.0.1: stop some servers and try again."
    )


async def on_free_port(run: Callable[[int], Awaitable[None]]) -> int:
    """Starts a server on a free port, on another if that one was taken meanwhile. Returns the port."""
    for attempt in range(1, _ATTEMPTS + 1):
        port = free_port()
        try:
            await run(port)
        except StackError as error:
            if attempt == _ATTEMPTS or "Address already in use" not in str(error):
                raise
        else:
            return port
    raise AssertionError("the last attempt returns or raises")
