"""How many sagas of each source succeeded, minute by minute: faust-streaming, windows over a table.

    KAFKA=localhost:9092 python -m sagahook_consuming.success_rates worker --web-port 6066
    curl localhost:6066/rates/

Environment: KAFKA, PREFIX (`sagahook`), PARTITIONS (4, as `sagahook topics list` says), COPIES (1) of the topics that
faust makes, SESSION_TIMEOUT (60 s) after which a worker that died is replaced.

A saga's source stands in its first event alone, and its outcome in its last. Both have the saga's id as their key, so
that one worker sees both, in order: the first opens a run, the last closes and counts it. A record that comes twice
finds its run closed, and counts nothing.
"""

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta

from faust import App
from faust.types import StreamT
from faust.web import Request, Response, View

from sagahook_consuming.faust_transport import TransactionalLog

PREFIX = os.environ.get("PREFIX", "sagahook")
PARTITIONS = int(os.environ.get("PARTITIONS", "4"))
WINDOW, KEPT = timedelta(minutes=1), timedelta(days=1)

STARTED = "sagahook.saga.started.v1"
SUCCEEDED = {
    "sagahook.saga.completed.v1": True,
    "sagahook.saga.rolled_back.v1": False,
    "sagahook.saga.failed.v1": False,
}

app = App(
    f"{PREFIX}-success-rates",
    broker=f"kafka://{os.environ.get('KAFKA', 'localhost:9092')}",
    store="memory://",
    processing_guarantee="exactly_once",  # and so it reads at read_committed
    topic_partitions=PARTITIONS,
    broker_session_timeout=float(os.environ.get("SESSION_TIMEOUT", "60")),
    broker_heartbeat_interval=1.0,
    topic_replication_factor=int(os.environ.get("COPIES", "1")),
)
app.transport = TransactionalLog(app.conf.broker_consumer, app)

events = app.topic(f"{PREFIX}.saga.events", key_serializer="raw", value_serializer="raw")
open_runs = app.Table("open-runs", help="The source of each run that has not ended.")
rates = app.Table(
    "rates", default=lambda: {"succeeded": 0, "failed": 0}, help="By source and partition."
).tumbling(WINDOW, expires=KEPT)


@app.agent(events)
async def count(stream: StreamT[bytes]) -> None:
    async for event in stream.events():
        headers = {name: value.decode() for name, value in event.headers.items()}
        kind = headers["ce_type"]
        if kind not in SUCCEEDED and kind != STARTED:
            continue  # new types come at any time
        run = f"{headers['ce_sagaid']}/{headers['ce_sagarun']}"
        if kind == STARTED:
            open_runs[run] = json.loads(event.value)["source"]
        elif source := open_runs.pop(run, None):
            # A row for each partition: any worker may own it, and a row has one owner.
            row = f"{source}/{event.message.partition}"
            window = rates[row].current(event)
            window["succeeded" if SUCCEEDED[kind] else "failed"] += 1
            rates[row] = window


@app.page("/rates/")
async def show(web: View, request: Request) -> Response:
    """Of the partitions that this worker owns: `[{source, minute, succeeded, failed, rate}]`."""
    actives = app.assignor.assigned_actives()
    owned = {str(place.partition) for place in actives if place.topic in events.topics}
    found: dict[tuple[str, float], Counter[str]] = {}
    for (row, (begin, _)), window in rates.table.items():
        source, _, partition = row.rpartition("/")
        if partition in owned:  # what was, or may become, another's is at hand too
            found.setdefault((source, begin), Counter()).update(window)
    return web.json([told(source, begin, counted) for (source, begin), counted in sorted(found.items())])


def told(source: str, begin: float, counted: Counter[str]) -> dict[str, object]:
    minute = datetime.fromtimestamp(begin, UTC).isoformat()
    return {"source": source, "minute": minute, **counted, "rate": counted["succeeded"] / counted.total()}


if __name__ == "__main__":
    app.main()
