"""What the environment says. Read where it is used, so that importing a saga needs nothing."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Nothing of it is shown in an error."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    github_api_url: str = Field(
        default="https://api.github.com", description="https://HOST/api/v3 of an Enterprise"
    )
    github_token: SecretStr = Field(
        default=SecretStr(""),
        description="may read pull requests and checks, and write issues' comments and commit statuses",
    )
    github_checks_every: float = Field(
        default=30, gt=0, description="seconds between two looks at checks that run"
    )
    github_checks_looks: int = Field(default=40, ge=1, description="looks, after which they are left running")
    codegen_api_url: str = Field(default="https://api.codegen.com")
    codegen_token: SecretStr = Field(default=SecretStr(""))
    codegen_org_id: str = Field(default="", description="the organisation whose agents work")
    codegen_every: float = Field(default=30, gt=0, description="seconds between two looks at an agent")
