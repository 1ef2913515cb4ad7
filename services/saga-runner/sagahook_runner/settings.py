"""What saga-runner is told by its environment."""

from __future__ import annotations

from pydantic import Field

from sagahook.runtime.settings import ServiceSettings


class RunnerSettings(ServiceSettings):
    app: str = Field(description="the module, or the .py file, with the saga classes")
    max_running: int = Field(default=1_000, ge=1, description="attempts that run at once in this process")
    threads: int = Field(default=32, ge=1, description="threads for actions that are not async")
    session_timeout: float = Field(
        default=6.0, gt=0, description="seconds after which a silent runner is dead"
    )
    heartbeat: float = Field(default=0.5, gt=0, description="seconds between two signs of life")
    route_timeout: float = Field(default=5.0, gt=0, description="seconds a trigger's handler may take")

    @property
    def owners_group(self) -> str:
        return f"{self.topic_prefix}-runner"

    @property
    def router_group(self) -> str:
        return f"{self.topic_prefix}-router"

    def owner_id(self, partition: int) -> str:
        """The transactional id of a partition's owner: stable, because whoever starts under it fences the last."""
        return f"{self.topic_prefix}-runner-{partition}"

    def router_id(self, partition: int) -> str:
        return f"{self.topic_prefix}-router-{partition}"
