"""What users' code hands over to be kept: contexts and results."""

from __future__ import annotations

from orjson import JSONEncodeError, dumps
from pydantic_core import from_json

from sagahook_schemas.base import JsonValue


class NotKept(ValueError):
    """The value cannot stand in the log; the text says why, from `not_json: ` or `too_large: ` on."""


def kept(value: object, limit: int) -> JsonValue:
    """The value as every reader of the log will see it: a tuple as a list, a date as text, infinity as null.

    It is a copy, so that nothing its maker does to it later is seen. limit: bytes of JSON. Raises NotKept.
    """
    if value is None:
        return None
    try:
        text = dumps(value)
        # Readers decode to a certain depth; two levels of it belong to what the value is wrapped in.
        [[copy]] = from_json(b"[[%b]]" % text)
    except (JSONEncodeError, ValueError) as invalid:
        raise NotKept(f"not_json: {invalid}") from None
    if len(text) > limit:
        raise NotKept(f"too_large: {len(text)} bytes of JSON, the limit is {limit}")
    return copy  # type: ignore[no-any-return]  # from_json gives nothing but JSON values


def told(raised: BaseException, limit: int) -> str:
    """`Type: message`, at most so many characters, always encodable. Never raises."""
    try:
        message = str(raised)
    except Exception:  # an exception's own text is users' code too
        message = "(it has no text)"
    return f"{type(raised).__name__}: {message}"[:limit].encode(errors="replace").decode()
