"""uvicorn's HTTP protocol, guarded: slow, oversized and ambiguous requests end their connection.

uvicorn itself cuts no slow request, bounds no head, takes trailers for headers, and of a request that offers an
upgrade it loses the body, which it then parses as the next request. Here every refusal has the documented shape
and is the end: not one byte behind it is parsed (docs/reference/guards.md).
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from sagahook.runtime import http_head as heads
from sagahook.runtime import http_refusals as refusals
from sagahook.runtime import http_whole as whole
from sagahook.runtime.http_connection import BODY, HEAD, WAITING, OrderlyHttp
from sagahook.runtime.http_cycle import Cycle
from sagahook.runtime.http_guard import PROBES, HttpGuard
from sagahook.runtime.http_refusals import Refused
from sagahook.runtime.settings import ServiceSettings

_FRAMING_EACH = 16
"""Bytes of chunk headers for each byte of a body, at most: 5 are what the smallest chunk needs."""


class _Enough(Exception):
    """Stops the parser; what was parsed so far is still answered."""


class GuardedHttp(OrderlyHttp):
    """From bytes to requests. `guarded` makes the class that a server uses."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn allows it, and then parses what comes behind a last request. Nothing more is wanted of it here.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._fed = 0
        self._head_bytes = 0
        """At most that many came of the head, and at least as many less `_not_head`."""
        self._not_head = 0
        self._raw_bytes = 0
        """What came since the head, chunk headers and all."""
        self._target = heads.Target(b"", "", b"", b"")
        self._host: bytes | None = None
        """The target and the host of the last request, which are mostly those of the next one as well."""
        self._framing = b""
        """How the body is framed of a request that offers an upgrade, until it is parsed."""
        self._answer_whole = whole.of(config.loaded_app)
        self._may_be_whole: Cycle | None = None
        """A request that the application may answer without a task, if its body came with its head."""

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self._receive(data)
        if self._may_be_whole is not None:
            cycle, self._may_be_whole = self._may_be_whole, None
            self.start(cycle)

    def _receive(self, data: bytes) -> None:
        self._fed = len(data)
        if self.phase == WAITING:
            self.phase, self.since = HEAD, self.guard.now
            self._head_bytes, self._not_head = self._fed, 0
            self.scope = None  # type: ignore[assignment]  # until on_message_begin
        elif self.phase == HEAD:
            self._head_bytes += self._fed
        else:
            self._raw_bytes += self._fed
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.deaf:
                self.refuse(refusals.of_parser(error, data))
        else:
            if self.phase != WAITING:
                self._check_progress()

    def _check_progress(self) -> None:
        """A head or a body that is not complete must not go on for ever."""
        limit = self.limits.http_header_bytes
        if self.phase == HEAD:
            if self._head_bytes - self._not_head > limit:
                target = self.url if self.scope is not None else b""
                self.refuse(heads.too_large(target, self.limits))
        elif (
            self.phase == BODY and self._raw_bytes - self.body_bytes > limit + _FRAMING_EACH * self.body_bytes
        ):
            self.refuse(refusals.mostly_framing())

    def on_message_begin(self) -> None:
        if self.deaf or self.pipeline or self.phase != HEAD:
            self._begin_behind_another()
        super().on_message_begin()

    def _begin_behind_another(self) -> None:
        """For a request that others wait before, or that begins in the middle of what was read."""
        if self.deaf:
            raise _Enough
        if len(self.pipeline) >= self.limits.http_pipeline:
            self.guard.refused("pipeline")
            self.deaf = True
            self.make_last(self.cycle)
            raise _Enough
        if self.phase != HEAD:
            self.phase, self.since = HEAD, self.guard.now
            self._head_bytes = self._not_head = self._fed

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """As uvicorn's, but for the checks."""
        version = self.parser.get_http_version()
        headers, scope, limits = self.headers, self.scope, self.limits
        given = dict(headers)
        if (
            version != "1.1"
            or self.url != self._target.raw
            or given.get(b"host") != self._host
            or len(given) != len(headers)
            or b"transfer-encoding" in given
            or b"expect" in given
            or len(headers) > limits.http_headers
            or self._head_bytes > limits.http_header_bytes
            or self.parser.should_upgrade()
            or self.spare
        ):
            self._check_head(version, given)
        target = self._target
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["path"], scope["raw_path"], scope["query_string"] = target.path, target.raw_path, target.query
        # Trailers are not headers: what comes now is forgotten (RFC 9110 §6.5.1).
        self.headers = []
        self.phase, self.since = BODY, self.guard.now
        self._raw_bytes = self.body_bytes = 0
        self._begin_cycle(version)

    def _check_head(self, version: str, given: dict[bytes, bytes]) -> None:
        """Raises Refused. What is in order is remembered."""
        heads.check_version(version)
        heads.check_size(self.url, self.headers, self.limits)
        heads.check_framing(self.headers, version)
        upgrades = self.parser.should_upgrade()
        if upgrades and self.parser.get_method() == b"CONNECT":
            raise Refused(501, "method", "CONNECT is not done here: this is no proxy")
        self._target = heads.target_of(self.url, self.root_path)
        self._host = given.get(b"host") or b"\0"
        if self.spare and self.url not in PROBES:
            raise refusals.no_room()
        self._framing = heads.framing(self.headers) if upgrades else b""
        self.expect_100_continue = b"expect" in given and version == "1.1"
        if version != "1.1":
            self.scope["http_version"] = version

    def _begin_cycle(self, version: str) -> None:
        before = self.cycle
        cycle = self.cycle = Cycle(
            self.scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version == "1.1" and self.parser.should_keep_alive(),
            self.on_response_complete,
        )
        # A client whose `Expect` is answered otherwise may send the body or not: what came next would be a guess.
        if (
            not cycle.keep_alive
            or self.spare
            or self.expect_100_continue
            or self._framing
            or self.guard.leaving
        ):
            self.make_last(cycle)
        if before is None or before.response_complete:
            if self._answer_whole is None or self.expect_100_continue:
                self.start(cycle)
            else:
                self._answering = self._may_be_whole = cycle
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._framing:
            return  # the parser takes the rest for another protocol
        cycle = self.cycle
        self.phase, self.since = WAITING, self.guard.now
        if not cycle.keep_alive:
            self.deaf = True
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
        if cycle is self._may_be_whole and self._answer_whole is not None:
            self._may_be_whole = None
            scope: Any = cycle.scope  # uvicorn's types are narrower than ASGI's
            app: Any = self._answer_whole(scope, bytes(cycle.body), cycle.answer)
            if app is not None:
                self.start(cycle, app)

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """An offer to upgrade may be ignored (RFC 9110 §7.8); Java's client makes one with its first request. The
        body must then be parsed by a parser that knows of no upgrade."""
        if self._framing:
            framing, self._framing = self._framing, b""
            self.parser = httptools.HttpRequestParser(_BodyOf(self))
            self.parser.feed_data(b"POST / HTTP/1.1\r\nConnection: close\r\n%s\r\n\r\n" % framing)
        if rest and not self.deaf:
            self._receive(rest)


class _BodyOf:
    """A parser's callbacks for the body alone."""

    def __init__(self, protocol: GuardedHttp) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


def guarded(settings: ServiceSettings) -> type[GuardedHttp]:
    """The protocol for one server, as uvicorn's `http`."""
    return type("GuardedHttp", (GuardedHttp,), {"guard": HttpGuard(settings)})
