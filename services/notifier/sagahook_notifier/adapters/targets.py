"""What is known of the endpoints that are sent to: read and unsealed once for each version of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from sagahook_notifier.adapters.vault import Unreadable, Vault
from sagahook_notifier.domain.credentials import Credentials
from sagahook_notifier.domain.deliveries import Target
from sagahook_notifier.domain.policies import RetryPolicy

queries: Any = aiosql.from_path(Path(__file__).with_name("targets.sql"), "asyncpg")

_MOST = 10_000


class Targets:
    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[str, tuple[str, Target]] = {}
        """By endpoint: the version of its row, and what is made of it."""

    async def of(self, connection: asyncpg.Connection, versions: Mapping[str, str]) -> dict[str, Target]:
        """By endpoint. versions: those that are wanted, by endpoint. Raises what asyncpg does."""
        unknown = [
            endpoint
            for endpoint, version in versions.items()
            if self._known.get(endpoint, ("",))[0] != version
        ]
        if unknown:
            if len(self._known) + len(unknown) > _MOST:
                self._known = {
                    endpoint: known for endpoint, known in self._known.items() if endpoint in versions
                }
            async for row in queries.load_targets(connection, endpoints=unknown):
                self._known[row["id"]] = row["version"], self._made_of(row)
        return {endpoint: self._known[endpoint][1] for endpoint in versions}

    def _made_of(self, row: Mapping[str, Any]) -> Target:
        credentials, unsigned = Credentials(), None
        if row["sealed"] is not None:
            try:
                credentials = self._vault.open(row["id"], row["sealed"])
            except Unreadable as unreadable:
                unsigned = str(unreadable)
        return Target(
            endpoint_id=row["id"],
            url=row["url"],
            credentials=credentials,
            signing_source=row["signing_source"],
            unsigned=unsigned,
            policy=RetryPolicy.of(row["retry_policy"]),
            ordered=row["ordered"],
        )
