"""Who was refused, and who did what: the topic `audit` (api.md §8)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sagahook_schemas.base import AwareDatetime, Contract


class AuditRecorded(Contract):
    """One act of an operator (`done`), or calls that were refused.

    service: which one tells of it. action: what was asked for, as `webhook.receive` or `saga.cancel`; target: of what,
    as the source or the saga id. actor: the id or name of the key, never the key; "" where nobody was recognised. role:
    the key's, or the one that was needed. reason: the operator's words, or why it was refused. client: the address.
    count: refusals that are alike in all of these are told together, from `at` until `until`; correlation_id is then
    that of the first.
    """

    ce_type: ClassVar[str] = "sagahook.audit.recorded.v1"

    at: AwareDatetime
    service: str
    action: str
    target: str
    outcome: Literal["done", "refused"]
    actor: str = ""
    role: str = ""
    reason: str = ""
    client: str = ""
    correlation_id: str = ""
    count: int = Field(default=1, ge=1)
    until: AwareDatetime | None = None
