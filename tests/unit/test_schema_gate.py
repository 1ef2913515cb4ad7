"""Which changes of a contract's schema are refused, each as the smallest case of its kind."""

from typing import Any

import pytest

from sagahook.cli.schema_gate import breaking_changes

TEXT = {"type": "string"}
COUNT = {"type": "integer"}
PHASE = {"type": "string", "enum": ["action", "compensation"]}
OPTIONAL_TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}


def contract(required: dict[str, Any] | None = None, /, **optional: Any) -> dict[str, Any]:
    needed = required or {}
    return {"type": "object", "properties": needed | optional, "required": list(needed)}


def with_step(step: dict[str, Any], /, **field: Any) -> dict[str, Any]:
    """A contract that holds the definition of a step, in a field of the given shape."""
    return contract(field) | {"$defs": {"Step": step}}


A_STEP = {"$ref": "#/$defs/Step"}
STEPS = {"type": "array", "items": A_STEP}

SAFE = {
    "nothing": (contract({"step": TEXT}), contract({"step": TEXT})),
    "a new optional field": (contract({"step": TEXT}), contract({"step": TEXT}, error=OPTIONAL_TEXT)),
    "another description": (contract({"step": TEXT}), contract({"step": TEXT | {"description": "its name"}})),
    "fields in another order": (contract({"a": TEXT, "b": COUNT}), contract({"b": COUNT, "a": TEXT})),
    "a new enum value": (
        contract({"phase": PHASE}),
        contract({"phase": PHASE | {"enum": ["x", *PHASE["enum"]]}}),
    ),
    "an enum that is opened": (contract({"phase": PHASE}), contract({"phase": TEXT})),
    "a lower minimum": (contract({"n": COUNT | {"minimum": 1}}), contract({"n": COUNT | {"minimum": 0}})),
    "a higher maximum": (contract({"n": COUNT | {"maximum": 1}}), contract({"n": COUNT | {"maximum": 2}})),
    "no maximum any more": (contract({"n": COUNT | {"maximum": 1}}), contract({"n": COUNT})),
    "a definition in place of its reference": (with_step(TEXT, step=A_STEP), contract({"step": TEXT})),
}

BREAKING = {
    "a removed field": (contract({"step": TEXT}), contract(), "`step` was removed"),
    "a removed optional field": (contract(error=OPTIONAL_TEXT), contract(), "`error` was removed"),
    "a new required field": (contract(), contract({"step": TEXT}), "`step` is new and required"),
    "an optional field made required": (contract(step=TEXT), contract({"step": TEXT}), "is now required"),
    "a required field made optional": (contract({"step": TEXT}), contract(step=TEXT), "is now optional"),
    "another default": (
        contract(outcome=TEXT | {"default": "failed"}),
        contract(outcome=TEXT | {"default": "unknown"}),
        "`outcome`, where absent, meant 'failed' and now means 'unknown'",
    ),
    "another type": (contract({"n": TEXT}), contract({"n": COUNT}), "`n` was string and is now integer"),
    "a wider type": (
        contract({"n": COUNT}),
        contract({"n": {"type": "number"}}),
        "integer and is now number",
    ),
    "a type in place of anything": (contract({"x": {}}), contract({"x": TEXT}), "anything and is now string"),
    "null no longer taken": (
        contract({"x": OPTIONAL_TEXT}),
        contract({"x": TEXT}),
        "null or string and is now string",
    ),
    "null that may now come": (
        contract({"x": TEXT}),
        contract({"x": OPTIONAL_TEXT}),
        "is now null or string",
    ),
    "a removed enum value": (
        contract({"phase": PHASE}),
        contract({"phase": PHASE | {"enum": ["action"]}}),
        "`phase` no longer takes compensation",
    ),
    "an enum where anything was taken": (
        contract({"phase": TEXT}),
        contract({"phase": PHASE}),
        "`phase` no longer takes any other value",
    ),
    "one constant left of an enum": (
        contract({"phase": PHASE}),
        contract({"phase": TEXT | {"const": "action"}}),
        "`phase` no longer takes compensation",
    ),
    "a higher minimum": (
        contract({"n": COUNT | {"minimum": 0}}),
        contract({"n": COUNT | {"minimum": 1}}),
        "`n` had minimum 0 and now has 1",
    ),
    "a new maximum": (contract({"n": COUNT}), contract({"n": COUNT | {"maximum": 9}}), "had maximum None"),
    "another pattern": (
        contract({"x": TEXT | {"pattern": "a"}}),
        contract({"x": TEXT | {"pattern": "b"}}),
        "pattern",
    ),
    "another format": (contract({"x": TEXT | {"format": "date-time"}}), contract({"x": TEXT}), "format"),
    "a keyword that the gate does not know": (
        contract(),
        contract() | {"dependentRequired": {}},
        "dependentRequired",
    ),
    "further fields shut out": (contract(), contract() | {"additionalProperties": False}, "`*` had not None"),
    "a change inside a list": (
        with_step(contract({"name": TEXT}), steps=STEPS),
        with_step(contract(), steps=STEPS),
        "`steps[].name` was removed",
    ),
    "a change inside an optional object": (
        with_step(contract({"name": TEXT}), step={"anyOf": [A_STEP, {"type": "null"}]}),
        with_step(contract({"name": COUNT}), step={"anyOf": [A_STEP, {"type": "null"}]}),
        "`step.name` was string",
    ),
    "a change inside a map's values": (
        contract({"results": {"type": "object", "additionalProperties": TEXT}}),
        contract({"results": {"type": "object", "additionalProperties": COUNT}}),
        "`results.*` was string",
    ),
    "a change inside a definition that holds itself": (
        with_step(contract({"name": TEXT}, children=STEPS), step=A_STEP),
        with_step(contract(children=STEPS), step=A_STEP),
        "`step.name` was removed",
    ),
}


@pytest.mark.parametrize(("old", "new"), SAFE.values(), ids=SAFE.keys())
def test_a_change_that_no_reader_and_no_record_notices_is_allowed(old: Any, new: Any) -> None:
    assert breaking_changes(old, new) == []


@pytest.mark.parametrize(("old", "new", "said"), BREAKING.values(), ids=BREAKING.keys())
def test_a_change_that_breaks_readers_or_old_records_is_refused(old: Any, new: Any, said: str) -> None:
    (only,) = breaking_changes(old, new)

    assert said in only


def test_every_break_is_told() -> None:
    old = contract({"step": TEXT, "attempt": COUNT})
    new = contract({"attempt": TEXT, "phase": PHASE})

    assert breaking_changes(old, new) == [
        "`step` was removed",
        "`attempt` was integer and is now string",
        "`phase` is new and required: the records that exist lack it",
    ]
