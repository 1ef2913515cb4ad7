"""The senders that a deployment knows by configuration; triggers name further ones (design.md §4)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, SecretStr


class Source(BaseModel):
    """One sender of webhooks.

    allow_notify_url: its events may name an outbound endpoint of their own (`X-Notify-URL`), which is then
    signed with `secret` (Standard Webhooks form, `whsec_` + base64).
    """

    model_config = ConfigDict(frozen=True)

    secret: SecretStr | None = None
    allow_notify_url: bool = False


Sources = dict[str, Source]
"""By the name in `/webhooks/{source}`; as JSON in `SAGAHOOK_SOURCES`."""
