"""What can be wrong with a saga, and what a step says when trying again is pointless."""


class DefinitionError(Exception):
    """The author must act: the saga class cannot work as written. Raised when the class is made."""


class PermanentError(Exception):
    """Raised by an action: no retry can succeed, compensate now. Its message is shown to people."""
