"""Why a webhook is not accepted. Nothing of a refused request is written."""

from __future__ import annotations


class Refusal(Exception):
    """The sender must act: the same request will be refused again. `error` says what to change."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


class Unavailable(Exception):
    """The sender must try again after `retry_after` seconds; nothing is wrong with the request."""

    def __init__(self, error: str, *, retry_after: int) -> None:
        super().__init__(error)
        self.error = error
        self.retry_after = retry_after
