"""A step that is one HTTP request, against hosts that behave and hosts that do not."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from sagahook import __version__
from sagahook.saga.errors import PermanentError, RetryLater, UnknownOutcomeError
from sagahook.saga.http import Breaker, HttpAnswer, close_sessions, http_request, http_step
from sagahook.saga.http_answers import (
    CircuitOpen,
    HttpNotApplied,
    HttpRefused,
    HttpUnexpected,
    HttpUnknownOutcome,
)
from sagahook.saga.http_bodies import RESULT_LIMIT
from sagahook.saga.http_client import client
from tests.http_host import Host, Liar, context, open_host, open_liar, run, undo


@pytest_asyncio.fixture(autouse=True)
async def _fresh_sessions() -> AsyncIterator[None]:
    """Circuits, connections and settings are a test's own."""
    await close_sessions()
    yield
    await close_sessions()


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    async with open_host() as one:
        yield one


@pytest_asyncio.fixture
async def liar() -> AsyncIterator[Liar]:
    async with open_liar() as one:
        yield one


@pytest.fixture
def deserted() -> Iterator[str]:
    """The URL of a port that refuses connections: it is bound, and nobody listens on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


# -- what is sent ---------------------------------------------------------------------------------------------


async def test_gaps_are_filled_from_the_saga_and_the_answer_is_the_result(host: Host) -> None:
    step = http_step(
        "post",
        host.url + "/customers/{customer.id}/charges",
        json={
            "order": "{order_id}",
            "cents": "{amount}",
            "note": "for {order_id}",
            "of": ["{results.reserve.id}"],
        },
        params={"dry": False, "tag": ["a", "{order_id}"], "left_out": None},
        headers={"X-Order": "{order_id}"},
    )
    assert await run(step) == {"id": "c-1"}
    [request] = host.requests
    assert (request.method, request.raw_path) == ("POST", "/customers/7/charges?dry=false&tag=a&tag=A1")
    assert json.loads(host.bodies[0]) == {"order": "A1", "cents": 42, "note": "for A1", "of": ["r-9"]}
    assert request.headers["X-Order"] == "A1"
    assert request.headers["Content-Type"] == "application/json"


async def test_it_carries_the_key_the_correlation_and_the_trace(host: Host) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await run(http_step("PUT", host.url), context(traceparent=trace))
    headers = host.requests[0].headers
    assert headers["Idempotency-Key"] == "saga-1/1/charge/action"
    assert headers["X-Correlation-ID"] == "correlation-1"
    assert headers["traceparent"] == trace
    assert headers["User-Agent"] == f"sagahook/{__version__}"
    assert "X-Compensates" not in headers


async def test_a_compensation_says_what_it_undoes_and_reads_the_result(host: Host) -> None:
    step = http_step(
        "POST", host.url, compensate=http_request("DELETE", host.url + "/charges/{result.id}", timeout=5)
    )
    await undo(step, {"id": "c-1"})
    [request] = host.requests
    assert (request.method, request.path) == ("DELETE", "/charges/c-1")
    assert request.headers["Idempotency-Key"] == "saga-1/1/charge/compensation"
    assert request.headers["X-Compensates"] == "saga-1/1/charge/action"
    compensation = step.definition("charge").compensation
    assert compensation is not None
    assert compensation.timeout == 5


async def test_functions_of_the_context_make_any_part_and_their_texts_are_taken_as_they_are(
    host: Host,
) -> None:
    async def body(ctx: Any, result: Any) -> Any:
        return {"said": "{not_a_gap}", "undoes": result}

    request = http_request(
        "POST",
        lambda ctx: f"{host.url}/{ctx.context['order_id']}",
        json=body,
        headers={"X-Step": lambda ctx: ctx.step},
        params=lambda ctx: {"q": "{raw}"},
    )
    await undo(http_step("POST", host.url, compensate=request), "the result")
    assert host.requests[0].raw_path == "/A1?q=%7Braw%7D"
    assert host.requests[0].headers["X-Step"] == "charge"
    assert json.loads(host.bodies[0]) == {"said": "{not_a_gap}", "undoes": "the result"}


async def test_a_field_stays_the_one_piece_of_the_url_that_it_was_written_as(host: Host) -> None:
    hostile = "a/b?c=d&e#f%2e {x}é"
    await run(http_step("GET", host.url + "/o/{v}/end?q={v}"), context(context={"v": hostile}))
    escaped = "a%2Fb%3Fc%3Dd%26e%23f%252e%20%7Bx%7D%C3%A9"
    assert host.requests[0].raw_path == f"/o/{escaped}/end?q={escaped}"


@pytest.mark.parametrize("value", ["..", ".", "", None, {"a": 1}, ["a"]])
async def test_a_field_that_would_lead_to_another_resource_is_refused(host: Host, value: Any) -> None:
    with pytest.raises(PermanentError, match="nothing was sent"):
        await run(http_step("DELETE", host.url + "/orders/{v}"), context(context={"v": value}))
    assert host.requests == []


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "\x7f"])
async def test_a_field_that_would_become_a_header_of_its_own_is_refused_and_not_shown(
    host: Host, value: str
) -> None:
    step = http_step("POST", host.url, headers={"X-Order": "{v}"})
    with pytest.raises(PermanentError, match="X-Order would hold a line break") as refused:
        await run(step, context(context={"v": value}))
    assert value not in str(refused.value)
    assert host.requests == []


@pytest.mark.parametrize(
    "name",
    ["Idempotency-Key", "idempotency-key", "Content-Length", "Transfer-Encoding", "Host", "a b", "a\r\nb"],
)
async def test_a_function_cannot_set_the_headers_that_are_ours(host: Host, name: str) -> None:
    with pytest.raises(PermanentError, match="nothing was sent"):
        await run(http_step("POST", host.url, headers=lambda ctx: {name: "x"}))
    assert host.requests == []


async def test_a_gap_reads_fields_and_never_attributes(host: Host) -> None:
    step = http_step("POST", host.url, json={"x": "{customer.__class__}"})
    with pytest.raises(PermanentError, match="which this saga does not have"):
        await run(step)
    assert host.requests == []


@pytest.mark.parametrize(
    "url",
    ["ftp://h/x", "http://u:secret@h/", "http://h/a b", "http://h/\r\nX: y", "//h", "http://h:99999/", 7],
)
async def test_a_function_that_makes_no_url_is_told_so_without_showing_it(url: Any) -> None:
    with pytest.raises(PermanentError, match="nothing was sent") as refused:
        await run(http_step("GET", lambda ctx: url))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (http_step("GET", "https://{host}/x"), "host must be written out"),
        (http_step("GET", "https://h{path}"), "host must be written out"),
        (http_step("GET", "https://h/{a!r}"), "is no field"),
        (http_step("GET", "https://h/{0.__init__}"), "is no field"),
        (http_step("GET", "https://h/{a"), "is no field"),
        (http_step("GET", "https://user:pw@h/"), "no name or password"),
        (http_step("GET", "h/x"), "must begin with http"),
        (http_step("GET POST", "https://h/"), "capitals"),
        (http_step("POST", "https://h/", json={"a": [{"b": "{c"}]}), "is no field"),
        (http_step("POST", "https://h/", headers={"Idempotency-Key": "x"}), "set by sagahook"),
        (http_step("POST", "https://h/", headers={"Host": "x"}), "leave it out"),
        (http_step("POST", "https://h/", expect="200"), "expect must be"),  # type: ignore[arg-type]
        (http_step("POST", "https://h/", expect=[]), "expect must be"),
        (http_step("POST", "https://h/", heartbeat=1), "timeout="),
        (http_step("POST", "https://h/", compensate=http_request("GET", "nowhere")), "compensate: the URL"),
    ],
)
def test_what_is_written_wrong_is_told_before_anything_runs(step: Any, problem: str) -> None:
    assert any(problem in told for told in step.problems())


def test_what_is_written_right_has_no_problems() -> None:
    step = http_step("POST", "https://h:8443/a/{b.c}?d={e}", json={"{{": "{f}"}, expect={200, 404}, timeout=3)
    assert list(step.problems()) == []
    assert step.definition("charge").timeout == 3


# -- what is secret -------------------------------------------------------------------------------------------


@pytest.fixture
def internal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOOK_INTERNAL_TOKEN", "token-of-ours")
    monkeypatch.setenv("SAGAHOOK_INTERNAL_HEADERS", '{"X-Realm": "inside-realm"}')
    monkeypatch.setenv("SAGAHOOK_INTERNAL_HOSTS", "127.0.0.1,.svc.local")


@pytest.mark.usefixtures("internal")
async def test_internal_hosts_are_sent_the_internal_headers_and_no_step_can_replace_them(host: Host) -> None:
    await run(http_step("GET", host.url, headers={"x-internal-token": "forged"}))
    headers = host.requests[0].headers
    assert headers.getall("X-INTERNAL-TOKEN") == ["token-of-ours"]
    assert headers["X-Realm"] == "inside-realm"


@pytest.mark.usefixtures("internal")
async def test_other_hosts_are_not_not_even_the_same_one_by_another_name(host: Host) -> None:
    await run(http_step("GET", host.url.replace("127.0.0.1", "localhost")))
    headers = host.requests[0].headers
    assert "X-INTERNAL-TOKEN" not in headers
    assert "X-Realm" not in headers


async def test_what_the_host_repeats_of_our_secrets_is_not_shown(host: Host, internal: None) -> None:
    said = "no token-of-ours nor inside-realm, Bearer sk_live_1234, k3y-in-query, k3y in words"
    host.answer = web.json_response({"detail": said, "input": "card 4111"}, status=422)
    step = http_step(
        "GET",
        host.url + "/charges?key=k3y-in-query",
        params={"also": "k3y in words"},
        headers={"Authorization": "Bearer sk_live_1234"},
    )
    with pytest.raises(HttpRefused) as refused:
        await run(step)
    told = str(refused.value)
    assert told.startswith(f"GET {host.url}/charges answered 422 (no [removed] nor [removed]")
    for secret in ("token-of-ours", "inside-realm", "sk_live", "k3y", "4111"):
        assert secret not in told


async def test_settings_that_cannot_be_sent_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOOK_INTERNAL_TOKEN", "secret\nX-Evil: 1")
    with pytest.raises(ValueError, match="cannot stand in an HTTP header") as refused:
        await run(http_step("GET", "http://127.0.0.1/"))
    assert "X-Evil" not in str(refused.value)


async def test_proxies_of_the_environment_are_not_used(
    host: Host, deserted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", deserted)
    monkeypatch.setenv("http_proxy", deserted)
    assert await run(http_step("GET", host.url)) == {"id": "c-1"}


# -- what an answer means -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "applied"),
    [
        (400, HttpRefused, "no"),
        (404, HttpRefused, "no"),
        (409, HttpRefused, "no"),
        (301, HttpRefused, "no"),
        (307, HttpRefused, "no"),
        (303, HttpUnexpected, "unknown"),
        (408, HttpNotApplied, "no"),
        (425, HttpNotApplied, "no"),
        (429, HttpNotApplied, "no"),
        (503, HttpNotApplied, "no"),
        (500, HttpUnknownOutcome, "unknown"),
        (502, HttpUnknownOutcome, "unknown"),
        (504, HttpUnknownOutcome, "unknown"),
    ],
)
async def test_a_status_says_whether_to_try_again_and_whether_it_may_have_been_applied(
    host: Host, status: int, error: type[Exception], applied: str
) -> None:
    host.says(status, Location="/elsewhere")
    with pytest.raises(error) as raised:
        await run(http_step("POST", host.url + "/charges?key=secret"))
    assert type(raised.value) is error
    assert isinstance(raised.value, UnknownOutcomeError) == (applied == "unknown")
    assert str(raised.value).startswith(f"POST {host.url}/charges answered {status}")
    assert "secret" not in str(raised.value)
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("99999999999999", 3_600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("-5", None),
    ],
)
async def test_a_host_says_when_to_come_back_within_an_hour(
    host: Host, header: str, seconds: float | None
) -> None:
    host.says(503, **{"Retry-After": header})
    with pytest.raises(HttpNotApplied) as raised:
        await run(http_step("POST", host.url))
    assert raised.value.retry_after == seconds


async def test_expected_statuses_are_a_success_whatever_they_are(host: Host) -> None:
    host.says(404)
    assert await run(http_step("DELETE", host.url, expect={200, 404})) is None
    host.says(500)
    assert await run(http_step("DELETE", host.url, expect=500)) is None
    host.says(200)
    with pytest.raises(HttpUnexpected):
        await run(http_step("DELETE", host.url, expect=201))


async def test_a_function_decides_by_status_headers_and_json(host: Host) -> None:
    def is_accepted(answer: HttpAnswer) -> bool:
        assert answer.headers["x-kind"] == "charge"
        return isinstance(answer.json, dict) and answer.json["state"] == "accepted"

    step = http_step("POST", host.url, expect=is_accepted)
    host.answer = web.json_response({"state": "accepted"}, headers={"X-Kind": "charge"})
    assert await run(step) == {"state": "accepted"}
    host.answer = web.json_response({"state": "odd"}, headers={"X-Kind": "charge"})
    with pytest.raises(HttpUnexpected):
        await run(step)
    host.answer = web.json_response({}, headers={"X-Kind": "charge"})
    with pytest.raises(HttpUnexpected, match=r"expect= failed on it \(KeyError\)"):
        await run(step)


async def test_a_function_does_not_hide_that_a_host_is_busy_behind_a_body_that_cannot_be_read(
    host: Host,
) -> None:
    for headers in ({"Content-Encoding": "gzip"}, {"Content-Length": str(RESULT_LIMIT + 1)}):
        host.answer = web.Response(body=b"x" * (RESULT_LIMIT + 1), status=503, headers=headers)
        with pytest.raises(HttpNotApplied, match="answered 503"):
            await run(http_step("POST", host.url, expect=lambda answer: answer.status == 201))


class Declined(PermanentError, ValueError):
    pass


@pytest.mark.parametrize("own", [PermanentError("declined"), Declined("no"), RetryLater("pending", 9)])
async def test_a_function_may_say_itself_what_the_answer_means(host: Host, own: Exception) -> None:
    def judge(answer: HttpAnswer) -> bool:
        raise own

    with pytest.raises(type(own)) as raised:
        await run(http_step("POST", host.url, expect=judge))
    assert raised.value is own


async def test_the_result_is_json_where_it_is_json_else_text(host: Host) -> None:
    for kind, body, result in [
        ("application/json", b"[1]", [1]),
        ("application/vnd.api+json; charset=utf-8", b'{"a":null}', {"a": None}),
        ("application/json", b"", None),
        ("text/plain", b"[1]", "[1]"),
        ("text/plain; charset=latin-1", b"\xe9", "é"),
        ("text/plain; charset=nonsense", b"a", "a"),
        ("application/octet-stream", b"\xff", "\N{REPLACEMENT CHARACTER}"),
    ]:
        host.answer = web.Response(body=body, headers={"Content-Type": kind})
        assert await run(http_step("GET", host.url)) == result


async def test_a_body_of_exactly_the_limit_is_kept_and_one_byte_more_is_too_large(host: Host) -> None:
    host.answer = web.Response(body=b"x" * RESULT_LIMIT)
    assert len(await run(http_step("GET", host.url))) == RESULT_LIMIT
    host.answer = web.Response(body=b"x" * (RESULT_LIMIT + 1))
    with pytest.raises(HttpUnexpected, match="result_too_large"):
        await run(http_step("GET", host.url))


async def test_what_a_compensation_is_answered_is_nobodys_so_its_size_does_not_matter(host: Host) -> None:
    host.answer = web.Response(body=b"x" * (RESULT_LIMIT + 1))
    await undo(http_step("GET", host.url, compensate=http_request("GET", host.url)))


# -- hosts that misbehave -------------------------------------------------------------------------------------


async def test_an_action_that_asks_itself_is_given_the_whole_answer_under_its_steps_key(host: Host) -> None:
    host.answer = web.json_response({"next": "n" * RESULT_LIMIT}, headers={"X-Total-Count": "7"})
    asked = http_request("POST", f"{host.url}/orders/{{order_id}}", json={"amount": "{amount}"})
    answer = await asked.ask(context(), limit=2 * RESULT_LIMIT)
    assert (answer.status, answer.headers["x-total-count"]) == (200, "7")
    assert answer.json == {"next": "n" * RESULT_LIMIT}
    assert (host.requests[0].path, json.loads(host.bodies[0])) == ("/orders/A1", {"amount": 42})
    assert host.requests[0].headers["Idempotency-Key"] == "saga-1/1/charge/action"
    with pytest.raises(HttpUnexpected, match="result_too_large"):
        await asked.ask(context())


async def test_a_compensation_that_asks_itself_says_what_it_undoes(host: Host) -> None:
    asked = http_request("DELETE", f"{host.url}/charges/{{result.id}}")
    await asked.ask(context("compensation"), result={"id": "c-1"})
    assert host.requests[0].path == "/charges/c-1"
    assert host.requests[0].headers["X-Compensates"] == "saga-1/1/charge/action"


async def test_an_endless_body_is_read_to_the_limit_and_no_further(host: Host) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    host.answer = endless
    with pytest.raises(HttpUnexpected, match="result_too_large") as raised:
        await run(http_step("GET", host.url))
    assert isinstance(raised.value, PermanentError)
    assert isinstance(raised.value, UnknownOutcomeError)


async def test_a_packed_body_is_not_unpacked(host: Host) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    host.answer = web.Response(
        body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )
    with pytest.raises(HttpUnexpected, match="packed as 'gzip'"):
        await run(http_step("GET", host.url))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "closed without an answer"),
        (HEAD, "closed without an answer"),
        (HEAD + b'Content-Length: 100\r\n\r\n{"id":', "closed within the answer"),
        (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"id"', "closed within the answer"),
        (HEAD + b'Content-Length: 4\r\n\r\n{"id": 1}', "not the JSON it says|not valid HTTP"),
        (HEAD + b"Content-Length: 3\r\n\r\nNaN", "not the JSON it says"),
        (HEAD + b"Content-Length: nine\r\n\r\n{}", "not valid HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "not valid HTTP"),
    ],
)
async def test_an_answer_that_breaks_off_or_lies_leaves_the_outcome_unknown(
    liar: Liar, answer: bytes, told: str
) -> None:
    liar.answer = answer
    with pytest.raises(HttpUnknownOutcome, match=told):
        await run(http_step("POST", liar.url))
    assert liar.connections == 1


async def test_a_length_beyond_the_limit_is_believed_at_once(liar: Liar) -> None:
    liar.answer, liar.holds = HEAD + b"Content-Length: 99999999\r\n\r\n{", True
    with pytest.raises(HttpUnexpected, match="result_too_large"):
        await run(http_step("POST", liar.url))


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", HEAD + b"Content-Length: 9\r\n\r\n{"]
)
async def test_a_host_that_does_not_finish_leaves_the_outcome_unknown(liar: Liar, answer: bytes) -> None:
    liar.answer, liar.holds = answer, True
    with pytest.raises(HttpUnknownOutcome, match=r"no whole answer within 0\.95 s"):
        await run(http_step("POST", liar.url, timeout=1))


async def test_a_refusal_whose_body_never_ends_is_a_refusal(liar: Liar) -> None:
    liar.holds = True
    liar.answer = b"HTTP/1.1 422 No\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with pytest.raises(HttpRefused, match="answered 422:"):
        await run(http_step("POST", liar.url))


async def test_what_never_reached_the_host_was_certainly_not_applied(host: Host, deserted: str) -> None:
    no_tls = host.url.replace("http:", "https:")
    no_name = "http://" + 70 * "x" + ".invalid"
    for url in (deserted, no_tls, no_name):
        with pytest.raises(HttpNotApplied, match="was not sent") as raised:
            await run(http_step("POST", url + "/x?key=secret"))
        assert "secret" not in str(raised.value)
        assert not isinstance(raised.value, UnknownOutcomeError)
    assert host.requests == []


async def test_connections_to_a_host_are_bounded_and_who_waits_for_one_has_sent_nothing(
    liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAHOOK_HTTP_CONNECTIONS_PER_HOST", "2")
    liar.holds = True
    holders = [asyncio.create_task(run(http_step("POST", liar.url))) for _ in range(2)]
    while liar.connections < 2:
        await asyncio.sleep(0.01)
    with pytest.raises(HttpNotApplied, match="no connection to the host became free"):
        await run(http_step("POST", liar.url, timeout=0.5))
    assert liar.connections == 2
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)


async def test_a_refusal_of_a_request_that_cannot_be_made_says_nothing_about_the_host(host: Host) -> None:
    step = http_step("POST", host.url, json={"x": "{missing}"}, breaker=Breaker(failures=1))
    for _ in range(3):
        with pytest.raises(PermanentError):
            await run(step)
    assert await run(http_step("POST", host.url, breaker=Breaker(failures=1))) == {"id": "c-1"}


# -- the circuit ----------------------------------------------------------------------------------------------


async def test_after_five_failures_in_a_row_nothing_is_sent_any_more(host: Host) -> None:
    host.says(502)
    step = http_step("POST", host.url)
    for _ in range(5):
        with pytest.raises(HttpUnknownOutcome):
            await run(step)
    with pytest.raises(CircuitOpen, match="the host kept failing") as refused:
        await run(http_step("GET", host.url + "/other/path"))
    assert len(host.requests) == 5
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 30
    assert not isinstance(refused.value, PermanentError | UnknownOutcomeError)


async def test_connections_refused_and_answers_that_do_not_come_count_too(liar: Liar, deserted: str) -> None:
    away = http_step("POST", deserted, breaker=Breaker(failures=1))
    liar.holds = True
    silent = http_step("POST", liar.url, breaker=Breaker(failures=1), timeout=1)
    for step, first in ((away, HttpNotApplied), (silent, HttpUnknownOutcome)):
        with pytest.raises(first):
            await run(step)
        with pytest.raises(CircuitOpen):
            await run(step)


async def test_refusals_are_no_failures_of_the_host_and_end_a_row_of_them(host: Host) -> None:
    step = http_step("POST", host.url, breaker=Breaker(failures=2))
    for status in (500, 429, 500, 404, 500, 200):
        host.says(status)
        if status == 200:
            await run(step)
        else:
            with pytest.raises((HttpUnknownOutcome, HttpNotApplied, HttpRefused)):
                await run(step)
    assert len(host.requests) == 6


async def test_without_a_breaker_every_call_is_sent(host: Host) -> None:
    host.says(500)
    for _ in range(7):
        with pytest.raises(HttpUnknownOutcome):
            await run(http_step("POST", host.url, breaker=None))
    assert len(host.requests) == 7


class Half:
    """A host whose circuit is half-open: it failed, and the time that it is left alone for is up. Its answers wait."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.status = 200
        self.step = http_step("POST", host.url, breaker=Breaker(failures=1))
        self.now = 0.0

    async def open(self) -> None:
        client(clock=lambda: self.now)
        self.host.says(500)
        with pytest.raises(HttpUnknownOutcome):
            await run(self.step)
        self.now = 30.0
        self.host.answer = self._wait
        self.host.requests.clear()

    async def _wait(self, request: web.Request) -> web.StreamResponse:
        self.reached.set()
        await self.go_on.wait()
        return web.json_response({}, status=self.status)

    async def probe(self) -> asyncio.Task[Any]:
        task = asyncio.create_task(run(self.step))
        await self.reached.wait()
        return task


async def test_of_many_callers_at_once_one_alone_probes_a_host_that_failed(host: Host) -> None:
    half = Half(host)
    await half.open()
    calls = [asyncio.create_task(run(half.step)) for _ in range(50)]
    await half.reached.wait()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    half.go_on.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in answers].count(CircuitOpen) == 49
    assert answers.count({}) == 1
    assert len(host.requests) == 1
    assert await asyncio.gather(*(run(half.step) for _ in range(5))) == [{}] * 5


async def test_a_probe_that_fails_leaves_the_circuit_open(host: Host) -> None:
    half = Half(host)
    await half.open()
    half.status = 503
    probe = await half.probe()
    with pytest.raises(CircuitOpen, match="one call tries whether it answers again"):
        await run(half.step)
    half.go_on.set()
    with pytest.raises(HttpNotApplied, match="answered 503"):
        await probe
    with pytest.raises(CircuitOpen, match="its circuit is open"):
        await run(half.step)
    assert len(host.requests) == 1


async def test_a_probe_that_is_cancelled_leaves_its_place_to_the_next_caller(host: Host) -> None:
    half = Half(host)
    await half.open()
    probe = await half.probe()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    half.go_on.set()
    assert await run(half.step) == {}


# -- sessions -------------------------------------------------------------------------------------------------


async def test_a_connection_serves_many_calls_and_a_closed_session_is_opened_anew(host: Host) -> None:
    peers = set()

    async def note(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({})

    host.answer = note
    for _ in range(3):
        await run(http_step("POST", host.url))
    assert len(peers) == 1
    await close_sessions()
    await run(http_step("POST", host.url))
    assert len(peers) == 2


def test_every_event_loop_has_a_session_of_its_own() -> None:
    async def one_life() -> Any:
        async with open_host() as host:
            try:
                return await run(http_step("GET", host.url))
            finally:
                await close_sessions()

    for _ in range(2):
        loop = asyncio.new_event_loop()
        try:
            assert loop.run_until_complete(one_life()) == {"id": "c-1"}
        finally:
            loop.close()
