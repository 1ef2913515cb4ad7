"""From records to contracts. Old versions are lifted by pure upcasters, so that the log stays readable."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import ValidationError

from sagahook_schemas import audit, commands, definitions, notifications, participants, sagas, steps, webhooks
from sagahook_schemas.base import Contract, registered
from sagahook_schemas.envelope import Envelope, Header

__all__ = ["CONTRACTS", "UPCASTERS", "Undecodable", "decode", "decode_data"]

_CONTEXTS = (webhooks, definitions, commands, sagas, steps, participants, notifications, audit)

CONTRACTS: dict[str, type[Contract]] = dict(sorted(registered().items()))
"""Every record type whose value is JSON, by its CloudEvents type; in the order of these, whichever module was imported
first."""

Upcaster = Callable[[Contract], Contract]
UPCASTERS: dict[str, Upcaster] = {}
"""From an old type to a function that lifts its data to the next version. Empty while every type is at v1."""


class Undecodable(ValueError):
    """The record is of no known type, or its value does not fit: it belongs in the dead-letter topic."""


def decode_data(ce_type: str, value: bytes | None) -> Contract:
    """Raises Undecodable."""
    contract = CONTRACTS.get(ce_type)
    if contract is None:
        raise Undecodable(f"no contract is known for the type {ce_type!r}")
    if value is None:
        raise Undecodable(f"a record of type {ce_type!r} has no value")
    try:
        data = contract.model_validate_json(value)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the value"
        raise Undecodable(f"a record of type {ce_type!r} does not fit: {where}: {first['msg']}") from None
    upcast = UPCASTERS.get(ce_type)
    while upcast is not None:
        data = upcast(data)
        upcast = UPCASTERS.get(data.ce_type)
    return data


def decode(headers: Iterable[Header], value: bytes | None) -> tuple[Envelope, Contract]:
    """Raises InvalidEnvelope or Undecodable."""
    envelope = Envelope.from_headers(headers)
    return envelope, decode_data(envelope.type, value)
