"""The contracts as files: what is generated from the models, and what must hold for as long as logs are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sagahook.cli import client_code
from sagahook.cli.api_reference import api_references
from sagahook.cli.command_reference import command_reference
from sagahook.cli.events_reference import events_reference
from sagahook.cli.metrics_reference import metrics_reference
from sagahook.cli.openapi import documents
from sagahook.cli.schema_gate import breaking_changes
from sagahook.cli.schema_history import Published
from sagahook.cli.settings_reference import settings_reference
from sagahook.cli.topics import reference
from sagahook_schemas.asyncapi import Examples, asyncapi
from sagahook_schemas.codec import CONTRACTS, Undecodable, decode_data
from sagahook_schemas.jsonschema import json_schemas

SCHEMAS = "schemas/json"
EXAMPLES = "schemas/examples"
OPENAPI = "schemas/openapi"
ASYNCAPI = "schemas/asyncapi.json"
ABANDONED = "schemas/abandoned.txt"
"""Published versions that no log holds, so that nothing has to be compared with them. A line is the beginning of
git's id of the content, as the refusal tells it, and after a space why."""

NEW_VERSION = "a breaking change is a new version of the type: leave this one as it was and add the next"


def generated(root: Path) -> dict[str, str]:
    """The text of every generated file by its path from the repository's root. The examples that are there are those of
    the AsyncAPI document."""
    files = {f"{SCHEMAS}/{name}.json": _json(schema) for name, schema in json_schemas().items()}
    apis = documents()
    files |= {f"{OPENAPI}/{name}.json": _json(document) for name, document in apis.items()}
    return files | {
        ASYNCAPI: _json(asyncapi(_examples(root))),
        "sagahook/client/models.py": client_code.models(apis["tracker"]),
        "sagahook/client/operations.py": client_code.operations(apis["tracker"]),
        **{f"docs/reference/api-{page}.md": text for page, text in api_references().items()},
        "docs/reference/cli.md": command_reference(),
        "docs/reference/events.md": events_reference(),
        "docs/reference/metrics.md": metrics_reference(),
        "docs/reference/settings.md": settings_reference(),
        "docs/reference/topics.md": reference(),
    }


def _examples(root: Path) -> Examples:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((root / EXAMPLES).glob("*/*/*.json")):
        found.setdefault(f"{path.parts[-3]}.{path.parts[-2]}", {})[path.stem] = json.loads(path.read_bytes())
    return found


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(root: Path) -> list[str]:
    """Makes the generated files those of the models. Returns the paths that changed."""
    files = generated(root)
    changed = _differing(root, files)
    for path in changed:
        if path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(files[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def drift(root: Path) -> list[str]:
    return [
        f"{path} is not what the models say: run `make schemas`" for path in _differing(root, generated(root))
    ]


def example_problems(root: Path) -> Iterator[str]:
    """Every contract has an example, and every example is read by its contract."""
    lacking = set(CONTRACTS)
    for path in sorted((root / EXAMPLES).glob("*/*/*.json")):
        ce_type = f"{path.parts[-3]}.{path.parts[-2]}"
        lacking.discard(ce_type)
        try:
            decode_data(ce_type, path.read_bytes())
        except Undecodable as refused:
            yield f"{path.relative_to(root).as_posix()}: {refused}"
    for ce_type in sorted(lacking):
        yield f"{ce_type} has no example: add {example_directory(ce_type)}/<what it shows>.json"


def example_directory(ce_type: str) -> str:
    name, _, version = ce_type.rpartition(".")
    return f"{EXAMPLES}/{name}/{version}"


def broken_promises(root: Path, history: Iterable[Published]) -> list[str]:
    """What the models and examples take back of what was published, each break once, by its first commit."""
    abandoned = _abandoned(root)
    files = generated(root)
    promised: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for version in history:
        if version.blob.startswith(abandoned):
            continue
        if version.path.startswith(SCHEMAS):
            breaks = list(_schema_breaks(version, files))
        elif version.path.startswith(EXAMPLES):
            breaks = list(_example_breaks(root, version, promised.setdefault(version.path, version.content)))
        else:
            continue
        for broken in breaks:
            problems.setdefault(
                broken, f"{broken} (published as {version.blob[:12]} in {version.commit[:12]})"
            )
    return list(problems.values())


def _schema_breaks(version: Published, files: Mapping[str, str]) -> Iterator[str]:
    now = files.get(version.path)
    if now is None:
        yield f"{version.path}: the type {PurePosixPath(version.path).stem} was removed; {NEW_VERSION}"
    else:
        for broken in breaking_changes(json.loads(version.content), json.loads(now)):
            yield f"{version.path}: {broken}; {NEW_VERSION}"


def _example_breaks(root: Path, version: Published, promised: bytes) -> Iterator[str]:
    path = root / version.path
    if not path.exists():
        yield f"{version.path} was removed: examples stay for ever, as records do"
    elif path.read_bytes() != promised:
        yield f"{version.path} was changed: examples stay as they are; put the new case into a further file"


def _abandoned(root: Path) -> tuple[str, ...]:
    path = root / ABANDONED
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return tuple(line.split()[0] for line in lines if line.strip())


def _differing(root: Path, files: Mapping[str, str]) -> list[str]:
    """Of the generated ones those that are missing or different, and those that nothing generates any more."""
    there = {path.relative_to(root).as_posix() for path in (root / SCHEMAS).glob("*")}
    return sorted(
        (there - files.keys()) | {path for path, text in files.items() if not _is_text(root / path, text)}
    )


def _is_text(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
