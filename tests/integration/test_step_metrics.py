"""What HTTP steps tell the metrics, against real hosts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from sagahook.saga.http import Breaker, close_sessions, http_step
from sagahook.saga.http_answers import HttpRefused, HttpUnknownOutcome
from sagahook.saga.metrics import note_agent_task
from tests.http_host import Host, open_host, run

LIMIT = "github_api_rate_limit_remaining"


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    await close_sessions()
    async with open_host() as one:
        yield one
    await close_sessions()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def counted(name: str, **labels: str) -> float:
    """So far in this process, which other tests share."""
    return value(name, **labels) or 0.0


def github(host: Host, status: int = 200, **headers: str) -> None:
    host.says(
        status, **{"X-GitHub-Request-Id": "F00D:1"}, **{f"X-RateLimit-{k}": v for k, v in headers.items()}
    )


async def test_what_githubs_api_says_of_its_limit_is_kept(host: Host) -> None:
    github(host, Resource="core", Remaining="4987", Reset="1767225600")
    await run(http_step("GET", host.url))
    assert value(LIMIT, resource="core") == 4987
    assert value("sagahook_github_rate_limit_reset_timestamp_seconds", resource="core") == 1767225600
    refused = counted("github_api_requests_total", resource="core", status="4xx")
    github(host, 403, Resource="core", Remaining="0")
    with pytest.raises(HttpRefused):
        await run(http_step("GET", host.url))
    assert value(LIMIT, resource="core") == 0
    assert value("github_api_requests_total", resource="core", status="4xx") == refused + 1


async def test_what_github_has_no_limit_of_makes_no_label(host: Host) -> None:
    github(host, Resource="made-up", Remaining="7")
    await run(http_step("GET", host.url))
    assert (value(LIMIT, resource="made-up"), value(LIMIT, resource="other")) == (None, 7)
    github(host, Resource="other", Remaining="-1e9")
    await run(http_step("GET", host.url))
    assert value(LIMIT, resource="other") == 7


async def test_what_another_host_says_of_its_limit_is_not_githubs(host: Host) -> None:
    host.says(200, **{"X-RateLimit-Remaining": "3", "X-RateLimit-Resource": "search"})
    await run(http_step("GET", host.url))
    assert value(LIMIT, resource="search") is None


async def test_a_host_is_shown_for_as_long_as_it_is_left_alone(host: Host) -> None:
    step = http_step("GET", host.url, breaker=Breaker(failures=1, open_seconds=0.05))
    host.says(500)
    with pytest.raises(HttpUnknownOutcome):
        await run(step)
    assert value("sagahook_step_circuit_open", host=host.url) == 1
    host.says(200)
    await asyncio.sleep(0.06)
    await run(step)
    assert value("sagahook_step_circuit_open", host=host.url) is None


def test_packs_count_the_tasks_of_coding_agents_under_the_name_that_dashboards_have() -> None:
    before = counted("codegen_agent_tasks_total", status="started")
    note_agent_task("started")
    assert value("codegen_agent_tasks_total", status="started") == before + 1
