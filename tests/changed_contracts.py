"""The contracts as a later release may have them: a copy with changes, and what comes of it.

`changed` makes the copy. What it does then is asked of a process of its own, which finds the copy before ours.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from sagahook.cli import contracts
from sagahook.cli.main import app
from sagahook_schemas.codec import CONTRACTS
from sagahook_schemas.identity import saga_id
from tests.downstream import as_written

HERE = Path(__file__).parents[1]
SAGAS = "schemas/sagahook_schemas/sagas.py"

PAUSED = "sagahook.saga.paused.v1"
PAUSED_EXAMPLE = "schemas/examples/sagahook.saga.paused/v1/by_an_operator.json"

Changes = Mapping[str, str]
"""Of `sagas.py`: what stands there, and what stands there then."""

COMPATIBLE: Changes = {
    # An optional field, of a type that consumers read.
    '    ce_type: ClassVar[str] = "sagahook.saga.completed.v1"\n\n    name: str\n': (
        '    ce_type: ClassVar[str] = "sagahook.saga.completed.v1"\n\n    name: str\n    took_ms: int | None = None\n'
    ),
    # A type that they have never heard of.
    "class SagaLetGo(Contract):": (
        "class SagaPaused(Contract):\n"
        '    """An operator holds the run."""\n\n'
        f'    ce_type: ClassVar[str] = "{PAUSED}"\n\n'
        "    actor: str\n\n\n"
        "class SagaLetGo(Contract):"
    ),
}
BREAKING: Changes = {"    unresolved: tuple[str, ...]\n": "    left_behind: tuple[str, ...]\n"}


@dataclass(frozen=True)
class Release:
    """What a copy did. written: the files that were no longer what its models say. code, said: of `sagahook schemas
    check` then."""

    written: list[str]
    code: int
    said: str
    document: Path


def changed(folder: Path, changes: Changes, examples: Mapping[str, str]) -> None:
    """The copy, with ours as what was published. examples: further ones, by path."""
    shutil.copytree(HERE / "schemas", folder / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    told = ("-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false")
    for arguments in (
        ("init", "--quiet"),
        ("add", "schemas"),
        ("commit", "--quiet", "--message", "published"),
    ):
        subprocess.run(["git", *told, *arguments], cwd=folder, env=environment, check=True)
    text = (folder / SAGAS).read_text()
    for was, is_now in changes.items():
        assert text.count(was) == 1, was
        text = text.replace(was, is_now)
    (folder / SAGAS).write_text(text)
    for path, example in examples.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(example)


async def released(folder: Path) -> Release:
    """Writes what is generated, and checks it."""
    said = json.loads(await _there(folder, "release"))
    return Release(**said, document=folder / contracts.ASYNCAPI)


async def written_there(folder: Path) -> list[dict[str, Any]]:
    """Records of the saga log, `{key, headers, value}`, as that release encodes them."""
    records: list[dict[str, Any]] = json.loads(await _there(folder, "records"))
    return records


async def _there(folder: Path, what: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.changed_contracts", str(folder), what),
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(folder / "schemas")},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed


# -- in that process --------------------------------------------------------------------------------------------------


def _release(folder: Path) -> dict[str, Any]:
    written = contracts.write(folder)
    checked = CliRunner().invoke(app, ["schemas", "check", "--root", str(folder)])
    return {"written": written, "code": checked.exit_code, "said": checked.output}


_NEW_EXTENSION = (("tenant", "acme"),)


def _records() -> list[dict[str, Any]]:
    started = {"version": 2, "definition_hash": "f00d", "event_id": "e", "context": {}, "total_steps": 1}
    failed = {"failed_step": "charge", "error": "PermanentError: declined"}
    ends: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("shop", "completed", {"took_ms": 12}),
        ("shop", "rolled_back", failed),
        ("carrier", "failed", {**failed, "unresolved": ["reserve"]}),
    )
    records = []
    for source, end, data in ends:
        key = saga_id(source, "later", end)
        log = (
            (
                "sagahook.saga.started.v1",
                {**started, "name": "later", "source": source, "correlation_id": "c"},
            ),
            (PAUSED, {"actor": "ada"}),
            (f"sagahook.saga.{end}.v1", {"name": "later", **data}),
        )
        records += [
            as_written(key, sequence, CONTRACTS[ce_type].model_validate(data), _NEW_EXTENSION)
            for sequence, (ce_type, data) in enumerate(log, 1)
        ]
    return records


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_release(Path(sys.argv[1])) if sys.argv[2] == "release" else _records()))
