"""What a request is answered whose handler asked sagahook for something and did not catch the error.

Only errors that lie with neither the caller nor the application: the others are failures of the application, and its
framework answers them as such.
"""

from __future__ import annotations

from math import ceil

from starlette.responses import Response

from sagahook.client import NotFinal, TooMany, Unavailable, Unreachable
from sagahook.integrations.asgi import Scope, error

TOLD = (NotFinal, TooMany, Unavailable, Unreachable)

_AWAY_SECONDS = 2


def told(raised: Exception, scope: Scope) -> Response:
    """raised: of TOLD."""
    if isinstance(raised, NotFinal):
        return error(scope, 504, str(raised))
    retry_after = getattr(raised, "retry_after", None) or _AWAY_SECONDS
    return error(scope, 503, str(raised), retry_after=ceil(retry_after))
