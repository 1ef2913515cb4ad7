"""The paths that take webhooks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sagahook_ingest.domain import github
from sagahook_ingest.endpoints import Begin, Endpoint, batch, begin_github, begin_one, from_github, one

PREFIX = "/webhooks/"
GITHUB = "/api/v1/webhooks/github"
_BATCH = "/batch"
_SENT = ("POST",)
_ASKED = ("OPTIONS", "POST")


class Route(NamedTuple):
    """pattern: the path, as traces have it. methods: which there are. begin: how the endpoint begins, where it takes
    one webhook."""

    source: str
    pattern: str
    endpoint: Endpoint
    methods: tuple[str, ...]
    begin: Begin | None = None

    @property
    def is_batch(self) -> bool:
        return self.endpoint is batch

    @property
    def is_github(self) -> bool:
        return self.endpoint is from_github


def of_source(name: str) -> Route:
    """One webhook of that source."""
    return Route(name, "/webhooks/{source}", one, _ASKED, begin_one)


@lru_cache(maxsize=1_024)
def route_of(path: str) -> Route | None:
    """None for what is no webhook's path."""
    if path.startswith(PREFIX):
        name = path[len(PREFIX) :]
        if "/" not in name:
            return of_source(name) if name else None
        name = name.removesuffix(_BATCH)
        return (
            Route(name, "/webhooks/{source}/batch", batch, _SENT)
            if name and "/" not in name and path.endswith(_BATCH)
            else None
        )
    if path == GITHUB:
        return Route(github.SOURCE, GITHUB, from_github, _SENT, begin_github)
    return None
