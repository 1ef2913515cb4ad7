"""Which examples there are. Each lies in `examples/NAME`, in a package of its own, imported when it is played."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from sagahook.embedded.errors import StackError

if TYPE_CHECKING:
    from sagahook.embedded.example import Example


@dataclass(frozen=True)
class Entry:
    """name: its folder below examples/. module: has its `EXAMPLE`. extra: what it needs of sagahook's extras, beside
    `embedded`."""

    name: str
    module: str
    summary: str
    extra: str | None = None

    def load(self) -> Example:
        """Raises StackError where something that it imports is not installed."""
        try:
            example: Example = import_module(self.module).EXAMPLE
        except ModuleNotFoundError as missing:
            extras = ",".join(["embedded", *([self.extra] if self.extra else [])])
            raise StackError(
                f"The example {self.name} needs the module {missing.name}, which is not installed: "
                f"pip install 'sagahook[{extras}]', or run it from a clone of the repository"
            ) from missing
        return example


CATALOGUE = (
    Entry(
        "orders", "sagahook_orders.example", "Reserve, charge, ship; what fails is undone. A runner is killed"
    ),
    Entry("approvals", "sagahook_approvals.example", "Wait for a person's yes, for so long and no longer"),
    Entry(
        "travel", "sagahook_travel.example", "A graph, a sub-saga, a pivot: undone before it, forward past it"
    ),
    Entry(
        "document_ingestion",
        "sagahook_document_ingestion.example",
        "Upload a file; its sender's URL is told how far it is",
    ),
    Entry(
        "github_orchestrator",
        "sagahook_github_orchestrator.example",
        "A GitHub App: analyse pull requests, give failed checks to an agent",
    ),
    Entry(
        "wiki_generation",
        "sagahook_wiki_generation.example",
        "All files and their snapshot or nothing, with and without Kafka",
    ),
    Entry(
        "integrations/flask_app",
        "sagahook_flask_app.example",
        "Flask under gunicorn, an ingest itself: orders, and a diagram of each",
        extra="examples",
    ),
    Entry(
        "integrations/fastapi_app",
        "sagahook_fastapi_app.example",
        "FastAPI, an ingest itself: orders placed at once, and watched",
    ),
    Entry(
        "integrations/django_app",
        "sagahook_django_app.example",
        "Django under gunicorn: webhooks are handed on to ingest",
        extra="examples",
    ),
)


def entry(name: str) -> Entry:
    """The example of that name; `flask_app` is `integrations/flask_app` too.

    Raises StackError, with the name that was probably meant.
    """
    wanted = name.strip("/").removeprefix("examples/").replace("-", "_")
    for each in CATALOGUE:
        if wanted in (each.name, each.name.rpartition("/")[2]):
            return each
    names = {short: each.name for each in CATALOGUE for short in (each.name, each.name.rpartition("/")[2])}
    near = difflib.get_close_matches(wanted, names, n=1)
    meant = (
        f"Did you mean {names[near[0]]}?" if near else f"There are: {', '.join(e.name for e in CATALOGUE)}."
    )
    raise StackError(f"There is no example {name!r}. {meant} (`sagahook examples list` says what each shows)")
