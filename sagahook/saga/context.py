"""What an action is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import Phase


@dataclass(frozen=True, slots=True)
class StepContext:
    """One attempt of one step.

    saga_id, run: which saga, and which run of it (from 1).
    attempt: counts from 1. idempotency_key: the same for every attempt of this run's step; hand it to the
    other system, so that a repeated attempt is applied once.
    action_key: the key of the step's action; a compensation hands it over too, so that the other system
    refuses the action should it arrive after its undoing.
    context: what the trigger made of the webhook. results: the results of the steps that completed, by name.
    """

    saga: str
    saga_id: str
    run: int
    step: str
    phase: Phase
    attempt: int
    correlation_id: str
    idempotency_key: str
    action_key: str
    context: Mapping[str, JsonValue]
    results: Mapping[str, JsonValue]
