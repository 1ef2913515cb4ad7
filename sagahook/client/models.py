# fmt: off
# ruff: noqa: E501
"""What the status API answers. `make schemas` makes this from schemas/openapi/tracker.json."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, JsonValue

from sagahook.client.model import OPEN, Model

SagaStatus = Annotated[Literal["pending", "executing", "compensating", "completed", "failed", "suspended"], OPEN]
State = Annotated[Literal["PENDING", "EXECUTING", "COMPENSATING", "COMPLETED", "ROLLED_BACK", "FAILED", "SUSPENDED"], OPEN]
Status = Annotated[Literal["queued", "processing", "triggered", "completed", "completed_with_failures", "failed", "ignored"], OPEN]
StepStatus = Annotated[Literal["preparing", "running", "waiting", "retrying", "completed", "skipped", "failed", "cancelled", "compensating", "compensated", "compensation_failed"], OPEN]
TaskStatus = Annotated[Literal["pending", "running", "completed", "failed"], OPEN]


class ActBody(Model):
    what: str
    at: str
    actor: str
    reason: str
    why: str | None = None
    command_id: str | None = None


class AuditEntry(Model):
    audit_id: str
    at: AwareDatetime
    until: AwareDatetime | None = None
    count: int
    service: str
    action: str
    target: str
    outcome: Annotated[Literal["done", "refused"], OPEN]
    actor: str
    role: str
    reason: str
    client: str
    correlation_id: str


class AuditPage(Model):
    entries: list[AuditEntry]
    next_cursor: str | None = None


class BulkAnswer(Model):
    count: int
    sample: list[str]
    bulk_id: str | None = None


class CleanupBody(Model):
    status: Literal["cleanup_triggered"]
    task_id: str


class CommandAccepted(Model):
    command_id: str
    saga_id: str


class ControlAccepted(Model):
    command_id: str
    kind: Annotated[Literal["definition", "source"], OPEN]
    name: str
    paused: bool


class Counts(Model):
    failed: int
    suspended: int
    overdue: int
    held: int
    dead_letters: int | None = None
    oldest_unprocessed_seconds: float | None = None
    projection_lag: int | None = None


class DeadLetterBody(Model):
    partition: int
    offset: int
    at: AwareDatetime
    key: str | None = None
    reason: str
    consumer: str
    source: str
    headers: dict[str, JsonValue]
    size: int
    value: JsonValue
    excerpt: str | None = None
    redriven_at: AwareDatetime | None = None


class DeadLetterTopicsBody(Model):
    topics: list[DeadTopicBody]


class DeadLettersBody(Model):
    topic: str
    letters: list[DeadLetterBody]
    next_cursor: str | None = None


class DeadTopicBody(Model):
    topic: str
    of: str
    count: int
    exact: bool
    oldest_at: AwareDatetime | None = None


class DefinitionSummary(Model):
    paused: bool
    actor: str | None = None
    reason: str | None = None
    set_at: AwareDatetime | None = None
    name: str
    versions: list[int]
    deployed_at: AwareDatetime | None = None
    sources: list[str]


class DefinitionsBody(Model):
    definitions: list[DefinitionSummary]


class DeliveryBody(Model):
    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    status: str
    attempts: int
    status_code: int | None = None
    error: str | None = None
    next_attempt_at: AwareDatetime | None = None


class EntryBody(Model):
    id: str
    at: AwareDatetime
    type: str
    correlation_id: str
    event_id: str | None = None
    saga_id: str | None = None
    run: int | None = None
    sequence: int | None = None
    name: str | None = None
    step: str | None = None
    phase: Annotated[Literal["action", "compensation", "prepare"], OPEN] | None = None
    attempt: int | None = None
    delivery_id: str | None = None
    status: str | None = None
    message: str | None = None
    error: str | None = None
    duration_ms: float | None = None
    waited_ms: float | None = None
    trace_id: str | None = None
    traceparent: str | None = None
    caused_by: list[str]
    details: dict[str, JsonValue]
    payload: PayloadBody | None = None


class Erased(Model):
    erased: int


class ErrorRates(Model):
    failed_webhooks_24h: int
    failed_tasks_24h: int
    webhook_error_rate: float
    task_error_rate: float


class EventDetails(Model):
    id: int
    delivery_id: str | None = None
    event_type: str
    processed: bool
    created_at: AwareDatetime
    error_message: str | None = None
    event_id: str
    source: str
    correlation_id: str
    payload: JsonValue
    payload_encoding: Annotated[Literal["json", "text", "base64"], OPEN] | None = None
    headers: dict[str, str] | None = None
    processing_started_at: AwareDatetime | None = None
    processing_completed_at: AwareDatetime | None = None
    retry_count: int
    updated_at: AwareDatetime
    content_type: str | None = None
    size: int | None = None
    task_id: str | None = None
    task_ids: list[str]
    missing: dict[str, str]


class EventSummary(Model):
    id: int
    delivery_id: str | None = None
    event_type: str
    processed: bool
    created_at: AwareDatetime
    error_message: str | None = None
    event_id: str
    source: str
    correlation_id: str


class Execution(Model):
    """One attempt of a step."""

    id: int
    execution_id: str
    status: str
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    duration_ms: int | None = None
    error_message: str | None = None
    run: int
    step: str
    phase: Annotated[Literal["action", "compensation", "prepare"], OPEN]
    attempt: int
    participant: str | None = None


class FilterBody(Model):
    """Each saga counts by its newest run."""

    state: State | list[State] | None = None
    name: str | None = None
    version: int | None = None
    cause: str | None = None
    attributes: dict[str, JsonValue] | None = None
    source: str | None = None
    started_before: AwareDatetime | None = None
    started_after: AwareDatetime | None = None


class HistoryEntry(Model):
    timestamp: AwareDatetime
    status: TaskStatus
    progress: float | None = None
    message: str | None = None
    metadata: dict[str, JsonValue]


class Metrics(Model):
    webhook_events_total: int
    workflow_tasks_total: int
    task_executions_total: int
    tasks_by_status: dict[str, int]
    events_by_type: dict[str, int]
    avg_processing_time_ms: float | None = None
    success_rate: float | None = None


class NextBody(Model):
    what: str
    command: str
    call: str | None = None


class ParentBody(Model):
    saga_id: str
    run: int
    step: str


class PayloadBody(Model):
    size: int | None = None
    content_type: str | None = None
    value: JsonValue
    excerpt: str | None = None
    missing: str | None = None


class RecentActivity(Model):
    webhooks_24h: int
    tasks_24h: int


class RecentEntry(Model):
    timestamp: AwareDatetime
    status: TaskStatus
    progress: float | None = None
    message: str | None = None
    metadata: dict[str, JsonValue]
    task_id: str
    id: int


class RecentEvents(Model):
    events: list[RecentEntry]
    count: int
    hours: float
    stream_position: str


class ReprocessBody(Model):
    status: Literal["reprocessing"]
    task_id: str
    event_id: str
    command_id: str


class RetryBody(Model):
    status: Literal["retrying"]
    task_id: str
    execution_id: str
    celery_task_id: str


class Rewrapped(Model):
    rewrapped: int


class RunBody(Model):
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    held: bool
    error: str | None = None
    parent: ParentBody | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    duration_ms: float | None = None
    untold: int


class SagaBody(Model):
    saga_id: str
    name: str
    run: int
    state: State
    steps: list[StepBody]


class SagaDetails(Model):
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    context: dict[str, JsonValue]
    user_id: str | None = None
    total_steps: int
    completed_steps: list[str]
    failed_step: str | None = None
    error: str | None = None
    attempts: int
    steps: list[StepDetails]
    correlation_ids: list[str]
    progress: float
    message: str | None = None
    cause: str | None = None
    unresolved: list[str]
    attributes: dict[str, JsonValue]
    source: str | None = None
    definition_hash: str | None = None
    held: str | None = None
    limit_key: str | None = None
    parent: ParentBody | None = None
    acts: list[ActBody]
    deadline_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None


class SagaPage(Model):
    sagas: list[SagaSummary]
    next_cursor: str | None = None


class SagaSummary(Model):
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    progress: float
    failed_step: str | None = None
    error: str | None = None
    cause: str | None = None
    unresolved: list[str]
    attributes: dict[str, JsonValue]
    source: str | None = None
    parent: ParentBody | None = None
    correlation_id: str | None = None
    started_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None


class SourceSummary(Model):
    paused: bool
    actor: str | None = None
    reason: str | None = None
    set_at: AwareDatetime | None = None
    source: str
    definitions: list[str]


class SourcesBody(Model):
    sources: list[SourceSummary]


class Stats(Model):
    recent_activity: RecentActivity
    error_rates: ErrorRates


class StepBody(Model):
    name: str
    status: StepStatus
    attempts: int
    error: str | None = None


class StepDetails(Model):
    name: str
    status: StepStatus
    attempts: int
    error: str | None = None
    compensation_attempts: int
    child_id: str | None = None
    signal: str | None = None
    due_at: str | None = None


class StuckBody(Model):
    checked_at: AwareDatetime
    counts: Counts
    sagas: list[StuckSaga]
    oldest_webhooks: list[WaitingWebhook]
    dead_letters: list[DeadTopicBody]


class StuckSaga(Model):
    kind: Annotated[Literal["failed", "suspended", "overdue", "held"], OPEN]
    saga_id: str
    run: int
    name: str
    version: int
    state: State
    correlation_id: str | None = None
    since: AwareDatetime
    seconds: float
    why: str
    next: NextBody


class TaskDetails(Model):
    id: int | None = None
    task_id: str
    task_type: str | None = None
    status: TaskStatus
    repository: str | None = None
    pr_number: int | None = None
    created_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    error_message: str | None = None
    codegen_task_url: str | None = None
    state: State | None = None
    run: int | None = None
    correlation_id: str | None = None
    webhook_event_id: int | None = None
    priority: str | None = None
    branch: str | None = None
    commit_sha: str | None = None
    config: JsonValue
    input_data: dict[str, JsonValue] | None = None
    output_data: JsonValue
    started_at: AwareDatetime | None = None
    retry_count: int
    max_retries: int | None = None
    codegen_task_id: str | None = None
    updated_at: AwareDatetime | None = None
    attributes: dict[str, JsonValue]
    executions: list[Execution]
    progress: float
    message: str | None = None
    task_ids: list[str]


class TaskHistory(Model):
    task_id: str
    history: list[HistoryEntry]
    event_count: int


class TaskStanding(Model):
    task_id: str
    status: TaskStatus
    progress: float
    message: str | None = None
    final: bool
    error_message: str | None = None
    created_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    correlation_id: str | None = None
    task_ids: list[str]


class TaskSummary(Model):
    id: int | None = None
    task_id: str
    task_type: str | None = None
    status: TaskStatus
    repository: str | None = None
    pr_number: int | None = None
    created_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    error_message: str | None = None
    codegen_task_url: str | None = None
    state: State | None = None
    run: int | None = None
    correlation_id: str | None = None


class TimelineBody(Model):
    what: Annotated[Literal["saga", "event", "delivery", "correlation"], OPEN]
    id: str
    status: Status
    message: str
    final: bool
    entries: list[EntryBody]
    more: bool
    next_cursor: str
    runs: list[RunBody]
    deliveries: list[DeliveryBody]
    bounded: bool


class WaitingWebhook(Model):
    id: int
    event_id: str
    source: str
    event_type: str
    correlation_id: str
    received_at: AwareDatetime
    status: str
    open_sagas: int


class WebhookStatus(Model):
    correlation_id: str
    source: str
    status: Status
    message: str
    final: bool
    saga_ids: list[str]
    saga_statuses: dict[str, SagaStatus]
    saga_errors: dict[str, str]
    sagas: list[SagaBody]
