"""The order of a timeline, and its parts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from sagahook_schemas.commands import ParentStep
from sagahook_tracker.domain.chapters import Cursor, page
from sagahook_tracker.domain.timeline import Entry, Place, story

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def received(seconds: float, event: str = "e", offset: int = 0) -> Entry:
    return Entry(Place("webhooks.received", 0, offset), at(seconds), "webhook.received", event_id=event)


def routed(seconds: float, event: str = "e", offset: int = 0) -> Entry:
    return Entry(Place("webhooks.routed", 1, offset), at(seconds), "webhook.routed", event_id=event)


def told(saga: str, sequence: int, seconds: float, type: str = "saga.progressed", **fields: object) -> Entry:
    partition, offset = (0, sequence) if saga == "s" else (1, sequence)
    place = Place("saga.events", partition, offset)
    return Entry(place, at(seconds), type, saga_id=saga, run=1, sequence=sequence, **fields)  # type: ignore[arg-type]


def delivered(seconds: float, attempt: int, follows: str = "s/1/2") -> Entry:
    place = Place("notifications", 0, attempt)
    return Entry(
        place, at(seconds), "delivery.attempt_failed", delivery_id="d", follows=follows, attempt=attempt
    )


def words(entries: list[Entry], parents: dict[tuple[str, int], ParentStep] | None = None) -> list[str]:
    return [
        f"{each.entry.type} {each.entry.saga_id or each.entry.delivery_id or each.entry.event_id} "
        f"{each.entry.sequence or each.entry.attempt or ''}".strip()
        for each in story(entries, parents or {})
    ]


def test_what_nothing_else_puts_in_order_is_told_by_its_clock() -> None:
    assert words([received(2, "b", 1), received(1, "a", 0)]) == ["webhook.received a", "webhook.received b"]


def test_a_route_is_told_after_its_webhook_and_a_run_after_its_route_whatever_their_clocks_say() -> None:
    begun = told("s", 1, 1, "saga.started", event_id="e")
    assert words([begun, routed(2), received(3)]) == [
        "webhook.received e",
        "webhook.routed e",
        "saga.started s 1",
    ]


def test_a_runs_events_are_told_by_their_sequence_whatever_their_clocks_say() -> None:
    assert words([told("s", 2, 1), told("s", 1, 5), told("s", 3, 3)]) == [
        "saga.progressed s 1",
        "saga.progressed s 2",
        "saga.progressed s 3",
    ]


def test_a_delivery_is_told_after_the_event_it_tells_of_and_its_attempts_by_their_number() -> None:
    entries = [delivered(0.5, 1), delivered(0.2, 2), told("s", 1, 1), told("s", 2, 2)]
    assert words(entries) == [
        "saga.progressed s 1",
        "saga.progressed s 2",
        "delivery.attempt_failed d 1",
        "delivery.attempt_failed d 2",
    ]


def test_a_child_lies_between_its_parents_request_and_the_steps_outcome() -> None:
    parent = [
        told("s", 1, 10, "step.child_requested", step="ship"),
        told("s", 2, 11, "step.completed", step="ship", phase="action"),
        told("s", 3, 12, "saga.completed"),
    ]
    child = [told("c", 1, 5, "saga.started"), told("c", 2, 20, "saga.completed")]
    below = {("c", 1): ParentStep(saga_id="s", run=1, step="ship")}
    assert words([*child, *parent], below) == [
        "step.child_requested s 1",
        "saga.started c 1",
        "saga.completed c 2",
        "step.completed s 2",
        "saga.completed s 3",
    ]


def test_a_child_that_is_undone_lies_between_the_compensations_start_and_its_outcome() -> None:
    parent = [
        told("s", 1, 1, "step.child_requested", step="ship"),
        told("s", 2, 2, "step.completed", step="ship", phase="action"),
        told("s", 3, 9, "step.scheduled", step="ship", phase="compensation"),
        told("s", 4, 9.1, "step.completed", step="ship", phase="compensation"),
    ]
    child = [
        told("c", 1, 1, "saga.started"),
        told("c", 2, 2, "saga.completed"),
        told("c", 3, 3, "saga.compensating"),
        told("c", 4, 30, "saga.rolled_back"),
    ]
    below = {("c", 1): ParentStep(saga_id="s", run=1, step="ship")}
    told_as = words([*child, *parent], below)
    assert told_as.index("step.scheduled s 3") < told_as.index("saga.compensating c 3")
    assert told_as.index("saga.rolled_back c 4") < told_as.index("step.completed s 4")


def test_a_run_that_was_asked_for_again_follows_the_second_route() -> None:
    second = Entry(
        Place("saga.events", 0, 9), at(9), "saga.started", saga_id="s", run=2, sequence=1, event_id="e"
    )
    entries = [
        received(0),
        routed(1, offset=1),
        told("s", 1, 2, "saga.started", event_id="e"),
        routed(8, offset=2),
        second,
    ]
    last = story(entries, {})[-1]
    assert last.entry is second
    assert Place("webhooks.routed", 1, 2) in last.causes
    assert last.waited_ms == 1000


def test_records_that_contradict_each_other_are_all_told() -> None:
    impossible = {
        ("c", 1): ParentStep(saga_id="s", run=1, step="x"),
        ("s", 1): ParentStep(saga_id="c", run=1, step="x"),
    }
    entries = [
        told(saga, 1, seconds, "step.child_requested", step="x") for saga, seconds in (("s", 1), ("c", 2))
    ]
    assert len(story(entries, impossible)) == 2


def test_the_same_entries_give_the_same_story_in_whatever_order_they_come() -> None:
    entries = [
        received(3),
        routed(2),
        told("s", 1, 1, "saga.started", event_id="e"),
        delivered(0, 1, "s/1/1"),
    ]
    stories = {tuple(words(list(order))) for order in permutations(entries)}
    assert len(stories) == 1


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A webhook, its route, and the events of two sagas that it started, under clocks that say anything."""
    clocks = st.floats(0, 10)
    entries = [received(draw(clocks)), routed(draw(clocks))]
    for saga in ("s", "c"):
        entries.append(told(saga, 1, draw(clocks), "saga.started", event_id="e"))
        entries += [told(saga, number, draw(clocks)) for number in range(2, draw(st.integers(2, 6)))]
    return draw(st.permutations(entries))


@given(logs())
def test_nothing_is_told_before_what_brought_it_about(entries: list[Entry]) -> None:
    seen: set[Place] = set()
    for each in story(entries, {}):
        assert set(each.causes) <= seen
        assert each.waited_ms is None or each.waited_ms >= 0
        seen.add(each.entry.place)
    assert len(seen) == len(entries)


@given(logs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_pages_tell_everything_once_also_what_becomes_known_between_them(
    entries: list[Entry], limit: int, chance: object
) -> None:
    """Each partition becomes known in its own order, whatever the others do."""
    read: list[Place] = []
    cursor = Cursor()
    for known in growing(entries, chance):
        cursor = Cursor.read(cursor.written()) or Cursor()
        here = page(known, {}, cursor, limit)
        read += [each.entry.place for each in here.told]
        cursor = here.after
    while (here := page(entries, {}, cursor, limit)).told:
        read += [each.entry.place for each in here.told]
        cursor = here.after
    assert sorted(read) == sorted(entry.place for entry in entries)


def growing(entries: list[Entry], chance: object) -> Iterator[list[Entry]]:
    queues: dict[tuple[str, int], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.place):
        queues.setdefault(entry.place[:2], []).append(entry)
    known: list[Entry] = []
    while queues:
        where = chance.choice(sorted(queues))  # type: ignore[attr-defined]
        known.append(queues[where].pop(0))
        if not queues[where]:
            del queues[where]
        yield list(known)


def test_a_page_says_whether_its_part_goes_on() -> None:
    entries = [received(0), routed(1), told("s", 1, 2, "saga.started", event_id="e")]
    first = page(entries, {}, Cursor(), 2)
    assert [first.more, len(first.told)] == [True, 2]
    second = page(entries, {}, first.after, 2)
    assert [second.more, len(second.told)] == [False, 1]
    assert not page(entries, {}, second.after, 2).told


def test_a_cursor_that_is_none_of_ours_is_none() -> None:
    for text in ("", "x", "W10=", "WzEsMiwzXQ==", "é"):
        assert Cursor.read(text) is None
