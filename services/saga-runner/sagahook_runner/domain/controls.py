"""What operators paused: whatever starts meanwhile is held, and let go when the pause ends."""

from __future__ import annotations

from collections.abc import Callable

from sagahook_runner.domain.commands import LetGo
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.definitions import ControlSet, control_key


class Controls:
    """The view that one process has of the pauses in `saga.definitions`; its partition owners share it.

    version: another one whenever the view has changed.
    """

    def __init__(self) -> None:
        self.version = 0
        self._newest: dict[str, ControlSet] = {}
        self._watchers: set[Callable[[], None]] = set()

    def set(self, control: ControlSet) -> None:
        self._newest[control.key] = control
        self._changed()

    def forget(self, key: str) -> None:
        """A tombstone for the control with that record key: it is not paused."""
        if self._newest.pop(key, None) is not None:
            self._changed()

    def holds(self, name: str, source: str) -> bool:
        """Whether a saga of that name, asked for by a webhook of that source, has to wait."""
        return any(control.paused for control in self._about(name, source))

    def ended_by(self, name: str, source: str) -> LetGo:
        """In whose words such a saga is let go: those of the operator who acted last."""
        about = self._about(name, source)
        if not about:
            return LetGo("sagahook", "")
        last = max(about, key=lambda control: control.at)
        return LetGo(last.actor, last.reason)

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.add(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        self._watchers.discard(changed)

    def _about(self, name: str, source: str) -> list[ControlSet]:
        if not self._newest:
            return []
        keys = (control_key("definition", name), control_key("source", source))
        return [self._newest[key] for key in keys if key in self._newest]

    def _changed(self) -> None:
        self.version += 1
        for changed in self._watchers:
            changed()


class Held:
    """The sagas of one partition that are held."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._last = 0

    @property
    def next_place(self) -> int:
        """Behind all that were held here, as far as this process remembers, and all that are."""
        return self._last + 1

    def keep(self, state: SagaState) -> None:
        if state.held is not None:
            self._places[state.saga_id] = state.held
            self._last = max(self._last, state.held)
        elif self._places:
            self._places.pop(state.saga_id, None)

    def in_order(self) -> list[str]:
        """Their ids, in the order of their start."""
        return sorted(self._places, key=self._places.__getitem__)
