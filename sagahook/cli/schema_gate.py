"""What a change of a contract's JSON Schema breaks. Pure.

A version of a type is a promise in two directions. The log is kept for ever, so what was ever written must
still be read; and others read it in languages that we do not see, so they must find every field as they know
it. A version may therefore gain optional fields, gain enum values (deploy the readers first) and have its
bounds loosened. Everything else is refused, also what this code does not know: it is a new version of the type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "examples"})
_COMPARED = frozenset(
    {"type", "enum", "const", "default", "properties", "required", "items", "additionalProperties"}
)

_ANYTHING: Schema = {}
_NOTHING: Schema = {"not": {}}


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """One line for each break, with the path of its field; empty where every reader and record is safe."""
    return list(_Comparison(old.get("$defs", {}), new.get("$defs", {})).compare("", old, new))


class _Comparison:
    def __init__(self, old_definitions: Schema, new_definitions: Schema) -> None:
        self._old_definitions = old_definitions
        self._new_definitions = new_definitions
        self._seen: set[tuple[int, int]] = set()

    def compare(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        """The schemas of one place, which may be references or unions."""
        if (id(old), id(new)) in self._seen:  # inside a definition that is recursive or used twice
            return
        self._seen.add((id(old), id(new)))
        before, after = _branches(old, self._old_definitions), _branches(new, self._new_definitions)
        if [*map(_kind, before)] != [*map(_kind, after)]:
            yield f"{_at(path)} was {' or '.join(map(_kind, before))} and is now {' or '.join(map(_kind, after))}"
            return
        for was, now in zip(before, after, strict=True):
            yield from self._fields(path, was, now)
            yield from _values(path, was, now)
            yield from self.compare(f"{path}[]", _inner(was, "items"), _inner(now, "items"))
            rest = "additionalProperties"
            yield from self.compare(f"{path}.*" if path else "*", _inner(was, rest), _inner(now, rest))

    def _fields(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        before: dict[str, Schema] = old.get("properties", {})
        after: dict[str, Schema] = new.get("properties", {})
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in before | after:
            field = f"{path}.{name}" if path else name
            if name not in after:
                yield f"{_at(field)} was removed"
            elif name not in before:
                if name in needs:
                    yield f"{_at(field)} is new and required: the records that exist lack it"
            else:
                if name in needs - needed:
                    yield f"{_at(field)} was optional and is now required"
                elif name in needed - needs:
                    yield f"{_at(field)} was always there and is now optional"
                elif before[name].get("default") != after[name].get("default"):
                    meant, means = before[name].get("default"), after[name].get("default")
                    yield f"{_at(field)}, where absent, meant {meant!r} and now means {means!r}"
                yield from self.compare(field, before[name], after[name])


def _values(path: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _enum(old), _enum(new)
    if after is not None and (
        lost := [value for value in before or ["any other value"] if value not in after]
    ):
        yield f"{_at(path)} no longer takes {', '.join(map(str, lost))}"
    for keyword in sorted((old.keys() | new.keys()) - _ANNOTATIONS - _COMPARED):
        was, now = old.get(keyword), new.get(keyword)
        if was != now and not _loosened(keyword, was, now):
            yield f"{_at(path)} had {keyword} {was!r} and now has {now!r}"


def _loosened(keyword: str, was: Any, now: Any) -> bool:
    if keyword not in _LOWER | _UPPER or was is None:
        return False
    return now is None or bool(now < was if keyword in _LOWER else now > was)


def _branches(node: Schema, definitions: Schema) -> list[Schema]:
    """The alternatives of a union in a fixed order, references followed; one for a plain schema."""
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _branches(
            {**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions
        )
    if "anyOf" in node:
        return sorted((branch for one in node["anyOf"] for branch in _branches(one, definitions)), key=_kind)
    return [node]


def _inner(branch: Schema, keyword: str) -> Schema:
    """The schema of a list's items or of an object's further fields. None given: anything goes."""
    inner: Schema | bool = branch.get(keyword, True)
    if isinstance(inner, bool):
        return _ANYTHING if inner else _NOTHING
    return inner


def _kind(branch: Schema) -> str:
    return str(branch.get("type", "anything"))


def _enum(branch: Schema) -> list[Any] | None:
    """The only values allowed; None where there is no such list."""
    return [branch["const"]] if "const" in branch else branch.get("enum")


def _at(path: str) -> str:
    return f"`{path}`" if path else "the value"
