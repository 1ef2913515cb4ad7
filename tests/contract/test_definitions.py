"""Definitions: retry policies return the delay that they promise, and nothing is written that cannot be read."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sagahook_schemas.codec import decode_data
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition, TriggerDefinition

MIDDLE = 0.5
"""The roll of the dice that moves a delay not at all."""

ORDER = SagaDefinition(
    name="order",
    version=1,
    triggers=(TriggerDefinition(source="order_created", idempotency_key="order_id"),),
    steps=(StepDefinition(name="charge", timeout=30, retry=Retry()),),
)

POLICIES = st.builds(
    Retry,
    max=st.integers(0, 10_000),
    initial=st.floats(0, 1e9),
    factor=st.floats(1, 1e9),
    cap=st.floats(1e-3, 365 * 86_400),
    jitter=st.floats(0, 1),
)
DICE = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Retry(max=4), [1, 2, 4, 8, None]),
        (Retry(max=0), [None, None]),
        (Retry(max=3, initial=5, factor=1), [5, 5, 5, None]),
        (Retry(max=4, initial=100, cap=300), [100, 200, 300, 300, None]),
        (Retry(max=2, initial=900, cap=300), [300, 300, None]),
        (Retry(max=2, initial=0), [0, 0, None]),
    ],
)
def test_a_retry_waits_longer_each_time_up_to_its_cap_and_then_never_again(
    policy: Retry, seconds: list[float | None]
) -> None:
    delays = [policy.delay(failures, MIDDLE) for failures in range(1, len(seconds) + 1)]

    assert delays == [None if number is None else timedelta(seconds=number) for number in seconds]


@pytest.mark.parametrize(("dice", "seconds"), [(0.0, 8.0), (0.25, 9.0), (0.5, 10.0), (0.75, 11.0)])
def test_jitter_moves_a_delay_by_up_to_its_share_either_way(dice: float, seconds: float) -> None:
    assert Retry(initial=10, jitter=0.2).delay(1, dice) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("policy", "failures", "seconds"),
    [
        (Retry(max=10_000, factor=1.01, cap=300), 500, 1.01**499),
        (Retry(max=10_000, factor=1.01, cap=300), 5_000, 300),
        (Retry(max=10_000, factor=10, cap=300), 10_000, 300),
        (Retry(max=10_000, initial=0, factor=10), 10_000, 0),
    ],
)
def test_a_delay_after_very_many_failures_is_still_that_of_the_formula(
    policy: Retry, failures: int, seconds: float
) -> None:
    delay = policy.delay(failures, MIDDLE)

    assert delay is not None
    assert math.isclose(delay.total_seconds(), seconds, abs_tol=1e-6)


@given(POLICIES, st.integers(1, 20_000), DICE)
def test_a_delay_is_within_the_cap_and_the_jitter_and_stops_after_the_last_retry(
    policy: Retry, failures: int, dice: float
) -> None:
    delay = policy.delay(failures, dice)

    assert (delay is None) is (failures > policy.max)
    if delay is not None:
        assert timedelta(0) <= delay <= timedelta(seconds=policy.cap * (1 + policy.jitter))


@given(POLICIES, st.integers(1, 100))
def test_without_luck_a_delay_never_shrinks(policy: Retry, failures: int) -> None:
    sooner, later = policy.delay(failures, MIDDLE), policy.delay(failures + 1, MIDDLE)

    assert sooner is None or later is None or sooner <= later


@pytest.mark.parametrize(
    "unwritable",
    [
        {"cap": math.inf},
        {"cap": math.nan},
        {"initial": math.inf},
        {"factor": math.inf},
        {"cap": 1e9},
        {"max": -1},
    ],
)
def test_a_policy_that_could_not_be_written_or_kept_is_refused(unwritable: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Retry(**unwritable)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan, 1e9])
def test_a_time_out_that_no_clock_reaches_is_refused(timeout: float) -> None:
    with pytest.raises(ValidationError):
        StepDefinition(name="charge", timeout=timeout, retry=Retry())


@pytest.mark.parametrize("source", ["", "a/b", "a b", "a\x1fb", "ä", "a\n", "x" * 65])
def test_a_source_that_cannot_stand_in_a_url_is_refused(source: str) -> None:
    with pytest.raises(ValidationError):
        TriggerDefinition(source=source)


@given(POLICIES)
def test_a_definition_is_read_as_it_was_written(policy: Retry) -> None:
    written = ORDER.model_copy(update={"steps": (StepDefinition(name="charge", timeout=30, retry=policy),)})

    assert decode_data(written.ce_type, written.to_json()) == written


def test_a_definitions_hash_is_pinned_and_the_same_whenever_it_is_deployed() -> None:
    deployed = ORDER.model_copy(update={"deployed_at": datetime(2026, 1, 5, tzinfo=UTC)})

    assert ORDER.hash == "43a3b77f7748e095"
    assert decode_data(deployed.ce_type, deployed.to_json()) == deployed
    assert SagaDefinition.model_validate_json(deployed.to_json()).hash == ORDER.hash


def test_a_definitions_hash_changes_with_any_of_its_parts() -> None:
    step = ORDER.steps[0]
    others: list[dict[str, Any]] = [
        {"name": "orders"},
        {"version": 2},
        {"triggers": ()},
        {"steps": (step.model_copy(update={"timeout": 31.0}),)},
        {"steps": (step.model_copy(update={"retry": Retry(max=4)}),)},
    ]
    hashes = {SagaDefinition(**(dict(ORDER) | changed)).hash for changed in others}

    assert len(hashes - {ORDER.hash}) == len(others)


def test_a_trigger_wants_its_source_and_its_event_or_any_event() -> None:
    any_event = TriggerDefinition(source="stripe")
    one_event = TriggerDefinition(source="stripe", event="charge.succeeded")

    assert any_event.wants("stripe", "")
    assert any_event.wants("stripe", "charge.failed")
    assert one_event.wants("stripe", "charge.succeeded")
    assert not one_event.wants("stripe", "charge.failed")
    assert not one_event.wants("github", "charge.succeeded")
