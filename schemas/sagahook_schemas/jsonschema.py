"""The contracts as JSON Schemas (draft 2020-12), for readers in any language.

They say what a reader must accept: a field with a default is optional, and fields that are not named here may
come at any time.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from sagahook_schemas.codec import CONTRACTS

ENVELOPE = "sagahook.envelope"

Schema = dict[str, Any]


def json_schemas() -> dict[str, Schema]:
    """By CloudEvents type, and the headers of every record as `sagahook.envelope`."""
    schemas = {
        ce_type: contract.model_json_schema(schema_generator=WithoutFieldTitles)
        for ce_type, contract in CONTRACTS.items()
    }
    schemas[ENVELOPE] = envelope_schema()
    return {name: _identified(name, schema) for name, schema in schemas.items()}


class WithoutFieldTitles(GenerateJsonSchema):
    """A field's title would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _identified(name: str, schema: Schema) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sagahook:schema:{name}",
        **schema,
    }


def envelope_schema() -> Schema:
    """`Envelope.to_headers`, with each header's value as text."""
    count = {"type": "string", "pattern": "^[1-9][0-9]*$"}
    text = {"type": "string", "minLength": 1}
    return {
        "title": "Envelope",
        "description": "A record's Kafka headers: CloudEvents 1.0 in binary mode. All values are UTF-8 text.",
        "type": "object",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": text | {"description": "unique within ce_source"},
            "ce_source": text,
            "ce_type": text | {"description": "names the schema of the value"},
            "ce_time": {"type": "string", "format": "date-time"},
            "content-type": {"type": "string"},
            "ce_subject": text,
            "ce_correlationid": text,
            "ce_causationid": text,
            "ce_sagaid": text,
            "ce_sagarun": {"type": "string", "pattern": "^[0-9]+$"},
            "ce_sequence": count | {"description": "of the event in its run, from 1 without a gap"},
            "ce_epoch": count | {"description": "the partition owner's term"},
            "traceparent": text | {"description": "W3C Trace Context"},
        },
        "patternProperties": {"^ce_[a-z0-9]+$": {"type": "string"}},
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"],
    }
