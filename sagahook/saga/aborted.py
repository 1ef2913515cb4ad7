"""What whoever runs a saga in-process is told where it did not come to its end."""

from __future__ import annotations

from collections.abc import Mapping


class SagaAborted(Exception):
    """The saga did not come to its end. Its cause is the error of the action that failed, where there was
    one.

    step: the one that failed, "" where the function itself raised, or was called off. error: `Type: message`.
    unresolved: steps whose effects are left behind, because undoing them failed: somebody must see to them.
    """

    def __init__(
        self, saga_id: str, step: str, error: str, unresolved: Mapping[str, str] | None = None
    ) -> None:
        left = f"; could not be undone: {', '.join(unresolved)}" if unresolved else ""
        where = f" at the step {step!r}" if step else ""
        super().__init__(f"the saga {saga_id} was aborted{where}: {error}{left}")
        self.saga_id = saga_id
        self.step = step
        self.error = error
        self.unresolved = dict(unresolved or {})
