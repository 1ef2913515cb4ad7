"""How many runs ended how, told by the names of their events alone: a check that shares no code with the views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

_ENDS = {
    b"sagahook.saga.completed.v1": "COMPLETED",
    b"sagahook.saga.rolled_back.v1": "ROLLED_BACK",
    b"sagahook.saga.failed.v1": "FAILED",
}
_GO_ON = frozenset(
    {b"sagahook.saga.compensating.v1", b"sagahook.step.scheduled.v1", b"sagahook.saga.suspended.v1"}
)


class States:
    """Takes the headers of every record of `saga.events`, in the log's order."""

    def __init__(self) -> None:
        self._ends: dict[tuple[bytes, bytes], str] = {}
        self._heard: dict[tuple[bytes, bytes], bytes] = {}

    def add(self, headers: Mapping[str, bytes]) -> None:
        if "ce_sagaid" not in headers or "ce_sagarun" not in headers:
            return
        run, kind = (headers["ce_sagaid"], headers["ce_sagarun"]), headers.get("ce_type", b"")
        self._heard[run] = headers.get("ce_time", b"")
        if kind in _ENDS:
            self._ends[run] = _ENDS[kind]
        elif kind in _GO_ON:
            self._ends.pop(run, None)

    def final(self, since: datetime) -> Counter[str]:
        """Of the runs of which anything was heard since then."""
        return Counter(
            state
            for run, state in self._ends.items()
            if datetime.fromisoformat(self._heard[run].decode()) >= since
        )
