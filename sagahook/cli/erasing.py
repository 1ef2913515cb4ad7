"""`sagahook erase`: delete the key that a subject's or a source's data is sealed under, over the API."""

from __future__ import annotations

from typing import Annotated

import typer

from sagahook.cli.sagas import Actor, Key, Url, by_whom, one_line
from sagahook.cli.sagas_client import DEFAULT_URL, SagasClient

Reason = Annotated[str, typer.Option(help="Why; it stands in the audit log.")]


def erase(
    source: Annotated[str, typer.Option(help="Whose webhooks it came in.")],
    subject: Annotated[
        str | None, typer.Option(help="Whose data; without it, all that the source sent.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    actor: Actor = None,
    reason: Reason = "",
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Erase for ever what was received of a subject, or of a source, in the log and in all views."""
    if not yes:
        what = f"the data of {subject} from {source}" if subject else f"all data from {source}"
        typer.confirm(f"Erase {what} for ever?", abort=True)
    with one_line():
        whose = {"source": source} | ({"subject": subject} if subject else {})
        erased = SagasClient(url, key).post("/api/v1/erasure", by_whom(actor, reason) | whose)["erased"]
    typer.echo(
        f"erased: {erased} data key{'' if erased == 1 else 's'}" if erased else "there was nothing of it"
    )


def rewrap(actor: Actor = None, reason: Reason = "", url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Seal all data keys under the first key of SAGAHOOK_ERASURE_KEY, so that the others can be taken out of it."""
    with one_line():
        done = SagasClient(url, key).post("/api/v1/erasure/keys:rewrap", by_whom(actor, reason))["rewrapped"]
    typer.echo(f"sealed anew: {done}")
