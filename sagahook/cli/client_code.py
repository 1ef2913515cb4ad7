"""The client's models and operations, made from the OpenAPI document of the status API."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = '''# fmt: off
# ruff: noqa: E501
"""{what} `make schemas` makes this from schemas/openapi/tracker.json."""

from __future__ import annotations

'''
_MODELS = """from typing import Annotated, Literal

from pydantic import AwareDatetime, JsonValue

from sagahook.client.model import OPEN, Model

"""
_OPERATIONS = """from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from sagahook.client import models
from sagahook.client.calls import Call, Operation, path

"""
_NOT_THE_CLIENTS = frozenset({"health_report", "livez", "readyz", "startupz", "metrics", "stream_events"})
"""Those for probes and Prometheus, and the one that does not end."""

_NAMES = {
    ("PENDING", "SUSPENDED"): "State",
    ("pending", "failed"): "TaskStatus",
    ("pending", "suspended"): "SagaStatus",
    ("queued", "ignored"): "Status",
    ("preparing", "compensation_failed"): "StepStatus",
}
"""Of the enumerations that several models have, by their first word and their last."""

_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def models(document: Mapping[str, Any]) -> str:
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    wanted = _reachable(document, schemas)
    enums: dict[str, list[str]] = {}
    classes = [_model(name, schemas[name], enums) for name in sorted(wanted)]
    aliases = [f"{name} = Annotated[{_literal(words)}, OPEN]" for name, words in sorted(enums.items())]
    return (
        _HEAD.format(what="What the status API answers.")
        + _MODELS
        + "\n".join(aliases)
        + "\n"
        + "".join(f"\n\n{each}" for each in classes)
    )


def operations(document: Mapping[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    found = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["operationId"] not in _NOT_THE_CLIENTS
    ]
    functions = [_operation(method, path, operation, schemas) for method, path, operation in found]
    names = [operation["operationId"] for _, _, operation in found]
    members = "\n".join(f"    {name} = Operation({name})" for name in names)
    return (
        _HEAD.format(what="What the status API can be asked.")
        + _OPERATIONS
        + "".join(f"\n{each}\n" for each in functions)
        + '\n\nclass Operations:\n    """Each as a method of a client."""\n\n'
        + members
        + "\n"
    ).replace("\n\n\n\n", "\n\n\n")


def _reachable(document: Mapping[str, Any], schemas: Mapping[str, Any]) -> set[str]:
    """The models of answers, and those that stand inside of bodies that are sent."""
    found: set[str] = set()
    for methods in document["paths"].values():
        for operation in methods.values():
            if operation["operationId"] in _NOT_THE_CLIENTS:
                continue
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    found |= _references(answer.get("content", {}))
            for body in _bodies(operation):
                for inner in schemas[body].get("properties", {}).values():
                    found |= _references(inner)
    found |= {"RecentEntry"}
    while more := {each for name in found for each in _references(schemas[name])} - found:
        found |= more
    return found - {"JsonValue"}


def _references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {each for inner in schema for each in _references(inner)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].rpartition("/")[2]} if isinstance(schema.get("$ref"), str) else set()
    return own | {each for key, inner in schema.items() if key != "example" for each in _references(inner)}


def _bodies(operation: Mapping[str, Any]) -> set[str]:
    return _references(operation.get("requestBody", {}))


def _model(name: str, schema: Mapping[str, Any], enums: dict[str, list[str]]) -> str:
    lines = [f"class {name}(Model):"]
    if schema.get("description"):
        lines += [*_docstring(schema["description"]), ""]
    for field, inner in schema["properties"].items():
        kind = _type(inner, enums)
        lines.append(f"    {field}: {kind}{' = None' if kind.endswith('| None') else ''}")
    return "\n".join(lines) + "\n"


def _type(schema: Mapping[str, Any], enums: dict[str, list[str]] | None) -> str:  # noqa: PLR0911  # one a kind
    """enums: where those that have a name are put; None: of a parameter."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(_type(each, enums) for each in schema["anyOf"])
    if "const" in schema:
        return f"Literal[{json.dumps(schema['const'])}]"
    if "enum" in schema:
        return _enum(schema["enum"], enums)
    match schema.get("type"):
        case "array":
            return f"list[{_type(schema.get('items', {}), enums)}]"
        case "object":
            inner = schema.get("additionalProperties")
            return f"dict[str, {_type(inner if isinstance(inner, dict) else {}, enums)}]"
        case "string" if schema.get("format") == "date-time":
            return "datetime" if enums is None else "AwareDatetime"
        case str(kind):
            return _PLAIN[kind]
    return "JsonValue"


def _enum(words: list[str], enums: dict[str, list[str]] | None) -> str:
    name = _NAMES.get((words[0], words[-1]))
    if name is None:
        return _literal(words) if enums is None else f"Annotated[{_literal(words)}, OPEN]"
    if enums is None:
        return f"models.{name}"
    enums[name] = words
    return name


def _literal(words: list[str]) -> str:
    return f"Literal[{', '.join(map(json.dumps, words))}]"


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parameters = operation.get("parameters", [])
    places = [each["name"] for each in parameters if each["in"] == "path"]
    query = [each["name"] for each in parameters if each["in"] == "query"]
    body = [field for name in _bodies(operation) for field in schemas[name]["properties"]]
    arguments = [*_arguments(parameters, "path"), *_named(parameters, operation, schemas)]
    answer = _answer(operation)
    lines = [
        f"def {operation['operationId']}(",
        *(f"    {each}," for each in arguments),
        f") -> Call[{answer}]:",
        *_docstring(operation.get("description", operation["summary"])),
        "    return Call(",
        f"        {method.upper()!r},".replace("'", '"'),
        f"        {_path(path, places)},",
        f"        answer={answer},",
    ]
    for what, names in (("query", query), ("body", body)):
        if names or (what == "body" and method == "post"):
            lines += [
                f"        {what}={{",
                *(f'            "{each}": {each},' for each in names),
                "        },",
            ]
    lines.append("    )\n")
    return "\n".join(lines).replace("(\n) ->", "() ->").replace("body={\n        }", "body={}")


def _arguments(parameters: list[Any], where: str) -> Iterator[str]:
    for each in parameters:
        if each["in"] == where:
            yield f"{each['name']}: {_parameter(each['schema'])}"


def _named(parameters: list[Any], operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    """Those that are given by name: of the query, and the fields of the body."""
    needed: list[str] = []
    others = [
        f"{each['name']}: {_optional(_parameter(each['schema']))} = None"
        for each in parameters
        if each["in"] == "query"
    ]
    for name in _bodies(operation):
        required = schemas[name].get("required", ())
        for field, schema in schemas[name]["properties"].items():
            kind = _parameter(schema)
            if field in required:
                needed.append(f"{field}: {kind}")
            else:
                others.append(f"{field}: {_optional(kind)} = None")
    return ["*", *needed, *others] if needed or others else []


def _parameter(schema: Mapping[str, Any]) -> str:
    kind = _type(schema, None)
    return f"models.{kind}" if kind.endswith("Body") else kind


def _optional(kind: str) -> str:
    return kind if kind.endswith("None") else f"{kind} | None"


def _answer(operation: Mapping[str, Any]) -> str:
    status = min(each for each in operation["responses"] if each.startswith("2"))
    content = operation["responses"][status]["content"]
    schema = content.get("application/json", {}).get("schema", {"type": "string"})
    if schema.get("type") == "array":
        return f"list[models.{_type(schema['items'], {})}]"
    return f"models.{_type(schema, {})}" if "$ref" in schema else "str"


def _path(path: str, places: list[str]) -> str:
    return f'path("{path}", {", ".join(f"{each}={each}" for each in places)})' if places else f'"{path}"'


def _docstring(text: str) -> list[str]:
    lines = textwrap.wrap(" ".join(text.split()), 104)
    if len(lines) == 1:
        return [f'    """{lines[0]}"""']
    return [f'    """{lines[0]}', *(f"    {each}" for each in lines[1:]), '    """']
