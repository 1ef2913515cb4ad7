"""The reference of every record type, made from the contracts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sagahook_schemas.base import Contract
from sagahook_schemas.codec import CONTRACTS

_HEAD = """\
# Events

What the log's records say, by the `ce_type` of each; [topics](topics.md) says which topic holds what, and how a
record's headers read. Within a version no field is dropped or changes its meaning. Further ones may come, so readers
pass over what they do not know. `make schemas` makes this page from the contracts.
"""


def events_reference() -> str:
    """Markdown: a section for each context, in it each type with its fields."""
    parts = [_HEAD]
    # They are registered in the order in which their modules happen to be imported.
    ordered = sorted(CONTRACTS.items(), key=lambda item: (item[1].__module__, item[0]))
    for module, contracts in groupby(ordered, lambda item: item[1].__module__):
        about = inspect.cleandoc(sys.modules[module].__doc__ or "")
        parts.append(f"\n## {module.rpartition('.')[2].capitalize()}\n\n{about}\n")
        parts += [_section(ce_type, contract) for ce_type, contract in contracts]
    return "".join(parts)


def _section(ce_type: str, contract: type[Contract]) -> str:
    schema = contract.model_json_schema()
    rows = "\n".join(_rows(schema))
    table = f"\n| field | type | |\n|---|---|---|\n{rows}\n" if rows else ""
    about = inspect.cleandoc(contract.__dict__.get("__doc__") or "")
    described = f"{about}\n\n" if about else ""
    return f"\n### {ce_type}\n\n{described}[JSON Schema](../../schemas/json/{ce_type}.json)\n{table}"


def _rows(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        always = "always" if name in required else ""
        yield f"| `{name}` | {_type(field)} | {field.get('description') or always} |"


def _type(field: dict[str, Any]) -> str:
    """In words: of a union each but null, which being absent says as well."""
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"] if each != {"type": "null"})
    if "$ref" in field:
        return f"{field['$ref'].rpartition('/')[2]}"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties']) or 'any value'}"
    return str(field.get("format") or field.get("type") or "any value")
