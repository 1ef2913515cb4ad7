# fmt: off
# ruff: noqa: E501
"""What the status API can be asked. `make schemas` makes this from schemas/openapi/tracker.json."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from sagahook.client import models
from sagahook.client.calls import Call, Operation, path


def erase(
    *,
    actor: str,
    source: str,
    reason: str | None = None,
    subject: str | None = None,
) -> Call[models.Erased]:
    """For ever: nobody can read it again, in the log or in the views. Its sagas that run are suspended."""
    return Call(
        "POST",
        "/api/v1/erasure",
        answer=models.Erased,
        body={
            "actor": actor,
            "reason": reason,
            "source": source,
            "subject": subject,
        },
    )


def rewrap(
    *,
    actor: str,
    reason: str | None = None,
) -> Call[models.Rewrapped]:
    """Seal every data key under the first key of SAGAHOOK_ERASURE_KEY, so that the others can be taken out."""
    return Call(
        "POST",
        "/api/v1/erasure/keys:rewrap",
        answer=models.Rewrapped,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def webhook_status(
    source: str,
    correlation_id: str,
    *,
    wait: float | None = None,
) -> Call[models.WebhookStatus]:
    """What became of everything that `source` sent under the correlation id."""
    return Call(
        "GET",
        path("/webhooks/{source}/status/{correlation_id}", source=source, correlation_id=correlation_id),
        answer=models.WebhookStatus,
        query={
            "wait": wait,
        },
    )


def saga_status(
    saga_id: str,
    *,
    wait: float | None = None,
) -> Call[models.SagaDetails]:
    """The newest run of a saga."""
    return Call(
        "GET",
        path("/webhooks/status/{saga_id}", saga_id=saga_id),
        answer=models.SagaDetails,
        query={
            "wait": wait,
        },
    )


def saga_diagram(
    saga_id: str,
    *,
    format: Literal["mermaid", "svg"] | None = None,
) -> Call[str]:
    """The definition of the saga's newest run, with the trail that it took."""
    return Call(
        "GET",
        path("/sagas/{saga_id}/diagram", saga_id=saga_id),
        answer=str,
        query={
            "format": format,
        },
    )


def definition_diagram(
    name: str,
    *,
    version: int | None = None,
    format: Literal["mermaid", "svg"] | None = None,
) -> Call[str]:
    """The definition as it is deployed."""
    return Call(
        "GET",
        path("/definitions/{name}/diagram", name=name),
        answer=str,
        query={
            "version": version,
            "format": format,
        },
    )


def list_sagas(
    *,
    state: list[models.State] | None = None,
    name: str | None = None,
    version: int | None = None,
    cause: str | None = None,
    source: str | None = None,
    attribute: list[str] | None = None,
    started_before: datetime | None = None,
    started_after: datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[models.SagaPage]:
    """The sagas that match everything that is asked for."""
    return Call(
        "GET",
        "/api/v1/sagas",
        answer=models.SagaPage,
        query={
            "state": state,
            "name": name,
            "version": version,
            "cause": cause,
            "source": source,
            "attribute": attribute,
            "started_before": started_before,
            "started_after": started_after,
            "limit": limit,
            "cursor": cursor,
        },
    )


def list_definitions() -> Call[models.DefinitionsBody]:
    """Every saga that is deployed, and whether it is paused."""
    return Call(
        "GET",
        "/api/v1/definitions",
        answer=models.DefinitionsBody,
    )


def list_sources() -> Call[models.SourcesBody]:
    """Every source whose webhooks start something, and whether it is paused."""
    return Call(
        "GET",
        "/api/v1/sources",
        answer=models.SourcesBody,
    )


def pause_or_resume_definition(
    name: str,
    what: Literal["pause", "resume"],
    *,
    actor: str,
    reason: str | None = None,
) -> Call[models.ControlAccepted]:
    """`pause`: its sagas that start from now on, of any version, are held; those that run go on. `resume`:
    what was held is let go, in the order of its start.
    """
    return Call(
        "POST",
        path("/api/v1/definitions/{name}:{what}", name=name, what=what),
        answer=models.ControlAccepted,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def pause_or_resume_source(
    name: str,
    what: Literal["pause", "resume"],
    *,
    actor: str,
    reason: str | None = None,
) -> Call[models.ControlAccepted]:
    """`pause`: its webhooks are accepted, and the sagas that they start are held. `resume`: as above."""
    return Call(
        "POST",
        path("/api/v1/sources/{name}:{what}", name=name, what=what),
        answer=models.ControlAccepted,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def correlation_timeline(
    correlation_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    excerpt: int | None = None,
    wait: float | None = None,
) -> Call[models.TimelineBody]:
    """Everything that happened under a correlation id."""
    return Call(
        "GET",
        path("/api/v1/correlations/{correlation_id}/timeline", correlation_id=correlation_id),
        answer=models.TimelineBody,
        query={
            "limit": limit,
            "cursor": cursor,
            "excerpt": excerpt,
            "wait": wait,
        },
    )


def event_timeline(
    event_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    excerpt: int | None = None,
    wait: float | None = None,
) -> Call[models.TimelineBody]:
    """What became of one webhook. Its integer id and its sender's own id are taken too."""
    return Call(
        "GET",
        path("/api/v1/webhooks/events/{event_id}/timeline", event_id=event_id),
        answer=models.TimelineBody,
        query={
            "limit": limit,
            "cursor": cursor,
            "excerpt": excerpt,
            "wait": wait,
        },
    )


def saga_timeline(
    saga_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    excerpt: int | None = None,
    wait: float | None = None,
) -> Call[models.TimelineBody]:
    """All runs of a saga, with the webhooks that asked for them and the sagas below."""
    return Call(
        "GET",
        path("/api/v1/sagas/{saga_id}/timeline", saga_id=saga_id),
        answer=models.TimelineBody,
        query={
            "limit": limit,
            "cursor": cursor,
            "excerpt": excerpt,
            "wait": wait,
        },
    )


def timeline_of_anything(
    id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    excerpt: int | None = None,
    wait: float | None = None,
) -> Call[models.TimelineBody]:
    """By whatever id there is: of a saga, an event, an outbound delivery, or a correlation id."""
    return Call(
        "GET",
        path("/api/v1/timelines/{id}", id=id),
        answer=models.TimelineBody,
        query={
            "limit": limit,
            "cursor": cursor,
            "excerpt": excerpt,
            "wait": wait,
        },
    )


def list_events(
    *,
    limit: int | None = None,
    offset: int | None = None,
    cursor: str | None = None,
    event_type: str | None = None,
    processed: bool | None = None,
    source: str | None = None,
    correlation_id: str | None = None,
    delivery_id: str | None = None,
    task_id: str | None = None,
    received_before: datetime | None = None,
    received_after: datetime | None = None,
) -> Call[list[models.EventSummary]]:
    """Those that match everything that is asked for, the newest first. The header `Link` says where the next
    page is.
    """
    return Call(
        "GET",
        "/api/v1/webhooks/events",
        answer=list[models.EventSummary],
        query={
            "limit": limit,
            "offset": offset,
            "cursor": cursor,
            "event_type": event_type,
            "processed": processed,
            "source": source,
            "correlation_id": correlation_id,
            "delivery_id": delivery_id,
            "task_id": task_id,
            "received_before": received_before,
            "received_after": received_after,
        },
    )


def get_event(
    id: str,
) -> Call[models.EventDetails]:
    """The event with its body, which is read from the log."""
    return Call(
        "GET",
        path("/api/v1/webhooks/events/{id}", id=id),
        answer=models.EventDetails,
    )


def reprocess_event(
    id: str,
    *,
    actor: str | None = None,
    reason: str | None = None,
) -> Call[models.ReprocessBody]:
    """Ask its triggers again, and run each saga that they ask for once more, as a new run."""
    return Call(
        "POST",
        path("/api/v1/webhooks/events/{id}/reprocess", id=id),
        answer=models.ReprocessBody,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def list_tasks(
    *,
    limit: int | None = None,
    offset: int | None = None,
    cursor: str | None = None,
    status: models.TaskStatus | None = None,
    task_type: str | None = None,
    repository: str | None = None,
    correlation_id: str | None = None,
    event_id: str | None = None,
    attribute: list[str] | None = None,
) -> Call[list[models.TaskSummary]]:
    """Those that match everything that is asked for, by their newest run, the newest first. The header `Link`
    says where the next page is.
    """
    return Call(
        "GET",
        "/api/v1/tasks",
        answer=list[models.TaskSummary],
        query={
            "limit": limit,
            "offset": offset,
            "cursor": cursor,
            "status": status,
            "task_type": task_type,
            "repository": repository,
            "correlation_id": correlation_id,
            "event_id": event_id,
            "attribute": attribute,
        },
    )


def get_task(
    task_id: str,
) -> Call[models.TaskDetails]:
    """The newest run of the task, with every attempt. Of an id that stands for several, the first."""
    return Call(
        "GET",
        path("/api/v1/tasks/{task_id}", task_id=task_id),
        answer=models.TaskDetails,
    )


def retry_task(
    task_id: str,
    *,
    actor: str | None = None,
    reason: str | None = None,
) -> Call[models.RetryBody]:
    """Run it again from the beginning, as a new run."""
    return Call(
        "POST",
        path("/api/v1/tasks/{task_id}/retry", task_id=task_id),
        answer=models.RetryBody,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def list_recent_events(
    *,
    hours: float | None = None,
) -> Call[models.RecentEvents]:
    """What happened to any task, at most the last hundred events."""
    return Call(
        "GET",
        "/api/v1/status/events/recent",
        answer=models.RecentEvents,
        query={
            "hours": hours,
        },
    )


def get_task_status(
    task_id: str,
    *,
    wait: float | None = None,
) -> Call[models.TaskStanding]:
    """How far it is."""
    return Call(
        "GET",
        path("/api/v1/status/{task_id}", task_id=task_id),
        answer=models.TaskStanding,
        query={
            "wait": wait,
        },
    )


def get_task_history(
    task_id: str,
    *,
    hours: float | None = None,
    limit: int | None = None,
) -> Call[models.TaskHistory]:
    """What happened to it. The views keep the last events of some days; the log has them all."""
    return Call(
        "GET",
        path("/api/v1/status/{task_id}/history", task_id=task_id),
        answer=models.TaskHistory,
        query={
            "hours": hours,
            "limit": limit,
        },
    )


def get_metrics() -> Call[models.Metrics]:
    """Since ever, as things are now: a task that was retried and succeeded has succeeded."""
    return Call(
        "GET",
        "/api/v1/metrics",
        answer=models.Metrics,
    )


def get_stats() -> Call[models.Stats]:
    """What came in and what failed within the last 24 hours."""
    return Call(
        "GET",
        "/api/v1/admin/stats",
        answer=models.Stats,
    )


def clean_up_views() -> Call[models.CleanupBody]:
    """Let go now of what is older than it is to be kept, instead of at the next time."""
    return Call(
        "POST",
        "/api/v1/admin/cleanup",
        answer=models.CleanupBody,
        body={},
    )


def list_stuck(
    *,
    kind: list[Literal["failed", "suspended", "overdue", "held"]] | None = None,
    name: str | None = None,
    limit: int | None = None,
) -> Call[models.StuckBody]:
    """Sagas that wait for a person or should have gone on, webhooks that wait the longest, dead letters."""
    return Call(
        "GET",
        "/api/v1/stuck",
        answer=models.StuckBody,
        query={
            "kind": kind,
            "name": name,
            "limit": limit,
        },
    )


def list_dead_letters() -> Call[models.DeadLetterTopicsBody]:
    """The dead-letter topics, the fullest first."""
    return Call(
        "GET",
        "/api/v1/dead-letters",
        answer=models.DeadLetterTopicsBody,
    )


def read_dead_letters(
    topic: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[models.DeadLettersBody]:
    """What consumers could not read or refused, and why; without secrets."""
    return Call(
        "GET",
        path("/api/v1/dead-letters/{topic}", topic=topic),
        answer=models.DeadLettersBody,
        query={
            "limit": limit,
            "cursor": cursor,
        },
    )


def cancel_saga(
    saga_id: str,
    *,
    actor: str,
    reason: str | None = None,
) -> Call[models.CommandAccepted]:
    """Undo what was done."""
    return Call(
        "POST",
        path("/api/v1/sagas/{saga_id}:cancel", saga_id=saga_id),
        answer=models.CommandAccepted,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def retry_saga(
    saga_id: str,
    *,
    actor: str,
    reason: str | None = None,
) -> Call[models.CommandAccepted]:
    """Go on with a suspended saga; run one that was rolled back or failed again."""
    return Call(
        "POST",
        path("/api/v1/sagas/{saga_id}:retry", saga_id=saga_id),
        answer=models.CommandAccepted,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def signal_saga(
    saga_id: str,
    name: str,
    *,
    actor: str,
    reason: str | None = None,
    signal_id: str | None = None,
    payload: JsonValue | None = None,
) -> Call[models.CommandAccepted]:
    """Tell the saga something that one of its steps waits for, or will."""
    return Call(
        "POST",
        path("/api/v1/sagas/{saga_id}:signal/{name}", saga_id=saga_id, name=name),
        answer=models.CommandAccepted,
        body={
            "actor": actor,
            "reason": reason,
            "signal_id": signal_id,
            "payload": payload,
        },
    )


def migrate_saga(
    saga_id: str,
    *,
    actor: str,
    version: int,
    reason: str | None = None,
) -> Call[models.CommandAccepted]:
    """Go on under another version of the definition."""
    return Call(
        "POST",
        path("/api/v1/sagas/{saga_id}:migrate", saga_id=saga_id),
        answer=models.CommandAccepted,
        body={
            "actor": actor,
            "reason": reason,
            "version": version,
        },
    )


def resolve_compensation(
    saga_id: str,
    step: str,
    how: Literal["retry", "skip", "resolve"],
    *,
    actor: str,
    reason: str | None = None,
) -> Call[models.CommandAccepted]:
    """What becomes of a compensation that failed for good: `retry` it, `skip` it (its effect is left behind),
    or `resolve` it (it was undone by hand).
    """
    return Call(
        "POST",
        path("/api/v1/sagas/{saga_id}/compensations/{step}:{how}", saga_id=saga_id, step=step, how=how),
        answer=models.CommandAccepted,
        body={
            "actor": actor,
            "reason": reason,
        },
    )


def act_on_sagas(
    *,
    actor: str,
    action: Literal["cancel", "retry", "signal", "migrate", "retry_compensation", "skip_compensation", "resolve_compensation"],
    filter: models.FilterBody,
    reason: str | None = None,
    confirm: int | None = None,
    signal: str | None = None,
    payload: JsonValue | None = None,
    version: int | None = None,
    step: str | None = None,
) -> Call[models.BulkAnswer]:
    """Without `confirm` a preview (200); with the preview's count there, and as long as it holds, the act
    (202).
    """
    return Call(
        "POST",
        "/api/v1/sagas:bulk",
        answer=models.BulkAnswer,
        body={
            "actor": actor,
            "reason": reason,
            "action": action,
            "filter": filter,
            "confirm": confirm,
            "signal": signal,
            "payload": payload,
            "version": version,
            "step": step,
        },
    )


def list_audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    outcome: Literal["done", "refused"] | None = None,
    service: str | None = None,
    target: str | None = None,
    client: str | None = None,
    before: datetime | None = None,
    after: datetime | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[models.AuditPage]:
    """What operators did, and which calls were refused, by whatever matches everything that is asked for."""
    return Call(
        "GET",
        "/api/v1/audit",
        answer=models.AuditPage,
        query={
            "actor": actor,
            "action": action,
            "outcome": outcome,
            "service": service,
            "target": target,
            "client": client,
            "before": before,
            "after": after,
            "limit": limit,
            "cursor": cursor,
        },
    )


class Operations:
    """Each as a method of a client."""

    erase = Operation(erase)
    rewrap = Operation(rewrap)
    webhook_status = Operation(webhook_status)
    saga_status = Operation(saga_status)
    saga_diagram = Operation(saga_diagram)
    definition_diagram = Operation(definition_diagram)
    list_sagas = Operation(list_sagas)
    list_definitions = Operation(list_definitions)
    list_sources = Operation(list_sources)
    pause_or_resume_definition = Operation(pause_or_resume_definition)
    pause_or_resume_source = Operation(pause_or_resume_source)
    correlation_timeline = Operation(correlation_timeline)
    event_timeline = Operation(event_timeline)
    saga_timeline = Operation(saga_timeline)
    timeline_of_anything = Operation(timeline_of_anything)
    list_events = Operation(list_events)
    get_event = Operation(get_event)
    reprocess_event = Operation(reprocess_event)
    list_tasks = Operation(list_tasks)
    get_task = Operation(get_task)
    retry_task = Operation(retry_task)
    list_recent_events = Operation(list_recent_events)
    get_task_status = Operation(get_task_status)
    get_task_history = Operation(get_task_history)
    get_metrics = Operation(get_metrics)
    get_stats = Operation(get_stats)
    clean_up_views = Operation(clean_up_views)
    list_stuck = Operation(list_stuck)
    list_dead_letters = Operation(list_dead_letters)
    read_dead_letters = Operation(read_dead_letters)
    cancel_saga = Operation(cancel_saga)
    retry_saga = Operation(retry_saga)
    signal_saga = Operation(signal_saga)
    migrate_saga = Operation(migrate_saga)
    resolve_compensation = Operation(resolve_compensation)
    act_on_sagas = Operation(act_on_sagas)
    list_audit = Operation(list_audit)
