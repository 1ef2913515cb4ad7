"""What every model of the client is: immutable, and read with patience for a server that is newer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler


class Model(BaseModel):
    """Fields that are not known are passed over: answers may get more of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _as_it_is(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        if isinstance(value, str):
            return value
        raise


OPEN = WrapValidator(_as_it_is)
"""Of an enumeration: a word that is not known yet is taken as it is."""
