"""Steps that other systems do: how they are declared, asked for and answered, and that each is done once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord
from orjson import dumps, loads

from sagahook.runtime.settings import ServiceSettings
from sagahook.runtime.transactions import OutRecord
from sagahook.saga.context import StepContext
from sagahook.saga.errors import PermanentError, RetryLater, UnknownOutcomeError
from sagahook.saga.participant import MemoryInbox, Participant, Request, participant_step
from sagahook.saga.participant_handling import Handlers
from sagahook_runner.adapters.participants import completion, request_record
from sagahook_runner.adapters.records import Stamp
from sagahook_schemas.codec import Undecodable, decode, decode_data
from sagahook_schemas.commands import CompleteStep
from sagahook_schemas.definitions import Retry
from sagahook_schemas.identity import partition_of
from sagahook_schemas.participants import ParticipantReplied, ParticipantRequested
from sagahook_schemas.topics import steps_topic

SAGA = "f4f97f1d-747c-5abe-b53c-5dd9891f2bf8"
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
PARTITIONS = 4
SETTINGS = ServiceSettings(kafka="nowhere:1", topic_prefix="t")

CONTEXT = StepContext(
    saga="order",
    saga_id=SAGA,
    run=1,
    step="charge",
    phase="prepare",
    attempt=1,
    correlation_id="c-1",
    idempotency_key=f"{SAGA}/1/charge/prepare",
    action_key=f"{SAGA}/1/charge/action",
    context={"order_id": "o-1"},
    results={},
)


# -- declared in a saga ---------------------------------------------------------------------------------------


def test_a_step_names_its_participant_and_has_no_code_of_its_own() -> None:
    step = participant_step("billing", timeout=5, after=["reserve"])

    definition = step.definition("charge")
    assert (definition.does, definition.participant, definition.timeout) == ("participant", "billing", 5)
    assert (definition.compensation, definition.prepares, step.action()) == (None, False, None)


def test_a_step_that_is_to_be_undone_has_a_compensation_like_the_step_unless_told_otherwise() -> None:
    retry = Retry(max=7)
    same = participant_step("billing", compensate=True, timeout=5, retry=retry).definition("charge")
    other = participant_step("billing", compensate=True, undo_timeout=timedelta(minutes=1)).definition(
        "charge"
    )

    assert same.compensation is not None
    assert (same.compensation.timeout, same.compensation.retry) == (5, retry)
    assert other.compensation is not None
    assert other.compensation.timeout == 60


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda ctx: {"order": ctx.context["order_id"]}, {"order": "o-1"}),
        ({"order": "{order_id}", "fixed": [1]}, {"order": "o-1", "fixed": [1]}),
    ],
)
def test_what_the_participant_is_told_is_prepared_once(data: Any, told: Any) -> None:
    step = participant_step("billing", data=data)
    prepare = step.preparation()

    assert step.definition("charge").prepares
    assert prepare is not None
    assert prepare(object(), CONTEXT) == {"value": told}


def test_a_condition_alone_is_prepared_too() -> None:
    prepare: Any = participant_step("billing", when=lambda ctx: False).preparation()

    assert "skip" in prepare(object(), CONTEXT)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (participant_step("Billing"), "the participant's name 'Billing'"),
        (participant_step("a" * 65), "at most 64 characters"),
        (participant_step("billing", data=cast("Any", {"when": object()})), "data must be JSON"),
        (participant_step("billing", data={"order": "{order id}"}), "{order id} is no field"),
        (participant_step("billing", undo_timeout=3), "add compensate=True"),
    ],
)
def test_what_is_wrong_with_a_step_is_told(step: Any, problem: str) -> None:
    assert problem in "\n".join(step.problems())


# -- asked for ------------------------------------------------------------------------------------------------


def asked(phase: Any = "action", attempt: int = 1, result: Any = None) -> OutRecord:
    return request_record(
        SETTINGS,
        participant="billing",
        saga="order",
        saga_id=SAGA,
        run=2,
        step="charge",
        phase=phase,
        attempt=attempt,
        correlation_id="c-1",
        data={"cents": 1500},
        result=result,
        times_out_at=NOW + timedelta(seconds=30),
        partition=3,
        stamp=Stamp(NOW, epoch=7),
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )


def test_a_request_is_in_the_sagas_own_partition_and_says_all_that_a_reply_needs() -> None:
    record = asked()

    envelope, data = decode(record.headers, record.value)
    assert (record.topic, record.partition, record.key) == ("t.saga.steps.billing", 3, SAGA.encode())
    assert (envelope.saga_id, envelope.run, envelope.correlation_id) == (SAGA, 2, "c-1")
    assert envelope.traceparent.startswith("00-")
    assert data == ParticipantRequested(
        saga="order",
        saga_id=SAGA,
        run=2,
        step="charge",
        phase="action",
        attempt=1,
        idempotency_key=f"{SAGA}/2/charge/action",
        action_key=f"{SAGA}/2/charge/action",
        data={"cents": 1500},
        times_out_at=NOW + timedelta(seconds=30),
    )


def test_a_compensation_names_the_action_that_it_undoes_and_tells_its_result() -> None:
    _, data = decode(
        asked("compensation", result={"id": "ch-9"}).headers,
        asked("compensation", result={"id": "ch-9"}).value,
    )

    assert isinstance(data, ParticipantRequested)
    assert data.idempotency_key == f"{SAGA}/2/charge/compensation"
    assert (data.action_key, data.result) == (f"{SAGA}/2/charge/action", {"id": "ch-9"})


@pytest.mark.parametrize("name", ["", "Billing", "1st", "a.b", "a" * 65, "billing\n"])
def test_a_name_that_cannot_stand_in_a_topics_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        steps_topic(name)


# -- answered -------------------------------------------------------------------------------------------------

ATTEMPT = {"saga_id": SAGA, "run": 1, "step": "charge", "phase": "action", "attempt": 1}


def reply(value: object, **headers: str) -> ConsumerRecord[Any, Any]:
    encoded = value if isinstance(value, bytes) else dumps(value)
    pairs = [(name, text.encode()) for name, text in headers.items()]
    return ConsumerRecord("t.saga.replies", 0, 42, 0, 0, None, encoded, None, 0, 0, pairs)


def command(record: ConsumerRecord[Any, Any]) -> CompleteStep:
    forwarded = completion(SETTINGS, record, PARTITIONS, Stamp(NOW))
    data = decode_data(CompleteStep.ce_type, forwarded.value)
    assert isinstance(data, CompleteStep)
    return data


def test_a_reply_of_nothing_but_a_json_value_reaches_its_saga() -> None:
    forwarded = completion(SETTINGS, reply(ATTEMPT | {"result": {"id": "ch-9"}}), PARTITIONS, Stamp(NOW))

    envelope, data = decode(forwarded.headers, forwarded.value)
    assert (forwarded.topic, forwarded.key) == ("t.saga.commands", SAGA.encode())
    assert forwarded.partition == partition_of(SAGA, PARTITIONS)
    assert envelope.saga_id == SAGA
    assert data == CompleteStep(run=1, step="charge", phase="action", attempt=1, result={"id": "ch-9"})


def test_the_saga_may_be_named_by_the_header_alone_and_the_trace_goes_on() -> None:
    value = {name: field for name, field in ATTEMPT.items() if name != "saga_id"}
    record = reply(value, ce_sagaid=SAGA, ce_id="r-1", ce_correlationid="c-1", traceparent="00-a-b-01")

    envelope, _ = decode(*_parts(completion(SETTINGS, record, PARTITIONS, Stamp(NOW))))
    assert (envelope.saga_id, envelope.causation_id) == (SAGA, "r-1")
    assert (envelope.correlation_id, envelope.traceparent) == ("c-1", "00-a-b-01")


def _parts(record: OutRecord) -> tuple[Any, Any]:
    return record.headers, record.value


def test_a_saga_id_in_capitals_is_the_same_saga() -> None:
    forwarded = completion(SETTINGS, reply(ATTEMPT | {"saga_id": SAGA.upper()}), PARTITIONS, Stamp(NOW))

    assert forwarded.key == SAGA.encode()


def test_a_failure_keeps_all_that_it_says() -> None:
    told = {"error": "Busy: 429", "retryable": True, "unknown": True, "retry_after": 30.0, "duration_ms": 7}

    assert command(reply(ATTEMPT | told)).model_dump().items() >= told.items()


def test_a_success_is_not_muddled_by_what_only_failures_say() -> None:
    succeeded = command(reply(ATTEMPT | {"retryable": False, "unknown": True, "retry_after": 3}))

    assert (succeeded.error, succeeded.unknown, succeeded.retry_after) == (None, False, None)


def test_a_result_that_is_too_large_fails_the_step_for_good_and_has_it_undone() -> None:
    failed = command(reply(ATTEMPT | {"result": "x" * 262_145}))

    assert failed.error is not None
    assert failed.error.startswith("result_too_large: ")
    assert (failed.result, failed.retryable, failed.unknown) == (None, False, True)


def test_the_result_of_a_compensation_is_not_kept() -> None:
    assert command(reply(ATTEMPT | {"phase": "compensation", "result": "x" * 262_145})).error is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (reply(b"charged!"), "Invalid JSON"),
        (reply(ATTEMPT | {"saga_id": None}), "names no saga"),
        (reply(ATTEMPT | {"saga_id": "o-1"}), "'o-1' is no saga id"),
        (reply(ATTEMPT, ce_sagaid=SAGA.replace("f4", "aa")), "two sagas"),
        (reply(ATTEMPT | {"attempt": 0}), "attempt"),
        (reply(ATTEMPT | {"phase": "prepare"}), "phase"),
        (reply(ATTEMPT | {"error": ""}), "error"),
        (reply(ATTEMPT, ce_type="com.acme.charged"), "com.acme.charged"),
        (reply({"actor": "ada"}, ce_type="sagahook.command.cancel.v1"), "is no reply"),
    ],
)
def test_a_reply_that_nobody_can_read_is_refused_with_the_reason(
    record: ConsumerRecord[Any, Any], reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        completion(SETTINGS, record, PARTITIONS, Stamp(NOW))


# -- done once ------------------------------------------------------------------------------------------------


class Billing:
    """A participant that counts what it does, and fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.done: list[str] = []
        self.inbox = MemoryInbox()
        self.handlers = Handlers("billing", self.inbox, lambda: NOW)
        self.handlers.add("charge", "action", self.do)
        self.handlers.add("charge", "compensation", self.do)

    async def do(self, request: Request) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        self.done.append(request.phase)
        return {"number": len(self.done)}

    async def ask(self, phase: Any = "action", attempt: int = 1, timeout: float = 5) -> ParticipantReplied:
        envelope, requested = decode(*_parts(asked(phase, attempt)))
        assert isinstance(requested, ParticipantRequested)
        return await self.handlers.handle(Request.of(envelope, requested), timeout)


async def test_a_repeated_request_is_answered_with_the_remembered_result_under_its_own_number() -> None:
    billing = Billing()

    first, redelivered, second = [await billing.ask(attempt=number) for number in (1, 1, 2)]
    assert (first, second.attempt) == (redelivered, 2)
    assert first.result == second.result == {"number": 1}
    assert billing.done == ["action"]


async def test_what_failed_is_done_again_for_a_later_attempt() -> None:
    billing = Billing(ValueError("busy"))

    failed, done = await billing.ask(attempt=1), await billing.ask(attempt=2)
    assert (failed.error, failed.retryable, failed.unknown) == ("ValueError: busy", True, False)
    assert done.error is None


async def test_what_failed_is_not_done_after_all_when_kafka_delivers_the_attempt_again() -> None:
    """The saga may have ended its run on the first answer."""
    billing = Billing(PermanentError("declined"))

    assert await billing.ask(attempt=3) == await billing.ask(attempt=3)
    assert (await billing.ask(attempt=2)).error == "PermanentError: declined"
    assert billing.done == []


async def test_an_operator_who_asks_once_more_gets_what_failed_for_good_tried_again() -> None:
    billing = Billing(PermanentError("closed"))

    assert (await billing.ask("compensation", attempt=4)).retryable is False
    assert (await billing.ask("compensation", attempt=5)).error is None


async def test_an_action_whose_compensation_came_first_is_refused_for_good() -> None:
    billing = Billing()

    await billing.ask("compensation")
    refused = await billing.ask("action", attempt=2)
    assert refused.error is not None
    assert refused.error.startswith("CompensatedBefore: ")
    assert (refused.retryable, refused.unknown, billing.done) == (False, False, ["compensation"])


async def test_an_action_that_was_done_and_undone_still_tells_its_result() -> None:
    billing = Billing()

    done = await billing.ask("action")
    await billing.ask("compensation")
    assert await billing.ask("action") == done


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (PermanentError("no"), {"retryable": False, "unknown": False, "retry_after": None}),
        (ConnectionResetError("gone"), {"retryable": True, "unknown": True, "retry_after": None}),
        (UnknownOutcomeError("?"), {"retryable": True, "unknown": True, "retry_after": None}),
        (RetryLater("busy", 30), {"retryable": True, "unknown": False, "retry_after": 30.0}),
    ],
)
async def test_what_a_handler_raises_says_what_is_next(raised: Exception, outcome: dict[str, Any]) -> None:
    assert (await Billing(raised).ask()).model_dump().items() >= outcome.items()


async def test_a_handler_that_takes_longer_than_the_attempt_may_has_an_unknown_outcome() -> None:
    billing = Billing()

    async def forever(request: Request) -> None:
        await asyncio.Event().wait()

    billing.handlers = Handlers("billing", billing.inbox, lambda: NOW)
    billing.handlers.add("charge", "action", forever)
    cut_off = await billing.ask(timeout=0.01)
    assert cut_off.error == "TimeoutError: no answer within 0.01 s"
    assert (cut_off.retryable, cut_off.unknown) == (True, True)


async def test_a_step_that_the_participant_does_not_know_may_be_known_to_its_next_version() -> None:
    billing = Billing()
    billing.handlers = Handlers("billing", billing.inbox, lambda: NOW)

    unknown = await billing.ask()
    assert unknown.error is not None
    assert (unknown.error.split(":")[0], unknown.retryable) == ("NoHandler", True)
    billing.handlers.add("charge", "action", billing.do)
    assert (await billing.ask()).error is None


async def test_a_handler_that_is_not_async_does_not_hold_up_the_others() -> None:
    handlers = Handlers("billing", MemoryInbox(), lambda: NOW)
    handlers.add("charge", "action", lambda request: request.data)
    envelope, requested = decode(*_parts(asked()))
    assert isinstance(requested, ParticipantRequested)

    assert (await handlers.handle(Request.of(envelope, requested), 5)).result == {"cents": 1500}


def test_handlers_that_cannot_work_are_refused_when_they_are_registered() -> None:
    billing = Participant("billing", kafka="nowhere:1", inbox=MemoryInbox())

    @billing.action("charge")
    def charge(request: Request) -> None: ...

    with pytest.raises(ValueError, match="two handlers"):
        billing.action("charge")(charge)
    with pytest.raises(TypeError, match="must be async"):
        billing.action("book")(lambda request, connection: None)
    with pytest.raises(TypeError, match="must take"):
        billing.compensation("charge")(lambda: None)
    with pytest.raises(ValueError, match="lower-case"):
        Participant("Billing", kafka="nowhere:1", inbox=MemoryInbox())


def test_a_request_shows_in_json_what_other_languages_have_to_copy() -> None:
    value = loads(asked().value or b"")

    assert value.keys() >= ATTEMPT.keys()
