"""One HTTP request of a step, as it is written, and as it is sent."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter, isawaitable, signature
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import orjson
from multidict import CIMultiDict
from yarl import URL

from sagahook import __version__
from sagahook.saga.breaker import DEFAULT_BREAKER, Breaker
from sagahook.saga.context import StepContext
from sagahook.saga.declared import Duration, seconds
from sagahook.saga.errors import PermanentError
from sagahook.saga.http_answers import Expect, HttpAnswer
from sagahook.saga.http_bodies import RESULT_LIMIT, Call
from sagahook.saga.http_client import client
from sagahook.saga.http_settings import HEADER_NAME, HEADER_VALUE
from sagahook.saga.http_templates import Fields, as_text, parts, problems_of
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import TIMEOUTS, Retry

Computed = Callable[..., Awaitable[Any] | Any]
"""`(ctx)`, in a compensation also `(ctx, result)`, async or not. It runs in the event loop: it puts a value
together, and waits for nothing unless it is async. What it returns is taken as it is, without gaps."""

_OURS = {
    "idempotency-key",
    "x-correlation-id",
    "x-compensates",
    "traceparent",
    "user-agent",
    "accept-encoding",
}
_FRAMING = {
    "host",
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "connection",
    "keep-alive",
    "te",
}
_FRAMING |= {"trailer", "upgrade", "expect", "proxy-authorization", "proxy-connection"}
_URL = re.compile(r"https?://[A-Za-z0-9._~%:\[\]-]+([/?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?\Z")
"""Characters that a URL may hold (RFC 3986), and no name or password in front of the host."""
_HOST_WRITTEN = re.compile(r"https?://[A-Za-z0-9._~%:\[\]-]+[/?#]")
_SHORTEST_SECRET = 6
"""Characters of a piece of a header; anything shorter would black out ordinary words."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, with gaps. See http_step."""

    method: str
    url: str | Computed
    json: Any = None
    headers: Mapping[str, str | Computed] | Computed | None = None
    params: Mapping[str, Any] | Computed | None = None
    expect: Expect = None
    timeout: Duration | None = None
    retry: Retry | None = None
    breaker: Breaker | None = DEFAULT_BREAKER

    def problems(self) -> Iterator[str]:
        """What the author has to mend."""
        if not re.fullmatch(r"[A-Z]{1,20}", self.method):
            yield f"the method must be in capitals, such as POST, not {self.method!r}"
        if not callable(self.url):
            yield from _url_problems(self.url)
        for what in (self.json, self.headers, self.params):
            yield from problems_of(what)
        if isinstance(self.headers, Mapping):
            for name in self.headers:
                yield from _header_problems(name)
        if not _is_expectation(self.expect):
            yield f"expect must be a status, several, or a function of the answer, not {self.expect!r}"

    async def call(
        self, ctx: StepContext, allowed: float, *, result: JsonValue = None, undoes: bool = False
    ) -> JsonValue:
        """Send it, and hand back the answer. allowed: the attempt's seconds. result: the action's, for what undoes it.

        Raises PermanentError where the request cannot be made, and the errors of http_answers.
        """
        return (await self._exchange(ctx, allowed, result, undoes=undoes, wants_result=not undoes))[1]

    async def ask(
        self, ctx: StepContext, *, result: JsonValue = None, limit: int = RESULT_LIMIT
    ) -> HttpAnswer:
        """Send it from within an action, or what undoes one, and hand back the whole answer. limit: bytes of its body,
        which is no step's result yet. Raises what `call` raises."""
        allowed = TIMEOUTS["network"] if self.timeout is None else seconds(self.timeout)
        undoes = ctx.phase == "compensation"
        return (await self._exchange(ctx, allowed, result, undoes=undoes, limit=limit))[0]

    async def _exchange(
        self,
        ctx: StepContext,
        allowed: float,
        result: JsonValue,
        *,
        undoes: bool,
        wants_result: bool = True,
        limit: int = RESULT_LIMIT,
    ) -> tuple[HttpAnswer, JsonValue]:
        fields = Fields(ctx, result)
        url = await self._made_url(fields, ctx, result)
        body = await _value(self.json, fields, ctx, result)
        own = await _values(self.headers, fields, ctx, result)
        http = client()
        internal = http.settings.headers_for(url.raw_host or "")
        headers = _headers(own, internal, ctx, has_body=body is not None, undoes=undoes)
        return await http.send(
            Call(
                method=self.method,
                url=url,
                headers=headers,
                body=None if body is None else _encoded(body),
                expect=self.expect,
                # Before the engine's time-out, so that the error says what was waited for and the circuit hears of it.
                seconds=allowed - min(1.0, allowed * 0.05),
                breaker=self.breaker,
                shown=f"{self.method} {url.origin()}{url.raw_path}"[:300],
                secrets=_secrets(url, own, internal),
                wants_result=wants_result,
                limit=limit,
            )
        )

    async def _made_url(self, fields: Fields, ctx: StepContext, result: JsonValue) -> URL:
        text = fields.url(self.url) if isinstance(self.url, str) else await _asked(self.url, ctx, result)
        params = await _values(self.params, fields, ctx, result)
        if not isinstance(text, str) or not _URL.match(text):
            raise PermanentError(
                "nothing was sent, because the step's URL is not one: it must begin with http:// or https:// and a "
                "host, hold no name or password, and be percent-encoded"
            )
        text = text.partition("#")[0]
        if params and (query := urlencode([pair for name in params for pair in _pairs(name, params[name])])):
            text += ("&" if "?" in text else "?") + query
        try:
            url = URL(text, encoded=True)
            url.origin(), url.port  # they are read only now, and say so where they are wrong
        except ValueError:
            raise PermanentError(
                "nothing was sent, because the step's URL has no valid host or port"
            ) from None
        if any(unquote(segment) in {".", ".."} for segment in url.raw_path.split("/")):
            raise PermanentError(
                "nothing was sent, because a piece of the URL's path is '.' or '..' and would lead elsewhere"
            )
        return url


def _url_problems(url: str) -> Iterator[str]:
    texts = list(problems_of(url))
    yield from texts
    if texts:
        return
    pieces = list(parts(url))
    if len(pieces) > 1 and not (isinstance(pieces[0], str) and _HOST_WRITTEN.match(pieces[0])):
        yield (
            "the URL's host must be written out, because whoever sends the webhook must not choose it: begin it with "
            "https://HOST/, or make it by a function"
        )
    elif not _URL.match("".join(piece if isinstance(piece, str) else "x" for piece in pieces)):
        yield (
            "the URL must begin with http:// or https:// and a host, hold no name or password (use headers=), and be "
            "percent-encoded"
        )


def _header_problems(name: object) -> Iterator[str]:
    if not isinstance(name, str) or not HEADER_NAME.match(name):
        yield f"{name!r} is no name of an HTTP header"
    elif name.lower() in _OURS:
        yield f"the header {name} is set by sagahook: leave it out"
    elif name.lower() in _FRAMING:
        yield f"the header {name} says how the request is sent: leave it out"


def _is_expectation(expect: object) -> bool:
    if expect is None or callable(expect):
        return True
    try:
        several = list(expect)  # type: ignore[call-overload]  # not every object can be gone through
    except TypeError:
        several = [expect]
    return bool(several) and all(
        type(one) is not bool and isinstance(one, int) and 100 <= one <= 599 for one in several
    )


async def _asked(function: Computed, ctx: StepContext, result: JsonValue) -> Any:
    answer = function(ctx, result) if _wants_result(function) else function(ctx)
    return await answer if isawaitable(answer) else answer


def _wants_result(function: Computed) -> bool:
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    wanted = signature(function).parameters.values()
    return sum(one.kind in positional and one.default is Parameter.empty for one in wanted) > 1


async def _value(given: Any, fields: Fields, ctx: StepContext, result: JsonValue) -> Any:
    return await _asked(given, ctx, result) if callable(given) else fields.fill(given)


async def _values(given: Any, fields: Fields, ctx: StepContext, result: JsonValue) -> dict[str, Any]:
    """Headers or parameters; a function may make all of them, or one."""
    if given is None:
        return {}
    whole = await _asked(given, ctx, result) if callable(given) else None
    if callable(given):
        if not isinstance(whole, Mapping):
            raise PermanentError(
                "nothing was sent, because the function for headers= or params= must return a dict"
            )
        return dict(whole)
    return {name: await _value(one, fields, ctx, result) for name, one in given.items()}


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    """A list is a parameter that is said several times; None is one that is not said."""
    if value is None:
        return []
    several = value if isinstance(value, list | tuple) else [value]
    if any(one is None or isinstance(one, Mapping | list | tuple) for one in several):
        raise PermanentError(
            f"nothing was sent, because the parameter {name!r} is neither a single value nor a list"
        )
    return [(name, as_text(one)) for one in several]


def _headers(
    own: Mapping[str, Any], internal: Mapping[str, str], ctx: StepContext, *, has_body: bool, undoes: bool
) -> CIMultiDict[str]:
    """Later ones replace earlier ones: an author's never take the place of ours. Raises PermanentError."""
    headers: CIMultiDict[str] = CIMultiDict({"Content-Type": "application/json"} if has_body else {})
    for name, value in own.items():
        for problem in _header_problems(name):
            raise PermanentError(f"nothing was sent: {problem}")
        headers[name] = _header_value(name, value)
    ours = {
        "Idempotency-Key": ctx.idempotency_key,
        "X-Correlation-ID": ctx.correlation_id,
        "traceparent": ctx.traceparent,
        "X-Compensates": ctx.action_key if undoes else "",
        "User-Agent": f"sagahook/{__version__}",
        "Accept-Encoding": "identity",
    }
    for name, value in (*internal.items(), *ours.items()):
        if value:
            headers[name] = _header_value(name, value)
    return headers


def _header_value(name: str, value: Any) -> str:
    if value is None or isinstance(value, Mapping | list | tuple):
        raise PermanentError(f"nothing was sent, because the header {name} is no single value")
    text = as_text(value).strip(" \t")
    if not HEADER_VALUE.match(text):
        raise PermanentError(
            f"nothing was sent, because the header {name} would hold a line break or another control character"
        )
    return text


def _encoded(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as invalid:
        raise PermanentError(f"nothing was sent, because json= is not JSON: {invalid}") from None


def _secrets(url: URL, own: Mapping[str, Any], internal: Mapping[str, str]) -> tuple[str, ...]:
    """What the host may repeat in its answer, and nobody is to see: longest first, so that none hides in another."""
    query = urlsplit(str(url)).query
    said = [*internal.values(), *(as_text(value) for value in own.values()), *url.query.values()]
    said += [value for pair in query.split("&") if (value := pair.partition("=")[2])]
    pieces = {piece for one in said for piece in (one, *one.split()) if len(piece) >= _SHORTEST_SECRET}
    return tuple(sorted(pieces, key=len, reverse=True))
