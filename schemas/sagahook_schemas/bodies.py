"""What the triggers are given of a webhook's body, by its content type.

ingest records a body as it was sent, and has checked that it is one of these; the router reads it again.
"""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qsl

from orjson import JSONDecodeError, loads

from sagahook_schemas.base import JsonValue
from sagahook_schemas.envelope import JSON

FORM = "application/x-www-form-urlencoded"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"


def media_type(content_type: str) -> str:
    """Without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def event_of(content_type: str, body: bytes) -> JsonValue:
    """JSON as it is; of a form its fields, or the document in its only field `payload`; of a CloudEvent its data.

    Raises ValueError (JSONDecodeError where it is no JSON).
    """
    kind = JSON if content_type == JSON else media_type(content_type)
    if kind == FORM:
        return _form(body)
    parsed: JsonValue = loads(body)
    return data_of(parsed) if kind == CLOUD_EVENT else parsed


def data_of(event: JsonValue) -> JsonValue:
    """The data of a CloudEvent in its JSON format (§3.1); None where it has none. Raises ValueError where its bytes
    are no JSON."""
    if not isinstance(event, dict):
        return None
    encoded = event.get("data_base64")
    if encoded is None:
        return event.get("data")
    try:
        data: JsonValue = loads(b64decode(encoded, validate=True)) if isinstance(encoded, str) else None
    except JSONDecodeError:
        raise ValueError("data_base64 holds no JSON document") from None
    except ValueError:
        raise ValueError("data_base64 is not base64") from None
    return data


def _form(body: bytes) -> JsonValue:
    fields: dict[str, JsonValue] = dict(parse_qsl(body.decode(), keep_blank_values=True))
    payload = fields.get("payload")
    if isinstance(payload, str) and len(fields) == 1:
        document: JsonValue = loads(payload)
        return document
    return fields
