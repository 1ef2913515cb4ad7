"""Pages of the lists whose body is the bare list (api.md §3): where the next one is, is said in headers."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request, Response
from pydantic import BaseModel, Field

from sagahook.runtime.http_errors import ApiError
from sagahook_tracker.domain.positions import Position

DEEPEST = 10_000
"""Rows that a page may skip by `offset`. Each of them is read; a cursor finds its place at once."""

NEXT_CURSOR = "X-Next-Cursor"


class PageQuery(BaseModel):
    limit: int = Field(default=50, ge=1, le=1_000)
    offset: int = Field(
        default=0, ge=0, le=2**31, description=f"at most {DEEPEST:,}; beyond it give a cursor"
    )
    cursor: str | None = Field(
        default=None,
        max_length=200,
        description=f"the {NEXT_CURSOR} of the page before, instead of an offset",
    )

    def position(self) -> Position | None:
        """Where the page begins by its cursor. Raises ApiError (400)."""
        if self.offset > DEEPEST:
            raise ApiError(
                400,
                f"query.offset: at most {DEEPEST} rows are skipped; beyond that go on from the header "
                f"{NEXT_CURSOR} of an answer with cursor=…",
            )
        if self.cursor is None:
            return None
        if self.offset:
            raise ApiError(
                400, "query.offset: a cursor says already where the page begins; give one of the two"
            )
        position = Position.from_cursor(self.cursor)
        if position is None:
            raise ApiError(400, f"query.cursor: give the {NEXT_CURSOR} of an earlier answer, as it is")
        return position


def say_next(request: Request, response: Response, position: Position | None) -> None:
    """Where the list goes on: a cursor, and the whole address of the next page (RFC 8288); nothing at its end."""
    if position is None:
        return
    cursor = position.cursor()
    kept = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in ("cursor", "offset")
    ]
    query = urlencode([*kept, ("cursor", cursor)])
    response.headers[NEXT_CURSOR] = cursor
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
