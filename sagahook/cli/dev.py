"""`sagahook dev`: the stack on this machine."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from sagahook.embedded.stack import Stack

Result = TypeVar("Result")

app = typer.Typer(help="Kafka, PostgreSQL and all services on this machine.", invoke_without_command=True)

EXAMPLE = "sagahook_orders.app"
EXAMPLE_BODY = '{"order_id": "A1", "user_id": "u1", "amount": 42, "items": ["pen"]}'
EXAMPLE_HINT = """
The example's steps call a shop on port 8090. Start it in another terminal: python -m sagahook_orders.shop
"""
BODY_HINT = """
That body is as little as the trigger asks for. One that your saga can use, in dev/{source}.json, is shown in its place.
"""

Data = Annotated[
    Path | None, typer.Option("--data", help="Keep the data in this directory between runs.", file_okay=False)
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout; everything else on stderr.")]


@app.callback()
def dev(
    context: typer.Context,
    *,
    module: Annotated[
        str,
        typer.Option("--app", help="The module with the sagas, or a path to a .py file.", metavar="MODULE"),
    ] = EXAMPLE,
    data: Data = None,
    port: Annotated[
        int | None, typer.Option(help="Of the HTTP API. (default: 8080, or a free one if that is taken)")
    ] = None,
    runners: Annotated[int, typer.Option(min=1, help="How many saga-runner processes.")] = 1,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="Of each topic; fixed when --data is made. (default: one for each runner)"),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(help="A setting for the services; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart the services when the app changes.")
    ] = False,
    headless: Annotated[bool, typer.Option("--headless", help="Do not show the services' logs.")] = False,
    as_json: Json = False,
) -> None:
    """Start the stack, and run it until Ctrl-C or SIGTERM."""
    if context.invoked_subcommand:
        return
    from sagahook.cli.example_curl import check_sources
    from sagahook.embedded.errors import StackError
    from sagahook.embedded.stack import Stack, StackOptions

    # Its client complains of every attempt while a broker starts; what fails in the end is an error of ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    options = StackOptions(
        app=module,
        data=data,
        port=port,
        runners=runners,
        partitions=partitions,
        env=dict(_setting(text) for text in env or []),
        reload=reload,
    )
    if problems := check_sources({**os.environ, **options.env}):
        raise StackError("; ".join(problems))
    asyncio.run(serve(Stack(options, say=_say), headless=headless, as_json=as_json))


@app.command()
def pids(
    data: Data = None,
    pid: Annotated[int | None, typer.Option(help="Of the `sagahook dev` process.")] = None,
    as_json: Json = False,
) -> None:
    """What runs now: the addresses, keys and process ids of a running stack."""
    from sagahook.embedded.registry import find_stack

    description = find_stack(data, pid)
    if as_json:
        typer.echo(json.dumps(description))
    else:
        for kind, numbers in description["pids"].items():
            typer.echo(f"{kind:<12} {' '.join(map(str, numbers)) or '(between two lives)'}")


def _setting(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--env")
    return key, value


async def serve(stack: "Stack", *, headless: bool, as_json: bool) -> None:
    """Starts the stack, says so on stdout, and runs it until a signal. Raises StackError when it cannot."""
    stopping = _stop_on_signal()
    try:
        ready = await _unless(stopping, stack.start())
        if ready:
            typer.echo(json.dumps(ready) if as_json else _welcome(ready, stack))
            await (stopping.wait() if headless else _unless(stopping, _show_logs(stack)))
        if stopping.is_set():
            _say("stopping; a second Ctrl-C does not wait")
    finally:
        await stack.stop()


def _stop_on_signal() -> asyncio.Event:
    """Set by the first Ctrl-C, SIGTERM or SIGHUP. The second ends this process, and the kernel its children."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(130)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


async def _unless(stopping: asyncio.Event, work: Awaitable[Result]) -> Result | None:
    """What the work returns or raises; None, and the work is cancelled, once `stopping` is set."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def _show_logs(stack: "Stack") -> None:
    from sagahook.embedded.logtail import follow

    logs = {name: log for name, log in stack.logs.items() if name not in ("kafka", "postgres")}
    await follow(logs, lambda line: typer.echo(line, err=True), colour=sys.stderr.isatty())


def _welcome(ready: dict[str, Any], stack: "Stack") -> str:
    from sagahook.cli.example_curl import example_body, example_curl, shipped_body

    api, keys = ready["api"], ready["keys"]
    is_example = stack.options.app == EXAMPLE
    shipped = shipped_body(Path("dev"), stack.app.source)
    body = EXAMPLE_BODY if is_example else shipped or example_body(stack.app)
    environment = {**os.environ, **stack.options.env}
    hint = EXAMPLE_HINT if is_example and "SHOP_URL" not in environment else ""
    if not (is_example or shipped):
        hint = BODY_HINT.format(source=stack.app.source or "SOURCE")
    return f"""
sagahook is ready at {api}

{example_curl(api, stack.app.source or "SOURCE", body, environment)}

  API keys    reader    {keys["reader"]}
              operator  {keys["operator"]}
              admin     {keys["admin"]}
  Kafka       {ready["kafka"]}
  PostgreSQL  {ready["postgres"]}
  Logs        {stack.data / "logs"}
  Stop        Ctrl-C
{hint}"""


def _say(line: str) -> None:
    typer.echo(f"sagahook: {line}", err=True)
