"""The durable form: a webhook to `/webhooks/wiki` generates a wiki, whatever dies meanwhile. The steps are the same."""

from __future__ import annotations

from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from sagahook.saga import CodeContext, saga
from sagahook_wiki_generation.generation import Generated, WikiGenerationSaga


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WIKI_")

    filesystem_url: str = "http://127.0.0.1:8094"
    git_url: str = "http://127.0.0.1:8095"


@saga(
    source="wiki",
    idempotency_key=["project_id", "request_id"],
    compensation="parallel",
    attributes={"project_id": "project_id"},
)
async def wiki_generation(ctx: CodeContext, event: dict[str, Any]) -> Generated:
    settings = Settings()
    generation = WikiGenerationSaga(
        event["project_id"],
        event["user_id"],
        settings.filesystem_url,
        settings.git_url,
        {},  # the runner sends them by itself: SAGAHOOK_INTERNAL_TOKEN, to SAGAHOOK_INTERNAL_HOSTS
        saga_id=ctx.saga_id,
    )
    return await generation.generate(event["files"])
