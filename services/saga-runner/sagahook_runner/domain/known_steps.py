"""What the deployed definition says of a step that a saga knows, and what there is to say where it says nothing."""

from __future__ import annotations

from datetime import timedelta

from sagahook_runner.domain.state import SagaState, item_of
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition
from sagahook_schemas.identity import Phase
from sagahook_schemas.sagas import SagaSuspended

_FOR_EVER = timedelta(days=36_500)
"""How long a child may take to undo itself."""


def terms(step: StepDefinition, phase: Phase) -> tuple[float, Retry]:
    """Seconds for each attempt, and the retries."""
    if phase != "compensation":
        return step.timeout, step.retry
    if step.compensation is not None:
        return step.compensation.timeout, step.compensation.retry
    return _FOR_EVER.total_seconds(), Retry()


def known_step(definition: SagaDefinition | None, state: SagaState, name: str) -> StepDefinition | None:
    by_name = definition.by_name if definition is not None else {}
    found = by_name.get(name)
    if found is None:
        base = item_of(name)[0]
        found = by_name.get(base)
        if found is None and base in state.declared:
            return StepDefinition.model_validate(state.declared[base])
    return found


def not_deployed(state: SagaState) -> SagaSuspended:
    run = f"this run of {state.name} version {state.version}"
    return SagaSuspended(
        reason=f"the steps that {run} needs are not deployed: deploy them", cause="definition"
    )
