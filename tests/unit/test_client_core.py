"""What the client does with an answer, or with none: without a network and without a clock."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from sagahook.client import models
from sagahook.client.address import Address
from sagahook.client.calls import Call
from sagahook.client.core import Answered, Outcome, Pause, Reply, attempts, until_final
from sagahook.client.errors import (
    BadRequest,
    Behind,
    Conflict,
    Forbidden,
    NoKey,
    NotFinal,
    NotFound,
    NotOurs,
    SagahookError,
    ServerFailed,
    TooMany,
    Unavailable,
    Unreachable,
)
from sagahook.client.operations import cancel_saga, get_task, list_tasks, reprocess_event, signal_saga
from sagahook.client.sending import WebhookAccepted, send
from sagahook.client.streaming import EventReader

ACCEPTED = Reply(202, {}, b'{"command_id": "c-1", "saga_id": "s-1"}')


def refused(status: int, retry_after: str | None = None, **more: Any) -> Reply:
    body = {"error": "why", "status_code": status, "path": "/", "correlation_id": "c", **more}
    return Reply(
        status, {} if retry_after is None else {"Retry-After": retry_after}, json.dumps(body).encode()
    )


def play(call: Call[Any], outcomes: Sequence[Outcome], patience: float = 30.0) -> tuple[Any, list[float]]:
    """What the call ends with, and the pauses until then."""
    pauses: list[float] = []
    steps = attempts(call, patience, lambda: sum(pauses), lambda: 0.0)
    given = iter(outcomes)
    outcome: Outcome = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            answered: Answered[Any] = done.value
            return answered.value, pauses
        except SagahookError as error:
            return error, pauses
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            outcome = None
        else:
            outcome = next(given)


CANCEL = cancel_saga("s-1", actor="ada")


def test_an_answer_is_a_model_and_fields_that_are_not_known_yet_are_passed_over() -> None:
    newer = Reply(202, {}, b'{"command_id": "c-1", "saga_id": "s-1", "colour": "red"}')
    assert play(CANCEL, [newer])[0] == models.CommandAccepted(command_id="c-1", saga_id="s-1")


def test_a_word_that_is_not_known_yet_is_taken_as_it_is() -> None:
    entry = {"timestamp": "2026-03-01T12:00:00Z", "status": "paused", "metadata": {}}
    assert models.HistoryEntry.model_validate(entry).model_dump()["status"] == "paused"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refused(400, errors=[{"where": "query.limit", "problem": "must be less"}]), BadRequest),
        (refused(401), NoKey),
        (refused(403), Forbidden),
        (refused(404), NotFound),
        (refused(409), Conflict),
        (refused(413), BadRequest),
        (refused(500), ServerFailed),
        (Reply(200, {}, b"<html>"), NotOurs),
        (Reply(404, {}, b"<html>"), NotOurs),
        (Reply(302, {"Location": "https://elsewhere/"}, b""), NotOurs),
    ],
)
def test_what_no_waiting_helps_against_is_raised_at_once(reply: Reply, error: type[SagahookError]) -> None:
    raised, pauses = play(CANCEL, [reply])
    assert (type(raised), pauses) == (error, [])


def test_a_refusal_says_what_the_api_said() -> None:
    wrong = [{"where": "query.limit", "problem": "must be less"}]
    raised, _ = play(CANCEL, [refused(400, errors=wrong)])
    assert (str(raised), raised.status, raised.correlation_id, raised.errors) == ("why", 400, "c", wrong)


def test_too_many_is_waited_out_as_long_as_the_api_says() -> None:
    value, pauses = play(CANCEL, [refused(429, "7"), refused(429, "2"), ACCEPTED])
    assert (value.command_id, pauses) == ("c-1", [7.0, 2.0])


def test_what_would_take_longer_than_the_patience_is_raised() -> None:
    raised, pauses = play(CANCEL, [refused(429, "20"), refused(429, "20")], patience=30)
    assert (type(raised), raised.retry_after, pauses) == (TooMany, 20.0, [20.0])


def test_a_question_is_asked_again_while_the_api_is_away_or_behind() -> None:
    outcomes: list[Outcome] = [
        refused(503, "1", reason="behind"),
        refused(503, "2"),
        Unreachable("reset", sent=True),
        refused(404),
    ]
    raised, pauses = play(get_task("t"), outcomes)
    assert (type(raised), pauses) == (NotFound, [1.0, 2.0, 0.8])


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (refused(503, "1"), Unavailable),
        (refused(503, "1", reason="behind"), Behind),
        (Unreachable("reset", sent=True), Unreachable),
    ],
)
def test_an_act_that_may_have_been_carried_out_is_not_asked_again(
    outcome: Outcome, error: type[SagahookError]
) -> None:
    raised, pauses = play(reprocess_event("e"), [outcome])
    assert (type(raised), pauses) == (error, [])


def test_an_act_that_was_never_sent_is_asked_again() -> None:
    value, pauses = play(CANCEL, [Unreachable("refused", sent=False), ACCEPTED])
    assert (value.saga_id, pauses) == ("s-1", [0.2])


def test_what_the_api_takes_once_however_often_it_comes_is_sent_again() -> None:
    lost = Unreachable("reset", sent=True)
    assert play(signal_saga("s-1", "paid", actor="ada", signal_id="1"), [lost, ACCEPTED])[0].saga_id == "s-1"
    accepted = {"status": "accepted", "source": "o", "message": "", "correlation_id": "c", "event_id": "e"}
    again = Reply(202, {}, json.dumps(accepted).encode())
    assert play(send("o", {"id": 1}), [lost, again])[0] == WebhookAccepted.model_validate(accepted)


def test_nothing_is_asked_for_ever() -> None:
    raised, pauses = play(get_task("t"), [Unreachable("refused", sent=False)] * 100, patience=30)
    assert (type(raised), 20 < sum(pauses) <= 30) == (Unreachable, True)


def test_parts_of_a_path_and_of_a_query_are_escaped() -> None:
    assert get_task("a/b?c").target == "/api/v1/tasks/a%2Fb%3Fc"
    call = list_tasks(attribute=["pr:7", "repo:a/b"], limit=5)
    assert call.target == "/api/v1/tasks?limit=5&attribute=pr%3A7&attribute=repo%3Aa%2Fb"


def test_a_wait_is_over_when_it_is_final_or_the_time_is_up() -> None:
    def status(final: bool) -> models.WebhookStatus:
        return models.WebhookStatus.model_validate(
            {
                "correlation_id": "c",
                "source": "o",
                "status": "completed" if final else "triggered",
                "message": "m",
                "final": final,
                "saga_ids": [],
                "saga_statuses": {},
                "saga_errors": {},
                "sagas": [],
            }
        )

    now = [0.0]
    script = until_final("o", "c", 40.0, lambda: now[0])
    assert next(script).query == {"wait": 25.0}
    now[0] = 25.0
    assert script.send(status(final=False)).query == {"wait": 15.0}
    with pytest.raises(StopIteration) as done:
        script.send(status(final=True))
    assert done.value.value.status == "completed"
    script = until_final("o", "c", 1.0, lambda: now[0])
    next(script)
    now[0] = 27.0
    with pytest.raises(NotFinal) as up:
        script.send(status(final=False))
    assert up.value.last.status == "triggered"


def test_events_are_read_however_they_are_cut_and_the_next_connection_goes_on_after_the_last() -> None:
    data = b'{"id":1,"task_id":"t","timestamp":"2026-03-01T12:00:00Z","status":"completed","metadata":{}}'
    stream = b"retry: 250\nid: 0:1\n\n" + b"id: 0:2\ndata: " + data + b"\n\n" + b"id: 0:3\ndata: " + data[:20]
    for size in (1, 7, len(stream)):
        reader = EventReader(None, task_id="t")
        entries = [
            entry for at in range(0, len(stream), size) for entry in list(reader.feed(stream[at : at + size]))
        ]
        assert ([entry.task_id for entry in entries], reader.retry) == (["t"], 0.25)
        assert reader.call().headers["Last-Event-ID"] == "0:2"
        assert reader.call().target == "/api/v1/stream?task_id=t"


@pytest.mark.parametrize("url", ["", "host:80", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(SagahookError, match="is no address of an API"):
        Address.of(url)


def test_an_address_may_have_a_path() -> None:
    assert Address.of("https://host/sagahook/") == ("https://host/sagahook", "host", 443, "/sagahook", True)
