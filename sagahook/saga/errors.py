"""What can be wrong with a saga, and what a step says when trying again is pointless."""


class DefinitionError(Exception):
    """The author must act: the saga class cannot work as written. Raised when the class is made."""


class PermanentError(Exception):
    """Raised by an action: no retry can succeed, compensate now. Its message is shown to people."""


class UnknownOutcomeError(Exception):
    """Raised by an action that does not know whether it was applied. It is tried again under the same idempotency
    key; if the step fails for good it is compensated too. Time-outs and broken connections (OSError, aiohttp's)
    count as this by themselves; of any other error the engine believes that nothing was applied."""
