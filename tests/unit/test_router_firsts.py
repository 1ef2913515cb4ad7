"""Two records of one webhook, which two replicas of ingest took in the same instant: the router sees which is first."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sagahook_runner.domain.firsts import FirstRecords, Verdict
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.webhooks import received_envelope

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST = Verdict()


def received(event_id: str, *, later: float = 0, source: str = "shop", **told: Any) -> Envelope:
    return received_envelope(
        event_id=event_id,
        source=source,
        event_type="",
        time=NOON + timedelta(seconds=later),
        correlation_id="c",
        content_type="application/json",
        **told,
    )


def keyed(event_id: str, body: str = "b1", **told: Any) -> Envelope:
    return received(event_id, idempotency_key_hash="k1", body_hash=body, **told)


def test_the_second_under_one_key_repeats_the_first() -> None:
    firsts = FirstRecords()
    assert firsts.judge(1, keyed("e1")) == FIRST
    assert firsts.judge(2, keyed("e2")) == Verdict(first="e1")
    assert firsts.judge(3, keyed("e3")) == Verdict(first="e1")


def test_the_second_with_another_body_is_refused_and_told_why() -> None:
    firsts = FirstRecords()
    firsts.judge(1, keyed("e1"))
    verdict = firsts.judge(2, keyed("e2", "b2"))
    assert "another body" in verdict.refused
    assert "e1" in verdict.refused


def test_a_delivery_is_the_same_whatever_its_body() -> None:
    firsts = FirstRecords()
    firsts.judge(1, received("e1", delivery_id="d1"))
    assert firsts.judge(2, received("e2", delivery_id="d1")) == Verdict(first="e1")
    assert firsts.judge(3, received("e3", delivery_id="d2")) == FIRST
    assert firsts.judge(4, received("e4", delivery_id="d1", source="other")) == FIRST


def test_of_a_key_and_a_delivery_id_either_tells() -> None:
    firsts = FirstRecords()
    firsts.judge(1, keyed("e1", delivery_id="d1"))
    assert firsts.judge(2, received("e2", delivery_id="d1")) == Verdict(first="e1")
    assert firsts.judge(3, keyed("e3", delivery_id="d3")) == Verdict(first="e1")
    assert firsts.judge(4, received("e4", delivery_id="d3")) == Verdict(first="e1")


def test_what_has_neither_is_always_a_first() -> None:
    firsts = FirstRecords()
    assert [firsts.judge(offset, received(f"e{offset}")) for offset in range(3)] == [FIRST] * 3


def test_records_that_are_read_again_are_judged_as_before() -> None:
    firsts = FirstRecords()
    records = [keyed("e1"), keyed("e2"), keyed("e3", "b2"), keyed("e4", later=60)]
    judged = [firsts.judge(offset, record) for offset, record in enumerate(records)]
    assert firsts.judge(3, records[3]) == judged[3] == FIRST
    assert firsts.judge(0, records[0]) == judged[0] == FIRST


def test_a_key_that_comes_again_much_later_is_one_that_ingest_had_forgotten() -> None:
    firsts = FirstRecords()
    firsts.judge(1, keyed("e1"))
    assert firsts.judge(2, keyed("e2", "b2", later=31)) == FIRST
    assert firsts.judge(3, keyed("e3", "b2", later=32)) == Verdict(first="e2")


def test_it_stays_within_its_bound() -> None:
    firsts = FirstRecords(limit=2)
    for number in range(3):
        firsts.judge(number, received(f"e{number}", delivery_id=f"d{number}"))
    assert firsts.judge(3, received("again", delivery_id="d0")) == FIRST
    assert firsts.judge(4, received("again", delivery_id="d2")) == Verdict(first="e2")
