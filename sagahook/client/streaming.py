"""Server-sent events (HTML, §9.2.6), as far as the stream has them: ids, data, and how soon to come again."""

from __future__ import annotations

from collections.abc import Iterator

from sagahook.client.calls import Call
from sagahook.client.models import RecentEntry

_RETRY = 1.0


class EventReader:
    """Of one stream, over all its connections. after: where to begin; None: from now on."""

    def __init__(self, after: str | None, **wanted: str | None) -> None:
        self.last_id = after
        self.retry = _RETRY
        """Seconds until the next connection after one that ended."""
        self._wanted = wanted
        self._rest = b""
        self._id = after
        self._data: list[bytes] = []

    def call(self) -> Call[str]:
        """For the next connection: from where the last one ended."""
        self._rest, self._id, self._data = b"", self.last_id, []
        headers = {"Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        return Call("GET", "/api/v1/stream", answer=str, query=self._wanted, headers=headers)

    def feed(self, chunk: bytes) -> Iterator[RecentEntry]:
        """The events that are complete with it. `last_id` moves with each that is taken."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in (each.rstrip(b"\r") for each in lines):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"id":
                self._id = value.decode()
            elif name == b"retry" and value.isdigit():
                self.retry = int(value) / 1000
            elif not line:
                data, self._data = b"\n".join(self._data), []
                if data:
                    yield RecentEntry.model_validate_json(data)
                self.last_id = self._id
