"""The stack as its user sees it: a process that starts, keeps and ends others. Services are stand-ins here."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sagahook.embedded.ports import free_port
from sagahook_schemas.topics import SAGA_EVENTS
from tests.processes import is_gone, until

STANDIN = Path(__file__).with_name("embedded_standin.py")
APP = """
from sagahook.saga import Saga, step, trigger

class Small(Saga):
    @trigger(source="small")
    def accept(self, event): return {}

    @step
    async def only(self, context): return None
"""


@dataclass
class Running:
    process: asyncio.subprocess.Process
    ready: dict[str, Any]

    def pids(self) -> list[int]:
        return [pid for pids in self.ready["pids"].values() for pid in pids]

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await self.process.wait()


class Stacks:
    """Starts stacks, and does not leave one running after its test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.app = folder / "app" / "small.py"
        self.app.parent.mkdir()
        self.app.write_text(APP)
        self._processes: list[asyncio.subprocess.Process] = []
        self._env = {**os.environ, "TMPDIR": str(folder)}

    async def spawn(self, data: Path | None = None, app: Path | None = None) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, STANDIN, app or self.app, data or "-", str(free_port())),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
        )
        self._processes.append(process)
        return process

    async def start(self, data: Path | None = None) -> Running:
        process = await self.spawn(data)
        assert process.stdout
        assert process.stderr
        line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        return Running(process, json.loads(line))

    def pids(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sagahook.cli.main", "dev", "pids", *options]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)

    def describe(self, *options: str) -> dict[str, Any]:
        """What `sagahook dev pids --json` says now."""
        description: dict[str, Any] = json.loads(self.pids("--json", *options).stdout)
        return description

    def left_in_temporary_directory(self) -> list[str]:
        """Data directories, then entries in the list of running stacks."""
        registry = f"sagahook-{os.getuid()}"
        data = [path.name for path in self._folder.glob("sagahook-*") if path.name != registry]
        return data + [path.name for path in self._folder.glob(f"{registry}/stacks/*")]

    async def end_all(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
                await process.wait()


@pytest_asyncio.fixture
async def stacks(tmp_path: Path) -> AsyncIterator[Stacks]:
    stacks = Stacks(tmp_path)
    yield stacks
    await stacks.end_all()


@pytest_asyncio.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stacks]:
    """For the tests that share one running stack, because each start takes seconds."""
    world = Stacks(tmp_path_factory.mktemp("world"))
    yield world
    await world.end_all()


@pytest_asyncio.fixture(scope="module")
async def stack(world: Stacks) -> Running:
    return await world.start()


async def topics(bootstrap: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_the_ready_line_says_where_everything_is_and_pids_answers_the_same_later(
    world: Stacks, stack: Running
) -> None:
    assert stack.ready["ready"] is True
    assert set(stack.ready) == {"ready", "api", "kafka", "postgres", "keys", "pids"}
    assert set(stack.ready["keys"]) == {"reader", "operator", "admin"}
    assert set(stack.ready["pids"]) == {"kafka", "postgres", "api", "saga-runner", "tracker", "notifier"}
    assert world.describe() == stack.ready
    assert SAGA_EVENTS.name("sagahook") in await topics(stack.ready["kafka"])


async def test_services_are_told_where_everything_is_but_never_a_plain_key(stack: Running) -> None:
    told = (await asyncio.to_thread(urlopen, stack.ready["api"])).read().decode().splitlines()

    assert f"SAGAHOOK_KAFKA={stack.ready['kafka']}" in told
    assert f"DATABASE_URL={stack.ready['postgres']}" in told
    reader = stack.ready["keys"]["reader"]
    assert hashlib.sha256(reader.encode()).hexdigest() in "".join(told)
    assert reader not in "".join(told)


@pytest.mark.parametrize("kind", ["tracker", "kafka", "postgres"])
async def test_what_dies_is_started_again_at_the_same_address(
    world: Stacks, stack: Running, kind: str
) -> None:
    [victim] = world.describe()["pids"][kind]

    os.kill(victim, signal.SIGKILL)

    def came_back() -> bool:
        return world.describe()["pids"][kind] not in ([], [victim])

    await until(came_back)
    assert await topics(stack.ready["kafka"])
    connection = await asyncpg.connect(stack.ready["postgres"])
    await connection.close()


@pytest.mark.long
async def test_sigterm_leaves_no_process_no_lock_and_no_temporary_data(
    stacks: Stacks, tmp_path: Path
) -> None:
    kept, temporary = await stacks.start(tmp_path / "kept"), await stacks.start()

    assert await kept.end(signal.SIGTERM) == 0
    assert await temporary.end(signal.SIGTERM) == 0

    assert all(is_gone(pid) for pid in kept.pids() + temporary.pids())
    assert not (tmp_path / "kept" / "lock").exists()
    assert stacks.left_in_temporary_directory() == []


async def test_sigkill_of_the_stack_leaves_no_process_and_data_to_go_on_with(
    stacks: Stacks, tmp_path: Path
) -> None:
    first = await stacks.start(tmp_path / "data")
    connection = await asyncpg.connect(first.ready["postgres"])
    await connection.execute("CREATE TABLE kept (id int)")
    admin = AIOKafkaAdminClient(bootstrap_servers=first.ready["kafka"])
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()

    await first.end(signal.SIGKILL)
    await until(lambda: all(is_gone(pid) for pid in first.pids()))
    second = await stacks.start(tmp_path / "data")

    assert "kept" in await topics(second.ready["kafka"])
    connection = await asyncpg.connect(second.ready["postgres"])
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()
    assert second.ready["keys"] == first.ready["keys"]


@pytest.mark.long
async def test_what_a_killed_stack_left_in_the_temporary_directory_is_removed_by_the_next(
    stacks: Stacks,
) -> None:
    first = await stacks.start()
    await first.end(signal.SIGKILL)
    await until(lambda: all(is_gone(pid) for pid in first.pids()))
    [left, entry] = stacks.left_in_temporary_directory()

    await stacks.start()

    assert left not in stacks.left_in_temporary_directory()
    assert entry not in stacks.left_in_temporary_directory()


@pytest.mark.long
async def test_a_second_stack_works_beside_the_first_but_not_on_its_data(
    stacks: Stacks, tmp_path: Path
) -> None:
    first, second = await stacks.start(tmp_path / "data"), await stacks.start()

    refused = await stacks.spawn(tmp_path / "data")
    _, complaint = await refused.communicate()

    assert first.ready["kafka"] != second.ready["kafka"]
    assert refused.returncode == 1
    assert f"Another stack runs on {tmp_path / 'data'}" in complaint.decode()
    assert "2 stacks run: say which one you mean" in stacks.pids("--json").stderr
    assert stacks.describe("--data", str(tmp_path / "data")) == first.ready
    assert stacks.describe("--pid", str(second.process.pid)) == second.ready


@pytest.mark.long
async def test_the_processes_that_hold_the_apps_code_are_restarted_when_it_changes(
    world: Stacks, stack: Running
) -> None:
    before = world.describe()["pids"]
    assert stack.process.stderr

    world.app.write_text(APP + "this is no Python")
    async with asyncio.timeout(30):
        while b"is not used yet: " not in await stack.process.stderr.readline():
            pass
    assert world.describe()["pids"] == before

    world.app.write_text(APP + "# changed")

    def changed() -> set[str]:
        after = world.describe()["pids"]
        return {kind for kind in after if after[kind] and after[kind] != before[kind]}

    await until(lambda: changed() == {"api", "saga-runner"})


@pytest.mark.long
async def test_the_log_that_a_failed_start_names_is_there_until_the_next_start(stacks: Stacks) -> None:
    stacks.app.write_text("this is no Python")
    failed = await stacks.spawn()
    await failed.communicate()
    left = stacks.left_in_temporary_directory()
    assert left

    stacks.app.write_text(APP)
    await stacks.start()

    assert not set(left) & set(stacks.left_in_temporary_directory())


async def test_an_app_that_cannot_be_imported_is_refused_with_advice(stacks: Stacks, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name")

    process = await stacks.spawn(app=broken)
    _, complaint = await process.communicate()

    assert process.returncode == 1
    assert "needs nothing_of_that_name, which is not installed" in complaint.decode()
