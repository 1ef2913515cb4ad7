"""What the projector writes into PostgreSQL, whatever the order in which it reads the log."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from orjson import loads

from sagahook.runtime.batches import OffsetsMoved, Unavailable
from sagahook.runtime.migrations import migrate
from sagahook_schemas.base import JsonValue
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliveryExhausted, DeliverySucceeded
from sagahook_schemas.steps import CompensationResolved, StepScheduled
from sagahook_schemas.webhooks import RouteError
from sagahook_tracker.adapters.partitions import partition_name
from sagahook_tracker.adapters.projection import Projection
from sagahook_tracker.adapters.queries import load_queries
from sagahook_tracker.adapters.rows import without_nul
from sagahook_tracker.adapters.schema import MIGRATIONS
from sagahook_tracker.domain.attributes import listed
from sagahook_tracker.handlers import project
from tests.projected_log import Database, batch_of, cut, log_of, open_database
from tests.tracker_log import T0, SagaLog, Written, audited, notified, received, routed

ABOUT = {
    "endpoint_id": "ep",
    "event_id": "s1/1/9",
    "event_type": "saga.completed",
    "saga_id": "s1",
    "correlation_id": "c1",
}


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        yield opened


def busy() -> list[Written]:
    """Webhooks that stand in every way, among them one that two sagas lie on two partitions of, one that is reprocessed
    and one that joins what another began."""
    about = {"reprocess": "command-1", "event_id": "e-again", "attributes": {"pr": 7}}
    again = SagaLog("s-again", run=2).started_with(**about).completed()
    return list(
        chain(
            [received(f"e{number}", f"c{number}") for number in range(12)],
            [
                received(name, "c")
                for name in ("e-two", "e-joins", "e-again", "e-ignored", "e-lost", "e-open")
            ],
            *(
                [
                    routed(f"e{number}", f"c{number}", f"s{number}"),
                    *(
                        SagaLog(f"s{number}").started(f"e{number}", f"c{number}").declined().written
                        if number % 3
                        else SagaLog(f"s{number}")
                        .started(f"e{number}", f"c{number}")
                        .done("a")
                        .completed()
                        .written
                    ),
                ]
                for number in range(12)
            ),
            [
                routed("e-two", "c", "s-one", "s-other"),
                routed("e-joins", "c", "s-one"),
                routed("e-again", "c", "s-again"),
            ],
            SagaLog("s-one")
            .started("e-two", "c")
            .done("a")
            .completed()
            .joined("e-joins", "c", "COMPLETED")
            .written,
            undone("s-other", "e-two").written,
            SagaLog("s-again").started("e-again", "c").declined().written,
            [routed("e-again", "c", "s-again", reprocess="command-1")],
            again.written,
            [routed("e-ignored", "c", reason="nobody wants it")],
            [
                routed(
                    "e-lost", "c", outcome="failed", errors=[RouteError(name="order", error="KeyError: id")]
                )
            ],
            [routed("e-open", "c", "s-open")],
            SagaLog("s-open")
            .started("e-open", "c")
            .scheduled("a")
            .failed_attempt("a", "Timeout")
            .retry("a", 2)
            .written,
            [failed_delivery(1, "d1"), failed_delivery(2, "d1"), failed_delivery(2, "d1"), exhausted("d1")],
            [failed_delivery(1, "d2"), delivered(2, "d2"), audited("a1"), audited("a1"), audited("a2")],
        )
    )


def undone(saga_id: str, event_id: str) -> SagaLog:
    """It failed, until an operator said that what was left behind is undone."""
    log = SagaLog(saga_id).started(event_id, "c").done("a").scheduled("b").failed_attempt("b", "Declined")
    log.compensating("b", "Declined", "a").scheduled("a", phase="compensation")
    log.failed_attempt("a", "Gone", phase="compensation").failed("b", "Declined", "a")
    log.add(CompensationResolved(step="a", how="retry", actor="ada"))
    return log.done("a", phase="compensation").rolled_back("b", "Declined")


def failed_delivery(attempt: int, delivery_id: str) -> Written:
    failed = DeliveryAttemptFailed(
        delivery_id=delivery_id, **ABOUT, attempt=attempt, error="503", next_attempt_at=T0
    )
    return notified(failed, attempt)


def delivered(attempt: int, delivery_id: str) -> Written:
    return notified(
        DeliverySucceeded(delivery_id=delivery_id, **ABOUT, attempt=attempt, status_code=200), attempt
    )


def exhausted(delivery_id: str) -> Written:
    return notified(DeliveryExhausted(delivery_id=delivery_id, **ABOUT, attempts=2, error="503"), 2)


async def test_rows_do_not_depend_on_the_order_of_partitions_and_the_size_of_batches(
    database: Database,
) -> None:
    log = log_of(busy())
    await database.project(log)
    expected = await database.everything()
    assert len(expected["history"]) > 100
    assert {table for table, rows in expected.items() if not rows} == {"definitions", "controls"}
    for seed in range(8):
        await database.clear()
        await database.project(log, random.Random(seed))
        assert await database.everything() == expected, f"seed {seed}"


async def test_rows_do_not_depend_on_who_projects_which_partition_beside_whom(database: Database) -> None:
    """Two projectors at once, each with some of the partitions: an event's rows lie in several."""
    log = log_of(busy())
    await database.project(log)
    expected = await database.everything()
    for seed in range(8):
        await database.clear()
        dice = random.Random(seed)
        shares: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        for place, records in log.items():
            shares[dice.randrange(2)][place] = records
        await asyncio.gather(*(database.project(share, random.Random(seed)) for share in shares))
        assert await database.everything() == expected, f"seed {seed}"


async def test_batches_that_come_again_change_nothing(database: Database) -> None:
    log = log_of(busy())
    projection = database.projection()
    for batches in list(cut(log, random.Random(1))):
        await project(batches, projection, database.refusals)
        before = await database.everything()
        with pytest.raises(OffsetsMoved):
            await project(batches, projection, database.refusals)
        assert await database.everything() == before


async def test_an_event_that_is_in_the_log_twice_changes_nothing(database: Database) -> None:
    """Also where it begins a run that is there, whether the run has ended or not."""
    saga = SagaLog("s1").started("e1", "c1").done("reserve").scheduled("charge").written
    ended = SagaLog("s2").started("e1", "c1").done("reserve").completed().written
    once = [received("e1", "c1"), routed("e1", "c1", "s1", "s2"), *saga, *ended]
    await database.project(log_of(once))
    expected = await database.everything()
    del expected["offsets"]
    for again in ([*saga, *ended], [*saga[:1], *ended[:1]], [*saga[2:], *ended[:2]]):
        await database.clear()
        await database.project(log_of(once))
        at = {place: len(records) for place, records in log_of(once).items()}
        longer = {
            place: batch_of(records, at[place], len(records))
            for place, records in log_of([*once, *again]).items()
            if len(records) > at[place]
        }
        await project(longer, database.projection(), database.refusals)
        found = await database.everything()
        del found["offsets"]
        assert found == expected


async def test_who_takes_partitions_back_goes_on_from_what_another_has_stored(database: Database) -> None:
    [(place, records)] = log_of(SagaLog("s1").started("e1", "c1").done("a", "b").completed().written).items()
    mine, other = database.projection(), database.projection()
    for first, (start, end) in ((mine, (0, 2)), (other, (2, 4)), (mine, (4, 6))):
        assert (await first.take_offsets([place])).get(place, 0) == start
        await project({place: batch_of(records, start, end)}, first, database.refusals)
    [run] = await database.rows("runs")
    assert (run["state"], run["sequence"]) == ("COMPLETED", 6)
    assert loads(run["completed_steps"]) == ["a", "b"]
    assert len(await database.rows("history")) == 6


async def test_runs_that_are_at_hand_are_not_written_into_views_that_took_the_place_of_theirs(
    database: Database, database_url: str
) -> None:
    """A rebuild has put right what an earlier version had folded wrongly, and nothing was written meanwhile."""
    [(place, records)] = log_of(SagaLog("s1").started("e1", "c1").done("a", "b").written).items()
    first, second = ({place: batch_of(records, at, at + 2)} for at in (0, 2))
    third = {place: batch_of(records, 4, 5)}
    serving, reading = database.projection(), database.projection()
    await project(first, serving, database.refusals)
    await migrate(database_url, "tracker_next", MIGRATIONS, written_for="tracker")
    fresh = Projection(database.pool, load_queries(schema="tracker_next"), schema="tracker_next")
    await project(first, fresh, database.refusals)
    await database.pool.execute("UPDATE tracker_next.runs SET user_id = 'as it is right'")
    await database.pool.execute(
        "ALTER SCHEMA tracker RENAME TO tracker_old; ALTER SCHEMA tracker_next RENAME TO tracker"
    )

    with pytest.raises(OffsetsMoved, match="a rebuild has put other views"):
        await project(second, serving, database.refusals)
    for projection, batches in ((serving, second), (reading, third)):
        await projection.take_offsets([place])
        await project(batches, projection, database.refusals)
    [run] = await database.rows("runs")
    assert (run["user_id"], run["sequence"]) == ("as it is right", 5)


async def test_what_is_kept_again_is_written_although_its_partition_was_dropped(database: Database) -> None:
    """Retention was shorter before the views were rebuilt."""
    [(place, records)] = log_of(SagaLog("s1").started("e1", "c1").done("a").written).items()
    projection = database.projection()
    await database.pool.execute(
        "INSERT INTO tracker.cutoffs VALUES ('history', $1), ('audit', $1)", T0 + timedelta(days=9)
    )
    await project({place: batch_of(records, 0, 1)}, projection, database.refusals)
    assert await database.rows("history") == []

    await database.pool.execute("DELETE FROM tracker.cutoffs")
    for table in ("history", "audit"):
        await database.pool.execute(f"DROP TABLE tracker.{partition_name(table, T0.date())}")
    rest = {place: batch_of(records, 1, 3)}
    with pytest.raises(Unavailable, match="a partition was dropped"):
        await project(rest, projection, database.refusals)
    await projection.take_offsets([place])
    await project(rest, projection, database.refusals)
    assert sorted(row["sequence"] for row in await database.rows("history")) == [2, 3]


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": {"n": 2**70}},
        {"context": {"n": 2**70}},
        {"version": 2**70},
        {"deadline_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
        {"deadline_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))},
    ],
    ids=["attributes", "context", "a column", "after the last year", "before the first year"],
)
async def test_a_value_that_no_column_holds_costs_its_own_record(
    database: Database, fields: dict[str, Any]
) -> None:
    good = SagaLog("s1").started("e1", "c1").completed()
    await database.project(log_of([*good.written, *SagaLog("s2").started_with(**fields).written]))
    assert [row["saga_id"] for row in await database.rows("runs")] == ["s1"]
    assert [reason.partition(":")[0] for reason in database.refusals.reasons] == ["PostgreSQL refused it"]


ATTRIBUTES: dict[str, JsonValue] = {
    "text": "a\0b, 'c' %I $1 \U0001f600",
    "empty": "",
    "long": "\U0001f600" * 300,
    "name " * 40: 1,
    "longer" * 40: 1,
    "true": True,
    "small": 1e-7,
    "large": 1e22,
    "whole": 7.0,
    "below": -0.0,
    "many": 2**63,
    "half": -0.5,
    "null": None,
    "list": [1],
    "object": {"a": 1},
}
"""Of every kind, and what SQL might stumble over."""


async def test_an_attribute_is_kept_by_the_word_that_lists_are_asked_for(database: Database) -> None:
    log = SagaLog("s1").started_with(attributes=ATTRIBUTES)
    sealed = SagaLog("s2").started_with(attributes={"$sealed": "sealed:1:…"})
    await database.project(log_of([*log.written, *sealed.written, *log.completed().written[1:]]))
    [run] = [row for row in await database.rows("runs") if row["saga_id"] == "s1"]
    told = [{**each._asdict(), "number": run["number"]} for each in listed(without_nul(ATTRIBUTES))]
    kept = await database.rows("attributes")
    assert {row["started_at"] for row in kept} == {run["started_at"]}
    found = [{name: row[name] for name in told[0]} for row in kept]
    assert sorted(found, key=itemgetter("attribute")) == sorted(told, key=itemgetter("attribute"))
    assert len(told) == len(ATTRIBUTES) - 4


async def test_runs_that_are_there_at_an_upgrade_are_found_by_their_attributes(
    database: Database, database_url: str
) -> None:
    logs = [SagaLog(f"s{n}").started_with(attributes=ATTRIBUTES | {"n": n}) for n in range(3)]
    await database.project(log_of([*chain(*(log.written for log in logs))]))
    before = await database.rows("attributes")
    await database.pool.execute("""
        DROP TABLE tracker.attributes;
        DROP FUNCTION tracker.add_attributes, tracker.remove_attributes, tracker.words_of CASCADE;
        CREATE INDEX runs_repository ON tracker.runs (number);
        UPDATE tracker.schema_version SET version_num = '0007'
    """)
    role = f"writer_{await database.pool.fetchval('SELECT current_database()')}"
    await database.pool.execute(f"CREATE ROLE {role}; GRANT SELECT, INSERT ON tracker.runs TO {role}")
    try:
        await migrate(database_url, "tracker", MIGRATIONS)
        rights = "SELECT has_table_privilege($1, 'tracker.attributes', $2)"
        assert [await database.pool.fetchval(rights, role, each) for each in ("INSERT", "DELETE")] == [
            True,
            False,
        ]
    finally:
        await database.pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert await database.rows("attributes") == before
    assert len(before) == 3 * 12


async def test_a_session_that_was_emptied_gets_its_function_again(database: Database) -> None:
    """As a pooler does between two that it lends one to."""
    [(place, records)] = log_of(SagaLog("s1").started("e1", "c1").done("a").written).items()
    projection = database.projection()
    await project({place: batch_of(records, 0, 1)}, projection, database.refusals)
    async with database.pool.acquire() as connection:
        await connection.execute("DISCARD TEMP")
    await project({place: batch_of(records, 1, 3)}, projection, database.refusals)
    assert [row["sequence"] for row in await database.rows("runs")] == [3]


async def test_a_role_that_may_make_no_functions_of_its_session_is_told_what_to_grant(
    database: Database, postgres_url: str
) -> None:
    name = await database.pool.fetchval("SELECT current_database()")
    await database.pool.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    await database.pool.execute(f"CREATE ROLE humble_{name} LOGIN PASSWORD 'humble'")
    await database.pool.execute(f"GRANT USAGE ON SCHEMA tracker TO humble_{name}")
    await database.pool.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA tracker TO humble_{name}")
    parts = urlsplit(postgres_url)
    url = parts._replace(
        netloc=f"humble_{name}:humble@{parts.hostname}:{parts.port}", path=f"/{name}"
    ).geturl()
    whole = SagaLog("s1").started("e1", "c1").scheduled("a").written
    await database.project(log_of(whole[:1]))  # makes the day's partitions
    before = await database.rows("offsets")
    [(place, records)] = log_of(whole).items()
    batches = {place: batch_of(records, 1, 2)}
    try:
        async with open_database(url) as humble:
            with pytest.raises(Unavailable, match=f"GRANT TEMPORARY ON DATABASE {name} TO humble_{name}"):
                await project(batches, humble.projection(), humble.refusals)
            assert await database.rows("offsets") == before
            await database.pool.execute(f"GRANT TEMPORARY ON DATABASE {name} TO humble_{name}")
            await project(batches, humble.projection(), humble.refusals)
        assert [row["next_offset"] for row in await database.rows("offsets")] == [2]
    finally:
        await database.pool.execute(f"DROP OWNED BY humble_{name}")
        await database.pool.execute(f"DROP ROLE humble_{name}")


async def test_every_event_stands_as_its_sagas_do(database: Database) -> None:
    await database.project(log_of(busy()), random.Random(3))
    standings = {row["event_id"]: row for row in await database.rows("standings")}
    assert {
        event_id: row["outcome"] for event_id, row in standings.items() if not event_id[1:].isdigit()
    } == {
        "e-two": "completed_with_failures",
        "e-joins": "completed",
        "e-again": "completed",
        "e-ignored": "ignored",
        "e-lost": "failed",
        "e-open": "processing",
    }
    assert [event_id for event_id, row in standings.items() if not row["processed"]] == ["e-open"]
    assert (standings["e-again"]["reprocessed"], standings["e-again"]["lost"]) == (1, 0)
    assert standings["e0"]["settled_at"] == T0 + timedelta(seconds=4)


async def test_what_is_known_before_the_webhook_itself_is_no_event_yet(database: Database) -> None:
    await database.project(
        log_of([routed("e1", "c1", "s1"), *SagaLog("s1").started("e1", "c1").completed().written])
    )
    [standing] = await database.rows("standings")
    assert (standing["number"], standing["outcome"], standing["processed"]) == (None, None, False)
    assert [row["kind"] for row in await database.rows("rollups")] == ["saga", "saga"]


async def test_the_rollups_count_the_rows_as_they_are(database: Database) -> None:
    await database.project(log_of(busy()), random.Random(4))
    told = {
        (row["kind"], row["outcome"]): (row["count"], row["total_ms"])
        for row in await database.pool.fetch(
            "SELECT kind, outcome, count, total_ms FROM tracker.rollups WHERE minute > '-infinity' AND count <> 0"
        )
    }
    counted = await database.pool.fetch("SELECT outcome, count(*) FROM tracker.standings GROUP BY outcome")
    assert {outcome: count for (kind, outcome), (count, _) in told.items() if kind == "webhook"} == dict(
        counted
    )
    runs = await database.pool.fetch("SELECT lower(state), count(*) FROM tracker.runs GROUP BY state")
    assert {outcome: count for (kind, outcome), (count, _) in told.items() if kind == "saga"} == dict(runs)
    since_ever = await database.pool.fetch(
        "SELECT kind, outcome, count, total_ms FROM tracker.rollups WHERE minute = '-infinity' AND count <> 0"
    )
    assert {(row["kind"], row["outcome"]): (row["count"], row["total_ms"]) for row in since_ever} == told


@pytest.mark.parametrize("last", ["webhook", "route", "saga", "ignored"])
async def test_those_who_wait_hear_when_a_webhook_is_processed_whatever_is_read_last(
    database: Database, last: str
) -> None:
    parts = {"webhook": [received("e1", "c1")]}
    if last == "ignored":
        parts["ignored"] = [routed("e1", "c1", reason="nobody wants it")]
    else:
        parts["route"] = [routed("e1", "c1", "s1")]
        parts["saga"] = SagaLog("s1").started("e1", "c1").completed().written
    heard: asyncio.Queue[list[str]] = asyncio.Queue()

    def hear(*told: Any) -> None:
        heard.put_nowait(loads(told[3])["ids"])

    async with database.pool.acquire() as connection:
        await connection.add_listener("anybody", hear)
        await database.project(log_of(chain(*(part for name, part in parts.items() if name != last))))
        before = await heard.get()
        await database.project(log_of(parts[last]))
        assert await heard.get() == ["c1"]
        await connection.remove_listener("anybody", hear)
    # The saga's end by itself, for who waits for that.
    assert before == (["c1"] if last in ("webhook", "route") else [])


async def test_history_has_each_event_and_how_the_run_stood_after_it(database: Database) -> None:
    log = SagaLog("s1").started("e1", "c1", secret="s3cret").done("reserve").joined("e2", "c2").written
    await database.project(log_of(log))
    history = await database.pool.fetch("SELECT * FROM tracker.history ORDER BY number")
    assert [(row["type"], row["status"], row["step"], row["progress"]) for row in history] == [
        ("saga.started", "running", None, 0.0),
        ("step.scheduled", "running", "reserve", 0.0),
        ("step.completed", "running", "reserve", 1 / 3),
        ("saga.joined", "running", None, 1 / 3),
    ]
    assert history[1]["metadata"] == '{"phase":"action","attempt":1}'
    assert [row["correlation_id"] for row in history] == [None, None, None, "c2"]
    assert all("s3cret" not in row["metadata"] for row in history)


async def test_history_is_kept_as_long_and_of_each_run_as_much_as_was_said(database: Database) -> None:
    log = log_of(SagaLog("s1").started("e1", "c1").done(*(f"step-{number}" for number in range(6))).written)
    cutoff = "INSERT INTO tracker.cutoffs (kind, before, rows) VALUES ('history', $1, $2)"
    await database.pool.execute(cutoff, T0 + timedelta(seconds=11), 5)
    await database.project(log, random.Random(5))
    assert [row["sequence"] for row in await database.rows("history")] == [11, 12, 13]
    await database.pool.execute("DELETE FROM tracker.cutoffs")
    await database.clear()
    await database.pool.execute(cutoff, datetime(1970, 1, 1, tzinfo=UTC), 5)
    await database.project(log, random.Random(6))
    assert sorted(row["sequence"] for row in await database.rows("history")) == [9, 10, 11, 12, 13]


async def test_an_attempt_is_one_row_from_its_scheduling_to_its_outcome(database: Database) -> None:
    log = SagaLog("s1").started("e1", "c1").scheduled("charge").failed_attempt("charge", "Timeout\0")
    log.retry("charge", 2).scheduled("charge", attempt=2)
    await database.project(log_of(log.written), random.Random(7))
    rows = await database.pool.fetch("SELECT * FROM tracker.attempts ORDER BY attempt")
    first = T0 + timedelta(seconds=2)
    assert [(row["attempt"], row["status"], row["started_at"], row["error"]) for row in rows] == [
        (1, "failed", first, "Timeout\N{REPLACEMENT CHARACTER}"),
        (2, "running", first + timedelta(seconds=3), None),
    ]
    assert [row["completed_at"] for row in rows] == [first + timedelta(seconds=1), None]


async def test_a_delivery_is_told_by_its_newest_attempt_however_often_that_is_said(
    database: Database,
) -> None:
    told = [failed_delivery(1, "d"), failed_delivery(2, "d"), exhausted("d")]
    await database.project(log_of([*told, *told, *told[:1]]), random.Random(8))
    [delivery] = await database.rows("deliveries")
    assert (delivery["status"], delivery["attempts"], delivery["error"]) == ("exhausted", 2, "503")
    assert (delivery["first_at"], delivery["updated_at"]) == (
        T0 + timedelta(seconds=1),
        T0 + timedelta(seconds=2),
    )
    assert [row["what"] for row in await database.rows("delivery_attempts")] == [
        "attempt_failed",
        "attempt_failed",
        "exhausted",
    ]


async def test_one_record_that_postgresql_cannot_hold_is_refused_and_the_others_are_kept(
    database: Database,
) -> None:
    incompressible = "".join(random.Random(9).choices("0123456789abcdef", k=9_000))
    endless = SagaLog("s2").started("e2", "c2").scheduled(incompressible)
    good = SagaLog("s1").started("e1", "c1").completed()
    await database.project(
        log_of([*good.written, *endless.written, audited("a", at=datetime.max.replace(tzinfo=UTC))])
    )
    assert [row["state"] for row in await database.rows("runs")] == ["COMPLETED", "EXECUTING"]
    assert sorted(reason.partition(":")[0] for reason in database.refusals.reasons) == [
        "PostgreSQL refused it",
        "its time 9999-12-31 23",
    ]


async def test_a_run_that_waits_behind_a_pause_is_held_until_it_is_let_go(database: Database) -> None:
    log = SagaLog("s1").started_with(held=1)
    await database.project(log_of(log.written))
    assert [(row["held"], row["status"]) for row in await database.rows("runs")] == [(True, "pending")]
    log.add(StepScheduled(step="a", phase="action", attempt=1, idempotency_key="k", times_out_at=T0))
    await database.clear()
    await database.project(log_of(log.written))
    assert [(row["held"], row["status"]) for row in await database.rows("runs")] == [(False, "running")]
