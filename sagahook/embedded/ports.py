"""TCP ports on 127.0.0.1 for the servers that we start."""

import random
import socket
import sys

from sagahook.embedded.errors import StackError

# Below the ranges that Linux (32768 and up) and macOS (49152 and up) take for outgoing connections. A port
# from inside them can be lost while its server restarts: to any client of anything, or to our own client,
# whose attempts to connect to a port without a listener sometimes connect to themselves.
FIRST, LAST = 20000, 32000


class HeldPort:
    """A port that is kept for one server of ours, also while that server is down.

    Holding is binding without listening: Linux lets our server bind the port too, because both say SO_REUSEADDR,
    and refuses it to others who look for a free one. Elsewhere nothing is held, and another may be quicker.
    """

    def __init__(self, held: socket.socket) -> None:
        self.number: int = held.getsockname()[1]
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":
            held.close()
        self._held = held

    def release(self) -> None:
        self._held.close()


def hold_port() -> HeldPort:
    """A port that nobody uses or holds."""
    for _ in range(200):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            candidate.bind(("127.0.0.1", random.randint(FIRST, LAST)))
        except OSError:
            candidate.close()
            continue
        return HeldPort(candidate)
    raise StackError(
        f"No free port between {FIRST} and {LAST} on 127.0.0.1: stop some servers and try again."
    )


def hold_this_port(number: int) -> HeldPort:
    """Raises OSError where a server uses it. Connections that have just ended are no obstacle."""
    socket.create_server(("127.0.0.1", number)).close()
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", number))
    return HeldPort(held)


def free_port() -> int:
    """A port that nobody uses or holds now, for a caller who binds it at once."""
    held = hold_port()
    held.release()
    return held.number
