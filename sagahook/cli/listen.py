"""`sagahook listen`: a receiver on this machine that verifies what arrives, and shows it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sagahook.cli.endpoints_given import referred
from sagahook.cli.sagas import Key, Url, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, SagasClient, escaped

if TYPE_CHECKING:
    from aiohttp import web

_LARGEST = 4 * 1024 * 1024


def listen(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where it listens; 0 picks a free one.")] = 0,
    register: Annotated[
        bool, typer.Option("--register", help="Make it an endpoint of the API while it listens.")
    ] = False,
    event: Annotated[
        list[str] | None,
        typer.Option("--event", help="With --register: what it hears of; several may be given."),
    ] = None,
    reached_by: Annotated[
        str | None, typer.Option(metavar="URL", help="With --register: where the notifier reaches it.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="What signatures are verified by: env:NAME or file:/path of whsec_… or whpk_…."),
    ] = None,
    status: Annotated[
        int, typer.Option(min=200, max=599, help="What is answered to what verifies; 500 shows the retries.")
    ] = 204,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Listens until interrupted. What no secret verifies is answered 401."""
    with one_line():
        secrets = [referred("--secret", each) for each in secret or ()]
        _check(secrets)
        receiver = Listener(secrets, status, as_json)
        client = SagasClient(url, key) if register else None
        asyncio.run(_listen(receiver, port, client, reached_by, event))


@dataclass
class Listener:
    """secrets: any of them verifies; none: everything is shown, and said to be unverified."""

    secrets: list[str]
    status: int
    as_json: bool
    seen: set[str] = field(default_factory=set)

    async def handle(self, request: web.Request) -> web.Response:
        from aiohttp import web

        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        why = self._unverified(headers, body)
        status = 401 if why and self.secrets else self.status
        self._show(headers, body, why, status)
        return web.Response(status=status, text=why if status == 401 else None)

    def _unverified(self, headers: dict[str, str], body: bytes) -> str | None:
        """Why it is not known who sent it; None: it is."""
        from sagahook_ingest.domain.signatures import Options, Unsigned, scheme_of

        if not self.secrets:
            return "no secret was given to verify it by"
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        try:
            scheme_of("standard", self.secrets, Options()).verify(raw, body, datetime.now(UTC))
        except Unsigned as unsigned:
            return str(unsigned)
        return None

    def _show(self, headers: dict[str, str], body: bytes, why: str | None, status: int) -> None:
        from sagahook.cli.endpoints_view import plain_lines

        id = headers.get("webhook-id", "")
        again = id in self.seen
        self.seen.add(id)
        payload = _parsed(body)
        if self.as_json:
            line = {"id": id, "verified": why is None, "why": why, "again": again, "status": status}
            typer.echo(json.dumps({**line, "payload": payload}))
        else:
            known = "verified" if why is None else f"NOT VERIFIED: {why}"
            typer.echo(
                plain_lines(
                    f"{datetime.now():%H:%M:%S} {_subject(payload)} {id}{' (again)' if again else ''}"
                )
            )
            typer.echo(plain_lines(f"  {known}; answered {status}"))
            typer.echo(plain_lines(json.dumps(payload, indent=2, ensure_ascii=False)))
        sys.stdout.flush()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _subject(payload: Any) -> str:
    fields = payload if isinstance(payload, dict) else {}
    data = fields.get("data")
    task = data.get("task_id", "") if isinstance(data, dict) else ""
    return f"{fields.get('type') or fields.get('event_type') or '?'} {task}"


def _check(secrets: Sequence[str]) -> None:
    """Raises NotDone."""
    from sagahook_ingest.domain.signatures import Options, scheme_of

    try:
        if secrets:
            scheme_of("standard", secrets, Options())
    except ValueError as wrong:
        raise NotDone(f"--secret: {wrong}") from None


async def _listen(
    listener: Listener,
    port: int,
    client: SagasClient | None,
    reached_by: str | None,
    events: list[str] | None,
) -> None:
    """Raises NotDone."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _serving(listener, port) as here:
        typer.echo(f"listening at {here}; stop with Ctrl-C", err=True)
        with _registered(listener, client, reached_by or here, events):
            await stopped.wait()


@asynccontextmanager
async def _serving(listener: Listener, port: int) -> AsyncIterator[str]:
    """Where. Raises NotDone."""
    from aiohttp import web

    app = web.Application(client_max_size=_LARGEST)
    app.router.add_route("POST", "/{path:.*}", listener.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    except OSError as taken:
        raise NotDone(
            f"Port {port} cannot be listened on ({taken.strerror}): choose another with --port"
        ) from None
    finally:
        await runner.cleanup()


@contextmanager
def _registered(
    listener: Listener, client: SagasClient | None, url: str, events: list[str] | None
) -> Iterator[None]:
    """An endpoint as long as it listens. Raises NotDone."""
    if client is None:
        yield
        return
    body = {"url": url, "description": "sagahook listen", **({"event_types": events} if events else {})}
    made = client.post("/api/v1/endpoints", body)
    listener.secrets.append(made["secret"])
    typer.echo(f"registered as {made['id']}", err=True)
    try:
        yield
    finally:
        client.delete(f"/api/v1/endpoints/{escaped(made['id'])}")
