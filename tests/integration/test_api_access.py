"""Who may call what, how often, and what they are told: an API's guards and errors, over HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

import aiohttp
import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, Field

from sagahook.runtime.audit import Audit
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.health import Health, health_routes
from sagahook.runtime.http_errors import ApiError, install_error_handlers
from sagahook.runtime.keys import Access, Calling
from sagahook.runtime.settings import ApiSettings
from tests.tracker_harness import serving

EXPIRED = datetime(2026, 1, 1, tzinfo=UTC)
KEYS: list[dict[str, Any]] = [
    {"id": key, "role": role, "hash": sha256(key.encode()).hexdigest(), **further}
    for key, role, further in (
        ("reader-1", "reader", {}),
        ("operator-1", "operator", {}),
        ("operator-2", "operator", {"rate_limit": "1/h burst 1000"}),
        ("operator-3", "operator", {"expires_at": EXPIRED}),
    )
]


class Body(BaseModel):
    colour: Literal["red", "green"]
    size: int = Field(ge=1)


Answer = tuple[int, Any, Mapping[str, str]]


class Api:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def ask(self, path: str, key: str | None = None, *, method: str = "GET", **options: Any) -> Answer:
        """status code, body, headers"""
        headers = options.pop("headers", {}) | ({} if key is None else {"Authorization": f"Bearer {key}"})
        async with self._http.request(method, path, headers=headers, **options) as response:
            return response.status, await response.json(), response.headers


@asynccontextmanager
async def open_api(**settings: Any) -> AsyncIterator[Api]:
    """One route for each role and one for everyone; 100 calls an hour and 5 at once by default."""
    told = {"api_keys": KEYS, "api_rate_limit": "100/h burst 5", "open_rate_limit": "100/h burst 7"}
    given = ApiSettings(kafka="nowhere:9092", **{**told, **settings})
    access = Access(given, Audit("nowhere:9092", "t", "test", SystemClock()), SystemClock())
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(health_routes(Health()))

    @app.get("/open", dependencies=[Depends(access.everyone())])
    async def anybody(limit: Annotated[int, Query(le=10)] = 1) -> dict[str, int]:
        return {"limit": limit}

    for role in ("reader", "operator", "admin"):

        @app.get(f"/{role}", dependencies=[Depends(access.needs(role))])
        async def somebody(caller: Calling) -> dict[str, str]:
            return {"actor": caller.actor, "client": caller.client, "action": caller.action}

    @app.post("/bodies")
    async def body(body: Body) -> None: ...

    @app.put("/bodies")
    async def other(body: Body) -> None: ...

    @app.get("/behind")
    async def behind() -> None:
        raise ApiError(503, "not yet", retry_after=3, reason="behind")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of the server")

    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        yield Api(http)


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    async with open_api() as api:
        yield api


async def test_a_key_opens_its_role_and_is_known_by_its_id(api: Api) -> None:
    assert (await api.ask("/operator", "operator-1"))[:2] == (
        200,
        {"actor": "operator-1", "client": "127.0.0.1", "action": "somebody"},
    )


async def test_unknown_expired_and_lesser_keys_get_one_answer(api: Api) -> None:
    answers = [await api.ask("/operator", key) for key in ("reader-1", "unheard-of", "operator-3")]
    for code, body, headers in answers:
        assert (code, body) == (403, answers[0][1])
        assert headers.keys() == answers[0][2].keys()


async def test_no_key_is_401_and_says_how_one_is_sent(api: Api) -> None:
    code, body, headers = await api.ask("/reader")
    assert (code, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer KEY" in body["error"]


async def test_a_role_that_no_key_has_is_switched_off_and_says_how_to_switch_it_on(api: Api) -> None:
    code, body, _ = await api.ask("/admin", "operator-1")
    assert (code, "sagahook keys new --role admin" in body["error"]) == (403, True)


async def test_each_key_has_its_own_limit_and_is_told_when_to_come_again(api: Api) -> None:
    codes = [(await api.ask("/operator", "operator-1"))[0] for _ in range(6)]
    assert codes == [200] * 5 + [429]
    _, body, headers = await api.ask("/operator", "operator-1")
    assert headers["RateLimit-Policy"] == '"api";q=5;w=180'
    assert headers["RateLimit"] == f'"api";r=0;t={headers["Retry-After"]}'
    assert 30 <= int(headers["Retry-After"]) <= 36
    assert "with this API key: wait" in body["error"]
    assert (await api.ask("/reader", "reader-1"))[0] == 200


async def test_a_key_may_have_another_limit_than_the_usual_one(api: Api) -> None:
    assert {(await api.ask("/operator", "operator-2"))[0] for _ in range(20)} == {200}


async def test_whoever_guesses_is_slowed_down_and_locks_out_nobody(api: Api) -> None:
    guesses = ["unheard-of", "reader-1", "operator-3", None, "", "x"]
    codes = [(await api.ask("/operator", guess))[0] for guess in guesses]
    assert (codes[:3], codes[5]) == ([403, 403, 403], 429)
    assert (await api.ask("/operator", "operator-1"))[0] == 200


async def test_what_is_open_is_limited_by_address_and_by_key_for_whoever_shows_one(api: Api) -> None:
    assert [(await api.ask("/open"))[0] for _ in range(8)] == [200] * 7 + [429]
    assert (await api.ask("/open", "reader-1"))[0] == 200
    assert (await api.ask("/open", "unheard-of"))[0] == 429


async def test_behind_a_proxy_each_client_has_its_own() -> None:
    async with open_api(trusted_proxies="127.0.0.1") as api:

        async def ask(client: str) -> int:
            return (await api.ask("/open", headers={"X-Forwarded-For": client}))[0]

        assert [await ask("192.0.2.1") for _ in range(8)][-1] == 429
        assert await ask("192.0.2.2") == 200


async def test_health_and_metrics_are_never_limited(api: Api) -> None:
    assert {(await api.ask("/health"))[0] for _ in range(50)} == {200}


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json;q=0.5", "application/json"),
        ("application/problem+json;q=0", "application/json"),
    ],
)
async def test_errors_are_problems_for_whoever_asks_for_those(api: Api, accept: str, media: str) -> None:
    code, body, headers = await api.ask("/nowhere", headers={"Accept": accept, "X-Correlation-ID": "mine"})
    assert (code, headers["Content-Type"], body["correlation_id"]) == (404, media, "mine")
    if media == "application/json":
        assert body.keys() == {"error", "status_code", "path", "correlation_id"}
    else:
        assert (body["title"], body["status"], body["instance"]) == ("Not Found", 404, "/nowhere")
        assert "/openapi.json" in body["detail"]


async def test_another_method_is_405_and_names_all_that_there_are(api: Api) -> None:
    code, body, headers = await api.ask("/bodies", method="DELETE")
    assert (code, headers["Allow"], "there is POST, PUT" in body["error"]) == (405, "POST, PUT", True)


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        (
            {"json": {"colour": "blue", "size": 0}},
            [
                ("body.colour", "must be 'red' or 'green'"),
                ("body.size", "must be greater than or equal to 1"),
            ],
        ),
        ({"json": {"colour": "red"}}, [("body.size", "is needed")]),
        ({"json": 7}, [("body", "must be a JSON object, sent with Content-Type: application/json")]),
        (
            {"data": b'{"colour": ', "headers": {"Content-Type": "application/json"}},
            [("body", "is no JSON: Expecting value at character 11")],
        ),
    ],
)
async def test_a_wrong_body_is_400_and_each_place_says_what_is_allowed(
    api: Api, sent: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    code, body, _ = await api.ask("/bodies", method="POST", **sent)
    assert (code, [(each["where"], each["problem"]) for each in body["errors"]]) == (400, errors)
    assert body["error"] == "; ".join(f"{where}: {problem}" for where, problem in errors)


async def test_a_wrong_parameter_is_400_and_named(api: Api) -> None:
    code, body, _ = await api.ask("/open?limit=11")
    assert (code, body["error"]) == (400, "query.limit: must be less than or equal to 10")


async def test_a_word_for_programs_stands_beside_the_text(api: Api) -> None:
    code, body, headers = await api.ask("/behind")
    assert (code, body["reason"], headers["Retry-After"]) == (503, "behind", "3")


async def test_what_fails_says_nothing_of_its_inside_but_where_to_look(api: Api) -> None:
    code, body, _ = await api.ask("/broken")
    assert (code, "secret" in str(body)) == (500, False)
    assert body["correlation_id"]
