"""Spans of what is read from Kafka, around its handling from beginning to commit.

(The published instrumentation of aiokafka ends its span when it hands over the record, before anything is done with
it.)

A record whose trace is recorded gets a span of its own in that trace, and is handed on with that span in place of its
`traceparent`: so whatever its handler writes, copying the header as it always does, continues the trace. All records of
a transaction share one more span, in a trace of its own, with a link to each of them: how many, and for how long.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol

from aiokafka import ConsumerRecord

from sagahook.runtime import telemetry
from sagahook.runtime.batches import Batches, Handle
from sagahook.runtime.telemetry import Attributes, Span, Spans, is_recorded
from sagahook_schemas.envelope import Header

_LINKS = 128
"""Of one span, which is the specification's own limit."""


class Consuming(Protocol):
    """Around the handling of a batch. What is raised within says that nothing of it was kept."""

    def take(self, record: ConsumerRecord) -> ConsumerRecord:
        """The record for its handler. Its span ends when the batch does."""
        ...

    def __enter__(self) -> Consuming: ...

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None, /
    ) -> None: ...


def consuming(group: str, *, heads: bool = False) -> Consuming:
    """heads: whether records without a trace begin one. (Most topics hold housekeeping too.)"""
    spans = telemetry.spans
    return _UNTRACED if spans is None else _Traced(spans, group, heads=heads)


def linked(group: str, handle: Handle) -> Handle:
    """The handler of whole batches, each with a span that has a link to every record whose trace is recorded. What it
    asks the database for is that span's."""
    spans = telemetry.spans
    if spans is None:
        return handle

    async def traced(batches: Batches) -> None:
        with _Traced(spans, group, heads=False) as consumed:
            for batch in batches.values():
                for record in batch.records:
                    consumed.note(record)
            with consumed.current():
                await handle(batches)

    return traced


def traceparent_of(headers: Sequence[Header]) -> str:
    """ "" where there is none. Where our own records have one, it is among the last."""
    for name, value in reversed(headers):
        if name == "traceparent":
            return value.decode("ascii", "replace")
    return ""


class _Untraced:
    """Where nothing is traced."""

    def take(self, record: ConsumerRecord) -> ConsumerRecord:
        return record

    def __enter__(self) -> _Untraced:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_UNTRACED = _Untraced()


class _Traced:
    def __init__(self, spans: Spans, group: str, *, heads: bool) -> None:
        self._spans = spans
        self._group = group
        self._heads = heads
        self._began_ns = time.time_ns()
        self._count = 0
        self._links = 0
        self._batch: Span | None = None
        self._open: list[Span] = []

    def take(self, record: ConsumerRecord) -> ConsumerRecord:
        self._count += 1
        parent = traceparent_of(record.headers)
        if parent:
            if not is_recorded(parent):
                return record
            span = self._spans.begin(f"process {record.topic}", "consumer", parent, self._said(record))
            if span is None:
                return record
            self._link(record, parent)
        elif self._heads:
            parent, span = self._spans.head(
                f"process {record.topic}", "consumer", "", lambda: self._said(record)
            )
            if span is None:
                return _with_trace(record, parent)
            self._link(record, span.traceparent)
        else:
            return record
        if self._batch is not None:
            span.link(self._batch.traceparent)
        self._open.append(span)
        return _with_trace(record, span.traceparent)

    def note(self, record: ConsumerRecord) -> None:
        """One that gets no span of its own."""
        self._count += 1
        parent = traceparent_of(record.headers)
        if is_recorded(parent):
            self._link(record, parent)

    def current(self) -> AbstractContextManager[object]:
        return nullcontext() if self._batch is None else self._batch.current()

    def __enter__(self) -> _Traced:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._batch is not None:
            self._batch.add({"messaging.batch.message_count": self._count})
            self._open.append(self._batch)
        for span in self._open:
            if kind is not None:
                span.fail(kind.__name__)
            span.end()

    def _link(self, record: ConsumerRecord, traceparent: str) -> None:
        """From the batch to a record's trace."""
        if self._batch is None:
            said = _of_topic("batch", record.topic) | {"messaging.consumer.group.name": self._group}
            name = f"batch {record.topic}"
            self._batch = self._spans.batch(name, said, traceparent, self._began_ns)
        elif self._links < _LINKS:
            self._batch.link(traceparent)
        self._links += 1

    def _said(self, record: ConsumerRecord) -> Attributes:
        headers = dict(record.headers)
        said: dict[str, str | int | float | bool] = {
            **_of_topic("process", record.topic),
            "messaging.consumer.group.name": self._group,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
        }
        for name, header in _FROM_HEADERS:
            if header in headers:
                said[name] = headers[header].decode("utf-8", "replace")
        return said


_FROM_HEADERS = (
    ("messaging.message.id", "ce_id"),
    ("messaging.message.conversation_id", "ce_correlationid"),
    ("sagahook.saga.id", "ce_sagaid"),
    ("sagahook.message.type", "ce_type"),
)


def _of_topic(operation: str, topic: str) -> dict[str, str | int | float | bool]:
    """Semantic conventions for messaging spans. operation: `send`, or another, which is some kind of processing."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": "send" if operation == "send" else "process",
        "messaging.destination.name": topic,
    }


def sending(topic: str, parent: str, message_bytes: int, correlation_id: str) -> Span | None:
    """Of one message, until Kafka has it; None where nothing is recorded under the parent."""
    spans = telemetry.spans
    if spans is None or not is_recorded(parent):
        return None
    said = _of_topic("send", topic) | {
        "messaging.message.conversation_id": correlation_id,
        "messaging.message.body.size": message_bytes,
    }
    return spans.begin(f"send {topic}", "producer", parent, said)


def sent(span: Span, message_id: str, partition: int, offset: int | None) -> None:
    """Kafka has it. offset None: it did not say where."""
    said: dict[str, str | int | float | bool] = {
        "messaging.message.id": message_id,
        "messaging.destination.partition.id": str(partition),
    }
    if offset is not None:
        said["messaging.kafka.offset"] = offset
    span.add(said)
    span.end()


def _with_trace(record: ConsumerRecord, traceparent: str) -> ConsumerRecord:
    """A copy. (`dataclasses.replace` takes several times as long.)"""
    others = [(name, value) for name, value in record.headers if name != "traceparent"]
    return ConsumerRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        timestamp_type=record.timestamp_type,
        key=record.key,
        value=record.value,
        checksum=record.checksum,
        serialized_key_size=record.serialized_key_size,
        serialized_value_size=record.serialized_value_size,
        headers=(*others, ("traceparent", traceparent.encode())),
    )
