"""`sagahook endpoints`, `sagahook deliveries` and `sagahook listen`, against a notifier and its API."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from sagahook.cli.endpoints_given import moment
from sagahook.cli.main import app
from sagahook.cli.sagas_client import NotDone
from tests.notifier_api import Api, open_api
from tests.notifier_harness import COMPLETED, SECRET, Deployment, deploy, open_receiver, started, verified

Run = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture
async def deployment(kafka_bootstrap: str, topic_prefix: str, database_url: str) -> AsyncIterator[Deployment]:
    async with deploy(kafka_bootstrap, topic_prefix, database_url) as deployed, deployed.running():
        yield deployed


@pytest_asyncio.fixture
async def api(deployment: Deployment) -> AsyncIterator[Api]:
    async with open_api(
        deployment.database_url, kafka=deployment.kafka, topic_prefix=deployment.prefix
    ) as opened:
        yield opened


@pytest_asyncio.fixture
async def run(api: Api) -> Run:
    async def run(*words: str, **environment: str) -> Result:
        told = {"SAGAHOOK_URL": api.url, "SAGAHOOK_KEY": "admin", "COLUMNS": "250", **environment}
        return await asyncio.to_thread(CliRunner().invoke, app, words, env=told)

    return run


@asynccontextmanager
async def listening(api: Api, *words: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sagahook.cli.main",
        "listen",
        *words,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "SAGAHOOK_URL": api.url, "SAGAHOOK_KEY": "admin", **environment},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def said(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(30):
        return (await stream.readline()).decode()


async def test_an_endpoint_from_its_beginning_to_its_end(
    run: Run, deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("Bearer hunter2\n")
    async with open_receiver() as receiver:
        hook = f"{receiver.url}/hook"
        header = f"Authorization:file:{tmp_path}/key"
        added = await run(
            *("endpoints", "add", hook, "--id", "crm", "--event", "task_completed", "--retry-policy", "0.01"),
            *(
                "--header",
                header,
                "--filter",
                'saga == "order"',
                "--rate-limit",
                "1000/s",
                "--source",
                "orders",
            ),
        )
        assert added.exit_code == 0, added.output
        secret = re.findall(r"secret, shown this once: (\S+)", added.output)[0]

        tested = await run("endpoints", "test", "crm")
        assert (tested.exit_code, tested.output.split(" after ")[0][-3:]) == (0, "204"), tested.output
        assert verified(receiver.arrivals[0], secret)["type"] == "endpoint.test"
        assert receiver.arrivals[0].headers["Authorization"] == "Bearer hunter2"

        receiver.answer("/hook", 500)
        await deployment.log.write("s-1", started("s-1"), COMPLETED)
        await deployment.wait_until("SELECT count(*) = 1 FROM notifier.deliveries WHERE status = 'exhausted'")
        dead = await run("deliveries", "list")
        assert "task_completed" in dead.output
        (id,) = re.findall(r"^ *(\S+) +crm +task_completed +s-1 +exhausted +2 ", dead.output, re.MULTILINE)
        shown = await run("deliveries", "show", id)
        assert shown.output.count("the receiver answered 500") == 2
        assert "hunter2" not in shown.output
        assert "> webhook-signature: [removed]" in shown.output

        failed = await run("endpoints", "test", "crm")
        assert (failed.exit_code, "the receiver answered 500" in failed.output) == (1, True)
        receiver.answer("/hook", 204)
        recovered = await run("endpoints", "recover", "crm", "--since", "1h")
        assert re.search(r"^[12] deliveries are sent again", recovered.output, re.MULTILINE), recovered.output
        await deployment.wait_until("SELECT status = 'succeeded' FROM notifier.deliveries WHERE id = $1", id)
        assert (await run("deliveries", "resend", id)).exit_code == 0
        await deployment.wait_until("SELECT attempts = 4 FROM notifier.deliveries WHERE id = $1", id)

        rotated = await run("endpoints", "rotate", "crm", "--overlap", "1")
        assert "signs beside it until" in rotated.output
        edited = await run(
            "endpoints", "edit", "crm", "--description", "the CRM", "--clear", "sources", "--disable"
        )
        assert edited.exit_code == 0, edited.output
        facts = (await run("endpoints", "show", "crm")).output
        assert "the CRM" in facts
        assert secret not in facts
        assert re.search(r"last 24 h +\d+ succeeded", facts), facts
        assert "crm" in (await run("endpoints", "list")).output
        assert (await run("endpoints", "enable", "crm")).exit_code == 0
        assert (await run("endpoints", "remove", "crm", "--yes")).exit_code == 0
    gone = await run("endpoints", "show", "crm")
    assert (gone.exit_code, "There is no endpoint crm" in gone.output) == (1, True)


async def test_what_is_wrong_is_one_line(run: Run) -> None:
    for words, complaint in (
        (("endpoints", "add", "ftp://x"), "the URL must be http or https"),
        (("endpoints", "add", "https://x.example", "--filter", "progress = 1"), "at character 10"),
        (("endpoints", "add", "https://x.example", "--secret", "whsec_hunter2"), "written as a reference"),
        (("endpoints", "add", "https://x.example", "--header", "X-Key"), "not of the form NAME:VALUE"),
        (("endpoints", "add", "https://x.example", "--retry-policy", "1,soon"), "is not understood"),
        (("endpoints", "edit", "crm"), "Say what is to change"),
        (("endpoints", "recover", "crm", "--since", "yesterday"), "is no time"),
        (("deliveries", "list", "--status", "pending"), "give --endpoint"),
        (("deliveries", "resend", "none"), "There is no delivery none"),
        (("listen", "--secret", "env:NOT_THERE"), "env:NOT_THERE is not set"),
    ):
        result = await run(*words)
        assert (result.exit_code, complaint in result.output) == (1, True), result.output
        assert "hunter2" not in result.output.replace(words[-1], "")


async def test_a_listener_registers_itself_verifies_what_arrives_and_leaves(
    api: Api, deployment: Deployment
) -> None:
    async with listening(api, "--register", "--event", "task_completed", "--json") as listener:
        assert "listening at http://127.0.0.1:" in await said(listener.stderr)
        assert "registered as ep-" in await said(listener.stderr)
        await deployment.log.write("s-1", started("s-1"), COMPLETED)
        heard = json.loads(await said(listener.stdout))
        listener.terminate()
        assert await listener.wait() == 0

    assert (heard["verified"], heard["again"], heard["status"]) == (True, False, 204)
    assert heard["payload"]["data"]["task_id"] == "s-1"
    assert (await api.get("/api/v1/endpoints")).body == []


@pytest.mark.long
async def test_a_listener_takes_only_what_its_secret_verifies(api: Api, deployment: Deployment) -> None:
    async with listening(api, "--secret", "env:MINE", MINE=SECRET) as listener:
        url = (await said(listener.stderr)).split()[2].rstrip(";")
        await api.add(id="other", url=url, retry_policy=[])
        await api.add(id="mine", url=url, secret=SECRET, retry_policy=[])
        for id, status, line in (("other", 401, "NOT VERIFIED: "), ("mine", 204, "  verified; answered 204")):
            delivery = (await api.post(f"/api/v1/endpoints/{id}:test")).body["delivery_id"]
            assert delivery in await said(listener.stdout)
            assert line in await said(listener.stdout)
            await deployment.wait_until(
                "SELECT status_code = $2 FROM notifier.attempts WHERE delivery_id = $1", delivery, status
            )
            while await said(listener.stdout) != "}\n":
                pass


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90m", 90), ("6h", 360), ("2d", 2880), ("2026-03-01T11:00:00Z", 60), ("2026-03-01T11:00", 60)],
)
def test_a_time_may_be_said_by_how_long_ago_it_was(text: str, minutes: int) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)

    assert moment(text, noon) == noon - timedelta(minutes=minutes)
    with pytest.raises(NotDone):
        moment(f"{text}?", noon)
