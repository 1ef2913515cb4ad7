"""Asks a service on this machine how it is: `probe.py /readyz`. Exit code 0 where the answer is 2xx.

For Docker's health checks, in an image without curl. It is started every few seconds, so it imports nothing that takes
time.
"""

import os
import socket
import sys

_SECONDS = 2.5
"""Less than the health check's own limit, so that what is wrong is said."""


def ask(port: int, path: str) -> int:
    """The answer's status. Raises OSError where nobody answers, ValueError where the answer is no HTTP."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            words = answer.readline(256).split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):
        raise ValueError("the answer is no HTTP")
    return int(words[1])


def main(path: str, port: str) -> int:
    try:
        status = ask(int(port), path)
    except (OSError, ValueError) as wrong:
        sys.stderr.write(f"port {port}, {path}: {wrong}\n")
        return 1
    sys.stdout.write(f"{path}: {status}\n")
    return 0 if 200 <= status < 300 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], os.environ.get("SAGAHOOK_HTTP_PORT", "")))
