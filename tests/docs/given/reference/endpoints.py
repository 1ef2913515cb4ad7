"""The system that is told, and a delivery to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.docs.stack import ReadersStack
from tests.docs.terminal import Terminal


class _Crm(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def set_out(stack: ReadersStack) -> Iterator[dict[str, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Crm) as crm:
        Thread(target=crm.serve_forever).start()
        try:
            yield {"https://crm.example": f"http://127.0.0.1:{crm.server_port}"}
        finally:
            crm.shutdown()


def _delivery(terminal: Terminal) -> str:
    newest, *_ = json.loads(terminal.shell("sagahook deliveries list --endpoint crm --json")[1])
    return str(newest["id"])


FOUND = {"DELIVERY_ID": _delivery}
