"""A webhook that came as a whole, from its checks to its answer without a task: the way that almost all of them go.

What has to wait before Kafka is asked (for an earlier request under the same key, for a key to seal with), and what is
not a single webhook, is handed back, to be answered in a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Protocol

from starlette.responses import Response

from sagahook.runtime import telemetry
from sagahook.runtime.http_whole import Application, Reply
from sagahook.runtime.ids import new_event_id
from sagahook.runtime.telemetry import Span, Spans
from sagahook_ingest import metrics, tracing
from sagahook_ingest.adapters.groups import Published
from sagahook_ingest.admission import Admission
from sagahook_ingest.answers import Answer, Receive, Scope, Send, written
from sagahook_ingest.domain import headers as requested
from sagahook_ingest.domain.headers import Headers
from sagahook_ingest.domain.reading import Request
from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.endpoints import Begun
from sagahook_ingest.handlers import Receipt, Receiver
from sagahook_ingest.intake import check_size
from sagahook_ingest.routes import Route

_CANCELLED = 499


class GoOn(Protocol):
    """An ASGI application that answers a request which passed its checks."""

    def __call__(
        self, route: Route, request: Request, correlation_id: str, started: float
    ) -> Application: ...


Refuse = Callable[[Exception, Route, Scope, Headers, str], Response]
"""Says, and counts, why a request is refused: what was raised, and the correlation id as far as there is one."""


class Whole:
    """One of them. refuse, go_on: what is done as for every other."""

    __slots__ = (
        "_admission",
        "_begun",
        "_correlation_id",
        "_go_on",
        "_headers",
        "_inside",
        "_refuse",
        "_reply",
        "_route",
        "_scope",
        "_span",
        "_started",
        "_traced",
    )

    _begun: Begun

    def __init__(
        self, admission: Admission, refuse: Refuse, go_on: GoOn, route: Route, scope: Scope, reply: Reply
    ) -> None:
        self._started = time.perf_counter()
        self._admission = admission
        self._refuse = refuse
        self._go_on = go_on
        self._route = route
        self._scope = scope
        self._reply = reply
        self._headers: Headers = {}
        self._correlation_id = ""
        self._inside = False
        self._span: Span | None = None
        self._traced: Request | None = None
        """What lines of the log are about, where anything is traced."""

    def begin(self, body: bytes) -> Application | None:
        """As `AnswerWhole`."""
        admission, scope, route = self._admission, self._scope, self._route
        try:
            headers, repeated = requested.read(scope["headers"], admission.sources.headers)
            self._headers = headers
            self._correlation_id = given = requested.correlation_id(headers) or ""
            source = admission.source_of(route, scope)
            request = admission.expect(source, given, headers, repeated, scope)
            check_size(body, admission.limit(source))
            admission.complete(request, body)
            if not given:
                self._correlation_id = new_event_id()
            if route.begin is None or request.is_batch_of_events:
                return self._go_on(route, request, self._correlation_id, self._started)
            receiver = admission.door.enter()
            self._inside = True
            if telemetry.spans is not None:
                self._trace(telemetry.spans, request)
            return self._publish(route.begin(request, self._correlation_id), receiver)
        except Exception as raised:
            self._end(raised)
            return None

    def _trace(self, spans: Spans, request: Request) -> None:
        self._span = tracing.begin(spans, self._route, request, self._correlation_id, self._started)
        self._traced = request

    def _publish(self, begun: Begun | Answer, receiver: Receiver) -> Application | None:
        """Raises Refusal, Unavailable."""
        if isinstance(begun, Answer):
            self._end(begun)
            return None
        self._begun = begun
        if receiver.must_wait(begun.webhook):
            return partial(self._wait, receiver)
        first = receiver.begin(begun.webhook, self._told)
        if first is not None:
            self._end(begun.answer(first))
        return None

    async def _wait(self, receiver: Receiver, _: Scope, __: Receive, ___: Send) -> None:
        """In a task."""
        try:
            answer = self._begun.answer(await receiver.receive(self._begun.webhook))
        except Exception as raised:
            self._end(raised)
        except BaseException:
            self._leave(_CANCELLED)
            raise
        else:
            self._end(answer)

    def _told(self, outcome: Published | Unavailable) -> None:
        """By the publisher."""
        if isinstance(outcome, Unavailable):
            self._end(outcome)
            return
        try:
            answer = self._begun.answer(Receipt(outcome.event_id, self._begun.webhook.correlation_id))
        except Exception as raised:
            self._end(raised)
        else:
            self._end(answer)

    def _end(self, outcome: Answer | Exception) -> None:
        closing = self._admission.door.closing
        if isinstance(outcome, Answer):
            headers, body = written(outcome, closing=closing)
            status = outcome.status
        else:
            response = self._refused(outcome)
            status, headers, body = response.status_code, response.raw_headers, bytes(response.body)
        try:
            self._reply(status, headers, body)
        finally:
            self._leave(status)
        if isinstance(outcome, Answer) and (outcome.accepted or outcome.duplicates):
            seconds = time.perf_counter() - self._started
            metrics.GOOD_ANSWERS.count(self._route.source, seconds, outcome.accepted, outcome.duplicates)

    def _refused(self, raised: Exception) -> Response:
        context = copy_context()  # there is no task, whose own it would be
        if self._traced is not None:
            context.run(tracing.tell_logs, self._traced, self._correlation_id)
        return context.run(
            self._refuse, raised, self._route, self._scope, self._headers, self._correlation_id
        )

    def _leave(self, status: int) -> None:
        tracing.end(self._span, status)
        if self._inside:
            self._inside = False
            self._admission.door.leave()
