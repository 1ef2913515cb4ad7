"""Which endpoints a dispatcher looks at, and how much of each."""

from datetime import UTC, datetime, timedelta

from sagahook_notifier.domain.schedule import Schedule

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=5)


def schedule(concurrency: int = 64, per_endpoint: int = 4) -> Schedule:
    return Schedule(concurrency, per_endpoint)


def test_an_endpoint_is_looked_at_when_something_of_it_is_due() -> None:
    known = schedule()
    known.tell("a", LATER)

    assert known.rooms(NOON) == {}
    assert known.next_at(NOON) == LATER
    assert known.rooms(LATER) == {"a": 4}


def test_the_earliest_time_counts() -> None:
    known = schedule()
    known.tell("a", LATER)
    known.tell("a", NOON)
    known.tell("a", LATER)

    assert known.rooms(NOON) == {"a": 4}


def test_where_there_was_less_than_room_for_it_nothing_more_is_due() -> None:
    known = schedule()
    known.tell("a", NOON)
    rooms = known.rooms(NOON)

    assert known.found(rooms, {"a": 3}) == ["a"]
    assert known.rooms(LATER) == {}
    assert known.next_at(LATER) is None


def test_where_there_was_more_it_is_looked_at_again_once_there_is_room() -> None:
    known = schedule()
    known.tell("a", NOON)
    assert known.found(known.rooms(NOON), {"a": 4}) == []
    for _ in range(4):
        known.began("a")

    assert known.rooms(NOON) == {}
    assert known.ended("a")
    assert known.rooms(NOON) == {"a": 1}


def test_endpoints_with_the_fewest_attempts_under_way_come_first() -> None:
    known = schedule(concurrency=9)
    for endpoint in ("busy", "idle"):
        known.tell(endpoint, NOON)
    known.began("busy")

    assert list(known.rooms(NOON)) == ["idle", "busy"]


def test_long_queues_that_come_together_share_the_places() -> None:
    known = schedule(concurrency=64, per_endpoint=16)
    for number in range(15):
        known.tell(f"slow-{number}", NOON)

    assert set(known.rooms(NOON).values()) == {1, 4}


def test_however_many_long_queues_came_before_there_is_a_place_for_the_next_endpoint() -> None:
    known = schedule(concurrency=64, per_endpoint=16)
    for number in range(12):
        known.tell(f"slow-{number}", NOON)
        for _ in range(3):  # looks
            rooms = known.rooms(NOON)
            known.found(rooms, rooms)
            for endpoint, room in rooms.items():
                for _ in range(room):
                    known.began(endpoint)

    known.tell("quick", NOON)
    assert known.rooms(NOON) == {"quick": 1}


def test_no_more_is_asked_for_than_there_are_places() -> None:
    known = schedule(concurrency=3)
    for number in range(10):
        known.tell(f"e-{number}", NOON)

    assert sum(known.rooms(NOON).values()) == 3


def test_places_for_what_is_about_to_be_made_count_as_under_way() -> None:
    known = schedule(per_endpoint=4)

    assert known.set_aside({"a": 3, "b": 9}, NOON) == {"a": 3, "b": 4}
    assert known.under_way == 7
    assert known.set_aside({"a": 3}, NOON) == {"a": 1}
    assert known.set_aside({"a": 3, "b": 1}, NOON) == {}
    assert known.ended("b") is False
    assert known.set_aside({"b": 5}, NOON) == {"b": 1}


def test_there_are_none_where_something_has_waited_longer() -> None:
    known = schedule()
    known.tell("a", NOON)
    known.tell("b", LATER)

    assert known.set_aside({"a": 1, "b": 1}, NOON) == {"b": 1}
    assert known.set_aside({"b": 1}, LATER) == {}


def test_of_few_places_those_with_nothing_under_way_get_the_last() -> None:
    known = schedule(concurrency=4, per_endpoint=4)

    assert known.set_aside({"busy": 4}, NOON) == {"busy": 2}
    assert known.set_aside({"busy": 4, "idle": 4}, NOON) == {"idle": 1}
    assert known.set_aside({"other": 4}, NOON) == {"other": 1}
    assert known.set_aside({"further": 4}, NOON) == {}
