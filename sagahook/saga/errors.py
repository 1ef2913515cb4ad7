"""What can be wrong with a saga, and what a step says when trying again is pointless, or only later of use."""

from __future__ import annotations

from datetime import timedelta


class DefinitionError(Exception):
    """The author must act: the saga class cannot work as written. Raised when the class is made.

    problems: each of them in a line: what, where, how to mend it.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PermanentError(Exception):
    """Raised by an action: no retry can succeed, compensate now. Its message is shown to people."""


class UnknownOutcomeError(Exception):
    """Raised by an action that does not know whether it was applied. It is tried again under the same
    idempotency key; if the step fails for good it is compensated too. Time-outs and broken connections
    (OSError, aiohttp's) count as this by themselves; of any other error the engine believes that nothing was
    applied."""


class RetryLater(Exception):
    """Raised by an action that knows when trying again may succeed. It counts as a failed attempt like any
    other, but the next one waits at least so long. retry_after: seconds, or a timedelta. (Any exception with
    a number of that name does the same.)"""

    def __init__(self, message: str, retry_after: float | timedelta) -> None:
        super().__init__(message)
        self.retry_after = (
            retry_after.total_seconds() if isinstance(retry_after, timedelta) else float(retry_after)
        )
