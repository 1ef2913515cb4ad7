"""A stack whose services are small HTTP servers, run as `sagahook dev` runs one.

python embedded_standin.py APP DATA|- PORT
"""

import asyncio
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sagahook.embedded.services import Deployment
    from sagahook.embedded.supervisor import ServiceSpec

KINDS = ("api", "saga-runner", "tracker", "notifier")


def standins(deployment: "Deployment") -> "list[ServiceSpec]":
    """One for each kind; the api's on the public port."""
    from sagahook.embedded.ports import hold_port
    from sagahook.embedded.supervisor import ServiceSpec

    ports = {kind: deployment.api_port if kind == "api" else hold_port() for kind in KINDS}
    return [
        ServiceSpec(
            name=kind,
            kind=kind,
            argv=(sys.executable, __file__, "service"),
            env={**deployment.common_env(), "PORT": str(port.number)},
            ready_url=f"http://127.0.0.1:{port.number}/readyz",
            port=port,
        )
        for kind, port in ports.items()
    ]


class _Answer(BaseHTTPRequestHandler):
    """Any GET answers the settings that the service was started with."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write("\n".join(f"{key}={value}" for key, value in os.environ.items()).encode())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def run_stack(app: str, data: Path | None, port: int) -> None:
    from sagahook.cli.dev import serve
    from sagahook.embedded.errors import StackError
    from sagahook.embedded.stack import Stack, StackOptions

    options = StackOptions(app=app, data=data, port=port, partitions=1, reload=True)
    stack = Stack(options, say=_say, services=standins, migrate=(sys.executable, "-c", ""))
    try:
        asyncio.run(serve(stack, headless=True, as_json=True))
    except StackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    if sys.argv[1] == "service":
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), _Answer).serve_forever()
    else:
        run_stack(sys.argv[1], None if sys.argv[2] == "-" else Path(sys.argv[2]), int(sys.argv[3]))
