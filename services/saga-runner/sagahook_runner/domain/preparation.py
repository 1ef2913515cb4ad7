"""What a step's preparation may say; see `StepDefinition.does`."""

from __future__ import annotations

from datetime import datetime

from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import StepDefinition

MAX_ITEMS = 1_000
"""Items of one step: each is a step of its own in the saga's state."""

_LONGEST_SLEEP = 10 * 365 * 86_400.0


def unfit(step: StepDefinition, said: JsonValue) -> str | None:
    """Why the step cannot begin with it; None where it can."""
    if not isinstance(said, dict) or not ({"skip", "value"} & said.keys()):
        return f"the preparation of {step.name} must say skip or value, not {str(said)[:100]}"
    if "skip" in said:
        return None
    value = said.get("value")
    match step.does:
        case "sleep" if value is not None or step.seconds is None:
            return _unfit_sleep(step, value)
        case "each" if not isinstance(value, list) or len(value) > MAX_ITEMS:
            return f"the items of {step.name} must be a list of at most {MAX_ITEMS}"
        case "child":
            return _unfit_child(step, value)
    return None


def _unfit_sleep(step: StepDefinition, value: JsonValue) -> str | None:
    if isinstance(value, int | float) and 0 <= value <= _LONGEST_SLEEP:
        return None
    if isinstance(value, str):
        try:
            if datetime.fromisoformat(value).tzinfo is not None:
                return None
        except ValueError:
            pass
    return f"{step.name} must sleep for 0 seconds to ten years, or until a time with its zone, not {value!r}"


def _unfit_child(step: StepDefinition, value: JsonValue) -> str | None:
    fits = (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and type(value.get("version")) is int
        and isinstance(value.get("context"), dict)
    )
    return None if fits else f"the child of {step.name} must have a name, a version and a context"
