"""What saga-runner is told by its environment."""

from __future__ import annotations

from pydantic import Field

from sagahook.runtime.settings import ServiceSettings
from sagahook_schemas.definitions import Kind


class RunnerSettings(ServiceSettings):
    app: str = Field(description="the module, or the .py file, with the saga classes")
    max_running: int = Field(default=1_000, ge=1, description="attempts that run at once in this process")
    max_quick: int | None = Field(
        default=None, ge=1, description="of these, those of steps of the kind `quick`"
    )
    max_file: int | None = Field(
        default=None, ge=1, description="of these, those of steps of the kind `file`"
    )
    max_network: int | None = Field(
        default=None, ge=1, description="of these, those of steps of the kind `network`"
    )
    deduplication_window: float = Field(
        default=7 * 86_400.0,
        gt=0,
        description="seconds that a finished saga is remembered; a webhook with its identity joins it until then",
    )
    drain: float = Field(
        default=8.0,
        ge=0,
        description="seconds that attempts under way get to end when the process is told to stop",
    )
    threads: int = Field(default=32, ge=1, description="threads for actions that are not async")
    session_timeout: float = Field(
        default=6.0, gt=0, description="seconds after which a silent runner is dead"
    )
    heartbeat: float = Field(default=0.5, gt=0, description="seconds between two signs of life")
    route_timeout: float = Field(default=5.0, gt=0, description="seconds a trigger's handler may take")

    @property
    def caps(self) -> dict[Kind, int]:
        """In-flight caps by the steps' kind."""
        caps: dict[Kind, int | None] = {
            "quick": self.max_quick,
            "file": self.max_file,
            "network": self.max_network,
        }
        return {kind: cap for kind, cap in caps.items() if cap is not None}

    @property
    def owners_group(self) -> str:
        return f"{self.topic_prefix}-runner"

    @property
    def router_group(self) -> str:
        return f"{self.topic_prefix}-router"

    @property
    def reprocess_group(self) -> str:
        return f"{self.topic_prefix}-reprocess"

    def owner_id(self, partition: int) -> str:
        """The transactional id of a partition's owner: stable, because whoever starts under it fences the last."""
        return f"{self.topic_prefix}-runner-{partition}"

    def router_id(self, partition: int) -> str:
        return f"{self.topic_prefix}-router-{partition}"
