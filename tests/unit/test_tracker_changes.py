"""What a batch changes, however the log is cut into batches and its topics are mixed."""

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from sagahook_schemas.identity import record_number
from sagahook_tracker.domain.changes import Changes, Event, fold
from sagahook_tracker.domain.rollups import Place
from sagahook_tracker.domain.runs import Run, RunKey
from tests.tracker_log import SagaLog, Written, received, routed

# Each list is one partition, whose order is fixed; a real log has many of each topic.
PARTITIONS: list[list[Written]] = [
    [received("e1", "c1"), received("e2", "c2"), received("e3", "c3")],
    [
        routed("e1", "c1", "s1", "s2"),
        routed("e2", "c2", "s1"),
        routed("e3", "c3", reason="no trigger wants it"),
    ],
    [
        *SagaLog("s1").started("e1", "c1").done("reserve", "charge").completed().joined("e2", "c2").written,
        *SagaLog("s1", run=2).started("e1", "c1").declined().written,
    ],
    SagaLog("s2").started("e1", "c1").declined().written,
]


def events() -> list[list[Event]]:
    return [
        [record.event(record_number(partition, offset)) for offset, record in enumerate(each)]
        for partition, each in enumerate(PARTITIONS)
    ]


@st.composite
def mixtures(draw: st.DrawFn) -> list[Event]:
    """All events, each partition in its order, the partitions mixed at will."""
    order = draw(st.permutations([number for number, each in enumerate(PARTITIONS) for _ in each]))
    sources = [iter(each) for each in events()]
    return [next(sources[number]) for number in order]


class Tables:
    """The rows, changed as the database changes them."""

    def __init__(self) -> None:
        self.rows = Changes()

    def project(self, batch: list[Event]) -> None:
        known: dict[RunKey, Run] = {
            event.run: self.rows.runs[event.run] for event in batch if event.run in self.rows.runs
        }
        changes = fold(batch, known)
        for event_id, webhook in changes.webhooks.items():
            self.rows.webhooks.setdefault(event_id, webhook)
        for key, link in changes.links.items():
            self.rows.links.setdefault(key, link)
        self.rows.routes |= changes.routes
        self.rows.runs |= changes.runs
        self.rows.ended |= changes.ended
        self.rows.history += changes.history
        self.rows.rollups.counts.update(changes.rollups.counts)
        self.rows.rollups.milliseconds.update(changes.rollups.milliseconds)


def sums(changes: Changes) -> dict[Place, tuple[int, int]]:
    """Without those of nothing."""
    rollups = changes.rollups
    told = {place: (count, rollups.milliseconds[place]) for place, count in rollups.counts.items()}
    return {place: sum for place, sum in told.items() if any(sum)}


@given(mixtures(), st.lists(st.integers(0, 40)))
def test_the_rows_are_the_same_however_topics_are_mixed_and_batches_are_cut(
    mixed: list[Event], cuts: list[int]
) -> None:
    expected = fold(list(chain(*events())), {})
    tables = Tables()
    edges = [0, *sorted(min(cut, len(mixed)) for cut in cuts), len(mixed)]
    for start, end in pairwise(edges):
        tables.project(mixed[start:end])
    rows = tables.rows
    assert (rows.webhooks, rows.routes, rows.links, rows.runs, rows.ended) == (
        expected.webhooks,
        expected.routes,
        expected.links,
        expected.runs,
        expected.ended,
    )
    assert sums(rows) == sums(expected)
    assert sorted(rows.history) == sorted(expected.history)


def test_a_webhook_that_joined_is_linked_to_the_run_it_joined() -> None:
    changes = fold(list(chain(*events())), {})
    assert changes.links.keys() == {("e1", "s1", 1), ("e2", "s1", 1), ("e1", "s1", 2), ("e1", "s2", 1)}


def test_those_who_wait_are_told_of_ends_and_of_joining() -> None:
    log = SagaLog("s1").started("e1", "c1").done("reserve")
    known = fold([record.event(0) for record in log.written], {})
    assert (known.ended, known.waited_for) == (set(), set())
    joined = log.completed().joined("e2", "c2").written[-2:]
    changes = fold([record.event(0) for record in joined], known.runs)
    assert (changes.ended, changes.waited_for) == ({("s1", 1)}, {"c2"})


def test_an_end_is_told_once() -> None:
    log = SagaLog("s1").started("e1", "c1").completed().joined("e2", "c2")
    known = fold([record.event(0) for record in log.written[:2]], {})
    assert fold([log.written[2].event(0)], known.runs).ended == set()


def test_the_rollups_are_the_counts_of_how_everything_stands() -> None:
    told = sums(fold(list(chain(*events())), {}))
    assert {(kind, outcome): count for (_, kind, _, _, outcome), (count, _) in told.items()} == {
        ("saga", "completed"): 1,
        ("saga", "rolled_back"): 2,
        ("attempt", "completed"): 6,
        ("attempt", "failed"): 2,
    }


def test_events_and_runs_that_stand_otherwise_are_named() -> None:
    log = SagaLog("s1").started("e1", "c1").done("reserve")
    begun = fold([record.event(0) for record in log.written], {})
    assert (begun.touched, begun.moved) == (set(), set())
    ended = fold([record.event(0) for record in log.completed().joined("e2", "c2").written[-2:]], begun.runs)
    assert (ended.touched, ended.moved) == ({"e2"}, {("s1", 1)})
    again = SagaLog("s1", run=2).started("e1", "c1").written
    assert fold([again[0].event(0)], {}).touched == {"e1"}
