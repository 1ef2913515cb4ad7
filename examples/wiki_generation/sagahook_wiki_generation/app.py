"""The durable form: a webhook to `/webhooks/wiki` generates a wiki, whatever dies meanwhile. The steps are the same."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from sagahook.saga import CodeContext, saga
from sagahook_wiki_generation.generation import Generated, WikiGenerationSaga


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WIKI_", hide_input_in_errors=True)

    filesystem_url: str = "http://127.0.0.1:8094"
    git_url: str = "http://127.0.0.1:8095"
    internal_token: SecretStr = SecretStr("")


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
        {"X-INTERNAL-TOKEN": settings.internal_token.get_secret_value()},
        saga_id=ctx.saga_id,
    )
    return await generation.generate(event["files"])
