"""Sagas that are begun and ended within a moment, and others that stand in every way while versions change."""

from tests.apps.moved import Asking, Limited, Moved, Part, Sleeper, Whole
from tests.apps.rolled import Rolled

__all__ = ["Asking", "Limited", "Moved", "Part", "Rolled", "Sleeper", "Whole"]
