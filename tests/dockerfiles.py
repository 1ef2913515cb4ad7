"""Dockerfiles as their instructions, and what reaches a stage."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "deploy/docker/Dockerfile"
EXAMPLE = ROOT / "deploy/docker/your-sagas/Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """name: in capitals. text: what stands behind it, in one line."""

    name: str
    text: str


@dataclass(slots=True)
class Stage:
    """base: as written. instructions: its own."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    arguments: dict[str, str]
    """Before the first stage: ARG name → default."""
    stages: dict[str, Stage]

    def of(self, target: str) -> list[Instruction]:
        """All that a target consists of: the stages that it builds on come first."""
        stage = self.stages[target]
        before = self.of(stage.base) if stage.base in self.stages else []
        return before + stage.instructions

    def last(self, target: str, name: str) -> str | None:
        found = [each.text for each in self.of(target) if each.name == name]
        return found[-1] if found else None


def read(path: Path) -> Dockerfile:
    lines = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        if name == "FROM":
            base, _, called = text.partition(" AS ")
            stage = Stage(called or str(len(stages)), base)
            stages[stage.name] = stage
        elif stage is None:
            argument, _, default = text.partition("=")
            arguments[argument] = default
        else:
            stage.instructions.append(Instruction(name, text.strip()))
    return Dockerfile(arguments, stages)
