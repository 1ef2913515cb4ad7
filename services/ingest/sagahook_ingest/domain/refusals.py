"""Why a webhook is not accepted. Nothing of a refused request is written."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """The sender must act: the same request will be refused again. `error` says what to change.

    headers: what the answer says besides.
    """

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers or {}


class Replayed(Refusal):
    """GitHub's endpoint only: the log holds this delivery already. correlation_id: that of the first."""

    def __init__(self, delivery_id: str, event_id: str, correlation_id: str) -> None:
        super().__init__(
            409,
            f"The delivery {delivery_id!r} was received before, as the event {event_id}: it is not taken again. To "
            "run what it led to once more, reprocess that event",
        )
        self.correlation_id = correlation_id


class Unavailable(Exception):
    """The sender must try again after `retry_after` seconds; nothing is wrong with the request."""

    def __init__(self, error: str, *, retry_after: int) -> None:
        super().__init__(error)
        self.error = error
        self.retry_after = retry_after
