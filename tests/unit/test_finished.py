"""What is remembered of finished sagas, in memory and in `saga.state`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sagahook_runner.domain.finished import (
    Finished,
    FinishedIndex,
    NotFinished,
    decode_finished,
    encode_finished,
    is_finished,
)
from sagahook_runner.domain.state import SagaState

ORDER = "5b0d7a52-6a0c-5b53-9f0e-0d5a7c1b2e3f"
OTHER = "c0ffee00-6a0c-5b53-9f0e-0d5a7c1b2e40"
MINUTE = 60_000


def finished(saga_id: str = ORDER, **changes: Any) -> Finished:
    return Finished(saga_id, 1, 9, "COMPLETED", 1_700_000_000_000, "evt-1", "order", 1)._replace(**changes)


def remembered(entry: Finished) -> Finished:
    return entry._replace(event_id=entry.digest)


# In few minutes, so that ends share a slot, lie at its edges and are equal; ids in few buckets, with parts alike.
_ids = st.builds(
    lambda head, tail: str(UUID(bytes=head * 15 + tail)),
    st.sampled_from([b"\0", b"\1"]),
    st.sampled_from([b"\0", b"\1", b"\2"]),
)
_ends = st.one_of(st.integers(0, 4 * MINUTE), st.sampled_from([0, 65_535, 65_536, 131_072, -1]))
_finished = st.builds(
    Finished,
    _ids,
    run=st.integers(1, 2**32 - 1),
    sequence=st.integers(1, 2**32 - 1),
    status=st.sampled_from(["COMPLETED", "ROLLED_BACK", "FAILED"]),
    ended_ms=_ends,
    event_id=st.text(max_size=40).filter(lambda text: text.isprintable()),
    name=st.sampled_from(["order", "größe", "x" * 200]),
    version=st.integers(0, 2**32 - 1),
)


def test_a_finished_saga_is_found_by_its_id_as_it_ended() -> None:
    index = FinishedIndex()
    index.put(finished(run=2, status="ROLLED_BACK"))
    assert index.get(ORDER) == remembered(finished(run=2, status="ROLLED_BACK"))
    assert index.get(OTHER) is None


def test_what_is_no_saga_id_is_not_found_and_cannot_be_put() -> None:
    index = FinishedIndex()
    assert index.get("limit/order") is None
    assert index.pop("zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz") is None
    assert index.get("") is None
    with pytest.raises(ValueError, match="no saga id"):
        index.put(finished("c0ffee"))


def test_it_knows_the_webhook_that_started_a_saga_by_a_digest_alone() -> None:
    index = FinishedIndex()
    index.put(finished(event_id="whatever a sender calls it"))
    kept = index.get(ORDER)
    assert kept is not None
    assert kept.matches("whatever a sender calls it")
    assert not kept.matches("another")
    assert finished(event_id="evt-1").matches("evt-1")


def test_a_saga_that_finished_again_is_remembered_once_and_by_its_later_end() -> None:
    index = FinishedIndex()
    index.put(finished(run=1, ended_ms=1_000))
    index.put(finished(run=2, ended_ms=9 * MINUTE))
    assert len(index) == 1
    assert index.expired(2_000, limit=10) == []
    assert [each.run for each in index.expired(10 * MINUTE, limit=10)] == [2]


def test_what_runs_again_is_forgotten_and_does_not_expire() -> None:
    index = FinishedIndex()
    index.put(finished(ended_ms=1_000))
    assert index.pop(ORDER) == remembered(finished(ended_ms=1_000))
    assert (index.pop(ORDER), index.get(ORDER), len(index)) == (None, None, 0)
    assert index.expired(MINUTE, limit=10) == []


def test_the_oldest_expire_first_however_late_they_were_put() -> None:
    index = FinishedIndex()
    ids = [str(UUID(int=number)) for number in range(5)]
    for saga_id, ended in zip(ids, [9 * MINUTE, 3_000, 2_000, 2 * MINUTE, 1_000], strict=True):
        index.put(finished(saga_id, ended_ms=ended))
    assert [each.ended_ms for each in index.expired(3_000, limit=1)] == [1_000]
    index.put(finished(OTHER, ended_ms=500))  # older than what expired already
    assert [each.ended_ms for each in index.expired(3_001, limit=9)] == [500, 2_000, 3_000]
    assert sorted(each.ended_ms for each in index) == [2 * MINUTE, 9 * MINUTE]


def test_an_id_whose_bytes_also_lie_across_two_entries_is_not_mistaken() -> None:
    # The bucket holds ...digest, number | id...: the bytes of one id begin in an entry and end in the next one.
    index = FinishedIndex()
    zero = str(UUID(int=0))
    index.put(finished(str(UUID(bytes=b"\1" + bytes(15))), run=0, sequence=0, ended_ms=0))
    assert index.get(zero) is None
    index.put(finished(zero, run=7))
    assert index.get(zero) == remembered(finished(zero, run=7))


class IndexBehavesAsADict(RuleBasedStateMachine):
    """Against a plain dict: what is there, and what expires in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.index = FinishedIndex()
        self.model: dict[str, Finished] = {}

    @rule(entry=_finished)
    def put(self, entry: Finished) -> None:
        self.index.put(entry)
        self.model[entry.saga_id] = remembered(entry)

    @rule(entry=_finished)
    def put_the_record(self, entry: Finished) -> None:
        self.index.put_record(entry.saga_id.encode(), encode_finished(entry))
        self.model[entry.saga_id] = remembered(entry)

    @rule(saga_id=_ids)
    def pop(self, saga_id: str) -> None:
        assert self.index.pop(saga_id) == self.model.pop(saga_id, None)

    @rule(before=_ends, limit=st.integers(0, 4))
    def expire(self, before: int, limit: int) -> None:
        gone = self.index.expired(before, limit)
        due = sorted(each.ended_ms for each in self.model.values() if each.ended_ms < before)
        assert [each.ended_ms for each in gone] == due[:limit]
        assert [self.model.pop(each.saga_id) for each in gone] == gone

    @rule(saga_id=_ids)
    def get(self, saga_id: str) -> None:
        assert self.index.get(saga_id) == self.model.get(saga_id)

    @invariant()
    def it_counts_them(self) -> None:
        assert len(self.index) == len(self.model)

    def teardown(self) -> None:
        assert {each.saga_id: each for each in self.index} == self.model


TestIndexBehavesAsADict = IndexBehavesAsADict.TestCase
TestIndexBehavesAsADict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(_finished)
def test_the_record_in_saga_state_tells_all_that_is_remembered(entry: Finished) -> None:
    value = encode_finished(entry)
    assert decode_finished(entry.saga_id, value) == remembered(entry)
    assert encode_finished(remembered(entry)) == value


def test_the_layout_of_the_record_is_fixed_for_ever() -> None:
    value = encode_finished(finished(status="FAILED", run=2, sequence=300, version=3))
    digest = "7b409f932d2c88e9"
    assert value.hex() == (
        "01" + "46" + "00000002" + "0000012c" + "0000018bcfe56800" + digest + "00000003" + b"order".hex()
    )


def test_a_live_snapshot_is_told_from_a_finished_one() -> None:
    live = SagaState(ORDER).to_json()
    assert is_finished(encode_finished(finished()))
    assert not is_finished(live)
    with pytest.raises(NotFinished):
        FinishedIndex().put_record(ORDER.encode(), live)


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"\x02" + bytes(40), encode_finished(finished())[:29]])
def test_a_record_of_another_layout_or_cut_off_is_refused(damaged: bytes) -> None:
    with pytest.raises(NotFinished):
        decode_finished(ORDER, damaged)
