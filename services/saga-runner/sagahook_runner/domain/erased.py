"""Sagas whose payload was erased: what they are is known, and what they were about is not."""

from __future__ import annotations

from sagahook_runner.domain.state import SagaState
from sagahook_schemas.erasable import ERASED

REASON = (
    "its data was erased: its steps have nothing to work on. Cancel it to undo what it did, as far as that can be done "
    "without the data, or leave it as it is"
)


def is_erased(state: SagaState) -> bool:
    return state.erasure_key is not None and state.context == ERASED


class WithoutKeys(Exception):
    """An operator must act: what is to be sealed here came from a process that has SAGAHOOK_ERASURE_KEY."""

    def __init__(self) -> None:
        super().__init__(
            "a saga's payload is sealed under a data key, and this runner has none: set SAGAHOOK_ERASURE_KEY here as "
            "it is set for ingest"
        )
