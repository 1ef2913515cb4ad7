"""`sagahook deliveries`: what became of outbound webhooks, and once more, over the API."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from sagahook.cli.endpoints_given import moment
from sagahook.cli.sagas import AsJson, Key, Url, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, SagasClient, escaped

app = typer.Typer(help="What became of outbound webhooks.", no_args_is_help=True)

DeliveryId = Annotated[
    str, typer.Argument(metavar="ID", help="The delivery's id: the receiver's webhook-id.")
]
OfEndpoint = Annotated[str | None, typer.Option("--endpoint", help="By its id.")]


@app.command("list")
def list_deliveries(
    endpoint: OfEndpoint = None,
    status: Annotated[
        Literal["pending", "succeeded", "exhausted", "cancelled"] | None,
        typer.Option(help="Of one endpoint's; of all endpoints' those that are exhausted are listed."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="A time, or how long ago: 90m, 6h, 2d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """An endpoint's deliveries, or the dead letters of all, newest first."""
    from rich.console import Console

    from sagahook.cli.endpoints_view import deliveries

    with one_line():
        after = None if since is None else moment(since, datetime.now(UTC)).isoformat()
        client = SagasClient(url, key)
        if endpoint is not None:
            found = client.get(
                "api", "v1", "endpoints", endpoint, "deliveries", status=status, since=after, limit=limit
            )
        elif status in (None, "exhausted"):
            found = client.get("api", "v1", "deliveries", since=after, limit=limit)
        else:
            raise NotDone(f"Say whose deliveries that are {status}: give --endpoint")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        Console().print(deliveries(found))


@app.command()
def show(delivery_id: DeliveryId, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """A delivery with its payload, and each attempt: what was sent and what was answered."""
    from rich.console import Console

    from sagahook.cli.endpoints_view import delivery

    with one_line():
        found = SagasClient(url, key).get("api", "v1", "deliveries", delivery_id)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        Console().print(delivery(found))


@app.command()
def resend(delivery_id: DeliveryId, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Sends it once more, under its id."""
    with one_line():
        SagasClient(url, key).post(f"/api/v1/deliveries/{escaped(delivery_id)}:resend", {})
    typer.echo(f"{delivery_id} is sent again; see `sagahook deliveries show {delivery_id}`")


@app.command()
def redrive(
    since: Annotated[str, typer.Option(help="A time (2026-03-01T12:00:00Z), or how long ago: 90m, 6h, 2d.")],
    endpoint: OfEndpoint = None,
    rate: Annotated[float | None, typer.Option(help="Deliveries a second to each endpoint.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Sends the dead letters again that were made since then."""
    with one_line():
        at = moment(since, datetime.now(UTC))
        asked = {"since": at.isoformat(), "endpoint_id": endpoint, "rate": rate}
        said = SagasClient(url, key).post("/api/v1/deliveries:redrive", asked)
    more = "; there are more: once these are sent, ask again" if said["more"] else ""
    typer.echo(f"{said['count']} deliveries are sent again{more}")
