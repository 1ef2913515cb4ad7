"""`sagahook endpoints`: who is told by outbound webhooks, over the API."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from sagahook.cli.endpoints_given import body_of, cleared, moment
from sagahook.cli.sagas import AsJson, Key, Url, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, NotDone, SagasClient, escaped

app = typer.Typer(help="Who is told by outbound webhooks.", no_args_is_help=True)

_PATH = "/api/v1/endpoints"
_TEST_SECONDS = 30.0
_POLL_SECONDS = 0.2

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")]
Events = Annotated[
    list[str] | None, typer.Option("--event", help="task_completed, saga.*, …; several may be given.")
]
OfSources = Annotated[list[str] | None, typer.Option("--source", help="Only of these sources.")]
OfSagas = Annotated[list[str] | None, typer.Option("--saga", help="Only of sagas of these names.")]
Expression = Annotated[
    str | None,
    typer.Option("--filter", help="""Such as 'attributes.repository == "a/b" and progress >= 0.5'."""),
]
Format = Annotated[
    Literal["standard", "task", "cloudevents"] | None, typer.Option(help="How the body is written.")
]
Policy = Annotated[
    str | None, typer.Option(help="standard, task, exponential, or seconds between attempts: 1,10,60.")
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="NAME:VALUE", help="VALUE may be env:NAME or file:/path, as secrets should."
    ),
]
RateLimit = Annotated[str | None, typer.Option(help="Such as 10/s, or none.")]
Ordered = Annotated[bool | None, typer.Option("--ordered/--unordered", help="One after the other, in order.")]
Description = Annotated[str | None, typer.Option(help="For people.")]
Secret = Annotated[
    str | None, typer.Option(help="Where the secret is: env:NAME or file:/path. By default one is made.")
]
Signature = Annotated[
    Literal["v1", "v1a"] | None, typer.Option(help="Of the secret that is made: HMAC or ed25519.")
]


@app.command("list")
def list_endpoints(as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Every endpoint that the API or the configuration made."""
    from rich.console import Console

    from sagahook.cli.endpoints_view import listed

    with one_line():
        found = SagasClient(url, key).get("api", "v1", "endpoints", limit=1_000)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        Console().print(listed(found))


@app.command()
def show(endpoint_id: EndpointId, as_json: AsJson = False, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """An endpoint, and how its deliveries of the last 24 hours went."""
    from rich.console import Console

    from sagahook.cli.endpoints_view import shown

    with one_line():
        client = SagasClient(url, key)
        found = client.get("api", "v1", "endpoints", endpoint_id)
        statistics = client.get("api", "v1", "endpoints", endpoint_id, "stats")
    if as_json:
        typer.echo(json.dumps({**found, "stats": statistics}, indent=2))
    else:
        Console().print(shown(found, statistics))


@app.command()
def add(
    to: Annotated[str, typer.Argument(metavar="URL", help="Where webhooks are sent.")],
    id: Annotated[str | None, typer.Option(help="By default one is made.")] = None,
    event: Events = None,
    source: OfSources = None,
    saga: OfSagas = None,
    filter: Expression = None,
    format: Format = None,
    retry_policy: Policy = None,
    header: Headers = None,
    rate_limit: RateLimit = None,
    ordered: Ordered = None,
    description: Description = None,
    secret: Secret = None,
    signature: Signature = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """A new endpoint. Its secret is shown this once."""
    with one_line():
        body = body_of(
            id=id,
            url=to,
            event_types=event,
            sources=source,
            sagas=saga,
            filter=filter,
            payload_format=format,
            retry_policy=retry_policy,
            headers=header,
            rate_limit=rate_limit,
            ordered=ordered,
            description=description,
            secret=secret,
            signature=signature,
        )
        made = SagasClient(url, key).post(_PATH, body)
    typer.echo(f"added {made['id']}")
    _tell_secret(made, told=secret is None)


@app.command()
def edit(
    endpoint_id: EndpointId,
    to: Annotated[str | None, typer.Option("--to", metavar="URL", help="Where webhooks are sent.")] = None,
    event: Events = None,
    source: OfSources = None,
    saga: OfSagas = None,
    filter: Expression = None,
    format: Format = None,
    retry_policy: Policy = None,
    header: Headers = None,
    rate_limit: RateLimit = None,
    ordered: Ordered = None,
    description: Description = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it is sent anything.")
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(help="sources, sagas: all again; filter, headers: none. Several may be given."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Changes what is given, and leaves the rest."""
    with one_line():
        body = body_of(
            url=to,
            event_types=event,
            sources=source,
            sagas=saga,
            filter=filter,
            payload_format=format,
            retry_policy=retry_policy,
            headers=header,
            rate_limit=rate_limit,
            ordered=ordered,
            description=description,
            enabled=enabled,
        )
        body |= cleared(clear or [])
        if not body:
            raise NotDone("Say what is to change: see `sagahook endpoints edit --help`")
        SagasClient(url, key).patch(f"{_PATH}/{escaped(endpoint_id)}", body)
    typer.echo(f"changed {endpoint_id}")


@app.command()
def remove(
    endpoint_id: EndpointId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Sends it nothing more, and forgets its secrets."""
    if not yes and not typer.confirm(f"remove {endpoint_id}, and call off what waits to be sent to it?"):
        typer.echo("Nothing was done")
        raise typer.Exit(1)
    with one_line():
        SagasClient(url, key).delete(f"{_PATH}/{escaped(endpoint_id)}")
    typer.echo(f"removed {endpoint_id}")


@app.command()
def rotate(
    endpoint_id: EndpointId,
    overlap: Annotated[
        float, typer.Option(min=0, max=720, help="Hours that the secrets before it go on signing.")
    ] = 24,
    secret: Secret = None,
    signature: Signature = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """A new secret, shown this once, beside the old one for a while."""
    with one_line():
        body = body_of(secret=secret, signature=signature, overlap=overlap * 3_600)
        after = SagasClient(url, key).post(f"{_PATH}/{escaped(endpoint_id)}:rotate-secret", body)
    typer.echo(f"rotated the secret of {endpoint_id}")
    _tell_secret(after, told=secret is None)
    for old in after["secrets"][1:]:
        typer.echo(f"a secret of {old['created_at']} signs beside it until {old['expires_at']}")


@app.command("test")
def send_test(endpoint_id: EndpointId, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Sends it `endpoint.test`, and says what came of it. Exit code 1 where it was not received."""
    with one_line():
        client = SagasClient(url, key)
        delivery_id = client.post(f"{_PATH}/{escaped(endpoint_id)}:test", {})["delivery_id"]
        attempt = _first_attempt(client, delivery_id)
    typer.echo(
        f"{attempt['error'] or attempt['status_code']} after {attempt['duration_ms']:.0f} ms ({delivery_id})"
    )
    if attempt["error"]:
        raise typer.Exit(1)


@app.command()
def enable(endpoint_id: EndpointId, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Also after it was switched off because it failed: what waits for it is sent then."""
    with one_line():
        SagasClient(url, key).post(f"{_PATH}/{escaped(endpoint_id)}:enable", {})
    typer.echo(f"enabled {endpoint_id}")


@app.command()
def recover(
    endpoint_id: EndpointId,
    since: Annotated[str, typer.Option(help="A time (2026-03-01T12:00:00Z), or how long ago: 90m, 6h, 2d.")],
    rate: Annotated[float | None, typer.Option(help="Deliveries a second.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Sends again what failed for good since then."""
    with one_line():
        at = moment(since, datetime.now(UTC))
        body = {"since": at.isoformat()} | ({} if rate is None else {"rate": rate})
        said = SagasClient(url, key).post(f"{_PATH}/{escaped(endpoint_id)}:recover", body)
    more = "; there are more: once these are sent, ask again" if said["more"] else ""
    typer.echo(f"{said['count']} deliveries are sent again{more}")


def _first_attempt(client: SagasClient, delivery_id: str) -> Any:
    """Raises NotDone."""
    until = time.monotonic() + _TEST_SECONDS
    while time.monotonic() < until:
        attempts = client.get("api", "v1", "deliveries", delivery_id)["attempts"]
        if attempts:
            return attempts[0]
        time.sleep(_POLL_SECONDS)
    raise NotDone(
        f"Nothing was sent within {timedelta(seconds=_TEST_SECONDS)}: does `sagahook-notifier run` run? "
        f"See `sagahook deliveries show {delivery_id}`"
    )


def _tell_secret(endpoint: Any, *, told: bool) -> None:
    """told: it was made there, and nobody has it yet."""
    if told:
        typer.echo(f"secret, shown this once: {endpoint['secret']}")
    if endpoint["secrets"][0]["public_key"]:
        typer.echo(f"public key, for the receiver: {endpoint['secrets'][0]['public_key']}")
