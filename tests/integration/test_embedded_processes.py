"""Children: kept running while this process lives, gone when it is gone."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from sagahook.embedded.errors import StackError
from sagahook.embedded.process import Child, Command
from sagahook.embedded.supervisor import ServiceProcess, ServiceSpec, Supervisor
from tests.processes import is_gone, until

SLEEPER = "import time; time.sleep(60)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
    + SLEEPER
)
PARENT = f"""
import asyncio, sys
from pathlib import Path
from sagahook.embedded.process import Child, Command

async def main():
    child = await Child.spawn(Command((sys.executable, "-c", {SLEEPER!r}), Path(sys.argv[1])))
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


def python(code: str, log: Path) -> Command:
    return Command((sys.executable, "-c", code), log)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
async def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, tmp_path / "log"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    child = int(await parent.stdout.readline())
    assert not is_gone(child)

    parent.kill()
    await parent.wait()

    await until(lambda: is_gone(child))


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = await Child.spawn(python(DEAF, tmp_path / "log"))
    await until(lambda: "deaf" in (tmp_path / "log").read_text())

    await child.stop(grace=0.2)

    assert child.exit_code == -signal.SIGKILL


async def test_ctrl_c_in_the_terminal_does_not_reach_a_child(tmp_path: Path) -> None:
    child = await Child.spawn(python(SLEEPER, tmp_path / "log"))

    assert os.getpgid(child.pid) == child.pid

    await child.stop(grace=5)


async def test_a_child_that_ends_while_starting_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = await Child.spawn(python("raise SystemExit('no disk left')", tmp_path / "log"))

    with pytest.raises(StackError, match=r"(?s)Small ended while starting.*no disk left"):
        await child.until(never, name="Small", seconds=20)


async def test_a_child_that_stays_mute_is_stopped_and_reported(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = await Child.spawn(python(SLEEPER, tmp_path / "log"))

    with pytest.raises(StackError, match="Small did not answer within 0 s"):
        await child.until(never, name="Small", seconds=0.1)
    assert child.exit_code is not None


class Supervised:
    """A supervisor with small services in one folder, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(say=self.said.append, changed=lambda: None)

    async def start(self, name: str, code: str) -> None:
        """Each life of the service leaves a line in its log."""
        spec = ServiceSpec(
            name, "service", (sys.executable, "-c", f"print('life', flush=True); {code}"), grace=5
        )
        await self.supervisor.start(name, "service", ServiceProcess(spec, self.folder / name))

    def lives(self, name: str) -> int:
        return (self.folder / name).read_text().count("life")


async def test_a_service_that_ends_is_started_again_and_people_are_told_why(tmp_path: Path) -> None:
    stand = Supervised(tmp_path)
    await stand.start("short", "raise SystemExit(3)")

    await until(lambda: stand.lives("short") == 3)
    await stand.supervisor.stop(["short"])

    assert stand.said[:2] == [
        "short ended with exit code 3; starting it again in 0.25 s",
        "short ended with exit code 3; starting it again in 0.5 s",
    ]


async def test_a_service_that_is_stopped_stays_down(tmp_path: Path) -> None:
    stand = Supervised(tmp_path)
    await stand.start("steady", SLEEPER)
    [pid] = stand.supervisor.pids()["service"]

    await stand.supervisor.stop(["steady"])

    assert is_gone(pid)
    assert (stand.supervisor.pids(), stand.said) == ({}, [])


async def test_a_restart_that_was_asked_for_is_no_death(tmp_path: Path) -> None:
    stand = Supervised(tmp_path)
    await stand.start("steady", SLEEPER)
    await until(lambda: stand.lives("steady") == 1)

    await stand.supervisor.restart(["steady"])

    await until(lambda: stand.lives("steady") == 2)
    assert (stand.supervisor.deaths("steady"), stand.said) == (0, [])
    await stand.supervisor.stop(["steady"])
