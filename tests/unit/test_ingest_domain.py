"""What ingest decides without Kafka: sources, bodies, first answers, and which group goes where."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from sagahook.runtime.ids import event_id_in, new_event_id
from sagahook.runtime.sources import Source
from sagahook_ingest.adapters.groups import Entry, WaitingRoom
from sagahook_ingest.domain import body, headers
from sagahook_ingest.domain.first_answers import FirstAnswer, FirstAnswers
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.sources import KnownSources
from sagahook_ingest.domain.webhook import OnceOnly, Webhook
from sagahook_schemas.definitions import SagaDefinition, TriggerDefinition
from sagahook_schemas.identity import partition_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def definition(version: int, *triggers: TriggerDefinition, name: str = "order") -> SagaDefinition:
    return SagaDefinition(name=name, version=version, triggers=triggers, steps=())


def answer(event_id: str, *, age: timedelta = timedelta(), position: int = 0) -> FirstAnswer:
    return FirstAnswer(event_id, "c", b"", NOW - age, position)


class TestSources:
    def test_a_trigger_and_the_configuration_make_a_source_known(self) -> None:
        sources = KnownSources({"shop": Source(allow_notify_url=True)})
        sources.deployed(definition(1, TriggerDefinition(source="orders")))
        shop, orders = sources.get("shop"), sources.get("orders")
        assert shop is not None
        assert shop.allow_notify_url
        assert orders is not None
        assert not orders.allow_notify_url
        assert sources.get("others") is None

    def test_only_the_newest_version_of_a_saga_counts_in_whichever_order_they_come(self) -> None:
        sources = KnownSources({})
        sources.deployed(definition(2, TriggerDefinition(source="new")))
        sources.deployed(definition(1, TriggerDefinition(source="old")))
        assert sources.get("new") is not None
        assert sources.get("old") is None

    def test_a_tombstone_brings_the_version_before_it_back(self) -> None:
        sources = KnownSources({})
        sources.deployed(definition(1, TriggerDefinition(source="old")))
        sources.deployed(definition(2, TriggerDefinition(source="new")))
        sources.removed("order@2")
        sources.removed("never-deployed@7")
        sources.removed("no key of ours")
        assert sources.get("old") is not None
        assert sources.get("new") is None

    def test_every_trigger_that_wants_the_event_must_find_its_field(self) -> None:
        sources = KnownSources({})
        sources.deployed(definition(1, TriggerDefinition(source="s", idempotency_key="id")))
        sources.deployed(
            definition(1, TriggerDefinition(source="s", event="paid", idempotency_key="pay.ref"), name="pay")
        )
        source = sources.get("s")
        assert source is not None
        source.check_identity("other", {"id": 1})
        source.check_identity("paid", {"id": 1, "pay": {"ref": "r"}})
        with pytest.raises(Refusal, match=r"pay\.ref"):
            source.check_identity("paid", {"id": 1})

    def test_a_trigger_with_several_fields_must_find_all_of_them(self) -> None:
        sources = KnownSources({})
        trigger = TriggerDefinition(source="s", idempotency_key="shop", more_keys=("order.id",))
        sources.deployed(definition(1, trigger))
        source = sources.get("s")
        assert source is not None
        source.check_identity("", {"shop": "north", "order": {"id": 7}})
        with pytest.raises(Refusal, match=r"The field 'order\.id' is missing or null"):
            source.check_identity("", {"shop": "north"})
        with pytest.raises(Refusal, match="The field 'shop' is missing or null"):
            source.check_identity("", {"order": {"id": 7}})
        with pytest.raises(
            Refusal, match=r"The field 'order\.id' is the idempotency key of the saga 'order'"
        ):
            source.check_identity("", {"shop": "north", "order": {"id": []}})

    def test_a_trigger_whose_identity_code_makes_needs_no_field(self) -> None:
        sources = KnownSources({})
        sources.deployed(definition(1, TriggerDefinition(source="s", keyed_by_code=True)))
        source = sources.get("s")
        assert source is not None
        source.check_identity("", {})


class TestBodies:
    @pytest.mark.parametrize("nested", [b"[" * 100 + b"]" * 100, b'{"a":' * 100 + b"1" + b"}" * 100])
    def test_a_hundred_levels_are_the_most(self, nested: bytes) -> None:
        body.parse(nested)
        with pytest.raises(Refusal, match="100 levels"):
            body.parse(b"[" + nested + b"]")

    def test_many_brackets_side_by_side_or_in_text_are_not_deep(self) -> None:
        body.parse(b"[" + b",".join([b"[{}]"] * 500) + b"]")
        body.parse(b'"' + b"[" * 500 + b'"')

    @pytest.mark.parametrize("unusable", ["", "x" * 256, "line\nbreak", "nul\x00"])
    def test_a_text_that_cannot_be_an_event_type_is_none(self, unusable: str) -> None:
        assert body.event_type({"event": unusable, "type": "good"}) == "good"


class TestHeaders:
    def test_only_what_is_wanted_is_read_and_what_came_twice_is_told(self) -> None:
        given = [(b"x-event-type", b"a"), (b"cookie", b"secret"), (b"x-event-type", b"b"), (b"x-own", b"1")]
        assert headers.read(given) == ({b"x-event-type": b"a"}, {b"x-event-type"})
        assert headers.read(given[1:], {b"x-own"}) == ({b"x-own": b"1"}, ())

    def test_what_came_twice_is_refused_where_it_is_read(self) -> None:
        headers.refuse_repeated({b"accept", b"x-of-another-source"}, read=())
        for name, read in ((b"content-type", ()), (b"x-own", {b"x-own"})):
            with pytest.raises(Refusal, match="twice"):
                headers.refuse_repeated({name}, read=read)

    def test_json_as_most_declare_it_is_the_constant(self) -> None:
        assert headers.content_type({}) is headers.content_type({b"content-type": b"application/json"})

    @pytest.mark.parametrize(
        "traceparent",
        [b"", b"00-0-0-00", b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", b"\xff"],
    )
    def test_a_malformed_traceparent_is_left_out(self, traceparent: bytes) -> None:
        assert headers.traceparent({b"traceparent": traceparent}) == ""

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://a.example/",
            "//a.example/",
            "http://",
            "http://a.example:99999/",
            "http://a example/",
            "http://@a.example/",
            "https://a.example/\x7f",
            "javascript:alert(1)",
        ],
    )
    def test_what_cannot_be_posted_to_is_no_notify_url(self, url: str) -> None:
        with pytest.raises(Refusal) as refusal:
            headers.notify_url({b"x-notify-url": url.encode("latin-1")}, b"")
        assert url not in refusal.value.error


class TestFirstAnswers:
    KEY = ("orders", b"hash")

    def test_the_first_answer_stays(self) -> None:
        answers = FirstAnswers(window=timedelta(hours=24), limit=10)
        answers.record(self.KEY, answer("first", position=3))
        answers.record(self.KEY, answer("second", position=4))
        found = answers.find(self.KEY, NOW)
        assert found is not None
        assert found.event_id == "first"

    def test_a_record_that_turns_out_to_be_earlier_takes_its_place(self) -> None:
        answers = FirstAnswers(window=timedelta(hours=24), limit=10)
        answers.record(self.KEY, answer("ours", position=4))
        answers.record(self.KEY, answer("theirs", position=3))
        found = answers.find(self.KEY, NOW)
        assert found is not None
        assert found.event_id == "theirs"

    def test_a_key_is_free_again_after_the_window(self) -> None:
        answers = FirstAnswers(window=timedelta(hours=24), limit=10)
        answers.record(self.KEY, answer("old", age=timedelta(hours=24), position=3))
        assert answers.find(self.KEY, NOW) is None
        answers.record(self.KEY, answer("new", position=9))
        found = answers.find(self.KEY, NOW)
        assert found is not None
        assert found.event_id == "new"

    def test_it_stays_within_its_bounds_of_number_and_time(self) -> None:
        answers = FirstAnswers(window=timedelta(hours=24), limit=3)
        answers.record(("s", b"old"), answer("old", age=timedelta(hours=25)))
        for number in range(5):
            answers.record(("s", b"%d" % number), answer(str(number)))
        assert len(answers) == 3
        assert answers.find(("s", b"1"), NOW) is None
        assert answers.find(("s", b"4"), NOW) is not None


class TestWaitingRoom:
    def entry(self, body: bytes, key: str | None = None, deadline: float = 0.0) -> Entry:
        once = (OnceOnly.of_key("s", key, body),) if key else ()
        webhook = Webhook("s", "", NOW, "c", "application/json", body, once)
        return Entry(webhook, None, deadline, None)

    async def test_the_partitions_take_turns_and_busy_ones_are_left_out(self) -> None:
        room = WaitingRoom(3)
        room.add(self.entry(b"1"))
        assert [room.next_partition(busy=()) for _ in range(4)] == [0, 1, 2, 0]
        assert room.next_partition(busy={0, 1}) == 2
        assert room.next_partition(busy={0, 1, 2}) is None

    async def test_a_keyed_webhook_waits_for_its_own_partition(self) -> None:
        room = WaitingRoom(3)
        keyed, free = self.entry(b"1", key="k"), self.entry(b"2")
        room.add(free)
        room.add(keyed)
        own = keyed.webhook.pinned(3)
        assert own is not None
        group = room.take((own + 1) % 3, fits=lambda _: True)
        assert group.entries == [free]
        assert room.next_partition(busy={own}) is None
        assert room.next_partition(busy=()) == own
        assert room.take(own, fits=lambda _: True).entries == [keyed]
        assert not room

    async def test_what_does_not_fit_waits_in_its_order(self) -> None:
        room = WaitingRoom(1)
        entries = [self.entry(b"%d" % number) for number in range(4)]
        for entry in entries:
            room.add(entry)
        assert room.take(0, fits=lambda entry: entry is not entries[2]).entries == entries[:2]
        assert room.take(0, fits=lambda _: True).entries == entries[2:]

    async def test_what_waited_too_long_is_taken_out(self) -> None:
        room = WaitingRoom(2)
        old, keyed, young = (
            self.entry(b"1", deadline=1),
            self.entry(b"2", key="k", deadline=1),
            self.entry(b"3", deadline=5),
        )
        for entry in (old, keyed, young):
            room.add(entry)
        assert list(room.expired(now=2)) == [old, keyed]
        assert room.take(0, fits=lambda _: True).entries == [young]
        assert not room


@pytest.mark.parametrize("partitions", [1, 4, 7, 64])
def test_an_event_id_can_be_drawn_for_any_partition(partitions: int) -> None:
    for partition in range(partitions):
        drawn = event_id_in(partition, partitions)
        assert partition_of(drawn, partitions) == partition
        assert uuid.UUID(drawn).version == 7


def test_event_ids_are_uuids_of_version_7_that_differ_and_sort_by_time() -> None:
    drawn = [new_event_id() for _ in range(1_000)]
    assert len(set(drawn)) == len(drawn)
    assert {(uuid.UUID(event_id).version, uuid.UUID(event_id).variant) for event_id in drawn} == {
        (7, uuid.RFC_4122)
    }
    assert [event_id[:13] for event_id in drawn] == sorted(event_id[:13] for event_id in drawn)
