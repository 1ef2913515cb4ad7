"""What every contract shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pydantic
from pydantic import BaseModel, ConfigDict
from pydantic.types import AwareDatetime

__all__ = ["AwareDatetime", "Contract", "JsonValue"]

if TYPE_CHECKING:
    JsonValue = pydantic.JsonValue
else:
    # Nobody makes a contract of a value that was not read from JSON or went through `values.kept`: pydantic would call
    # a Python function for each value within it once more.
    JsonValue = Any

_REGISTRY: dict[str, type[Contract]] = {}


class Contract(BaseModel):
    """The data of one record. A subclass that names its CloudEvents `ce_type` is registered under it.

    Readers ignore fields that they do not know, so that adding an optional field is never a breaking change.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    ce_type: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "ce_type" in cls.__dict__:
            if cls.ce_type in _REGISTRY:
                raise TypeError(f"two contracts claim the type {cls.ce_type!r}")
            _REGISTRY[cls.ce_type] = cls

    def to_json(self) -> bytes:
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


def registered() -> dict[str, type[Contract]]:
    """Every contract by its CloudEvents type, in the order of definition."""
    return dict(_REGISTRY)
