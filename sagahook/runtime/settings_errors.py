"""What is wrong with a service's settings, in words for whoever set them."""

from __future__ import annotations

from pydantic import ValidationError


class WrongSettings(ValueError):
    """Whoever set the environment must correct what it names. It quotes no secret."""


def explain(invalid: ValidationError) -> str:
    """Which variable is wrong, where in it, and why; never its value, which may be a secret."""
    lines = []
    for error in invalid.errors(include_url=False, include_context=False, include_input=False):
        name, *inside = (str(part) for part in error["loc"] or ("",))
        variable = name if name.isupper() or not name else f"SAGAHOOK_{name.upper()}"
        said = error["msg"].removeprefix("Value error, ")
        lines.append(": ".join(filter(None, (".".join([variable, *inside]), said))))
    return "; ".join(lines)
