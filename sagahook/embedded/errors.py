"""What can go wrong on one machine, said to the person in front of it."""


class StackError(Exception):
    """The stack cannot start or go on. The message says what happened, to what, and what to do next."""
