"""What sagas are searched by."""

from __future__ import annotations

from collections.abc import Mapping

from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.paths import lookup

_LENGTH = 1_000
"""Characters of a text; the context has all of it."""


def search_attributes(paths: Mapping[str, str], context: JsonValue) -> dict[str, JsonValue] | None:
    """Texts, numbers and truths. What is absent, or is something else, is left out."""
    if not paths:
        return None
    found = {name: lookup(context, path) for name, path in paths.items()}
    kept: dict[str, JsonValue] = {
        name: value[:_LENGTH] if isinstance(value, str) else value
        for name, value in found.items()
        if isinstance(value, str | int | float)
    }
    return kept or None


def attributes_at_start(request: StartSaga, definition: SagaDefinition | None) -> dict[str, JsonValue] | None:
    """A trigger says them in its request. A parent does not know its child's definition, so a child takes them from its
    own."""
    if request.parent is None or definition is None:
        return request.attributes
    return search_attributes(definition.attributes, request.context)
