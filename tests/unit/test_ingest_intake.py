"""How much of what is still coming in may be held."""

import asyncio
from typing import Any

import pytest

from sagahook_ingest.domain.refusals import Refusal, Unavailable
from sagahook_ingest.intake import Intake, SenderGone


class Sender:
    """Sends its body in these pieces, the last when it may go on; None: it goes away."""

    def __init__(self, *pieces: bytes | None, waits: bool = False) -> None:
        self._pieces = list(pieces)
        self.may_go_on = asyncio.Event()
        if not waits:
            self.may_go_on.set()

    async def __call__(self) -> dict[str, Any]:
        if len(self._pieces) == 1:
            await self.may_go_on.wait()
        piece = self._pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


@pytest.mark.parametrize("pieces", [(b"abcd",), (b"ab", b"cd"), (b"", b"abcd"), (b"abcd", b"")])
async def test_a_body_is_as_it_came_however_it_came(pieces: tuple[bytes, ...]) -> None:
    assert await Intake(100).read(Sender(*pieces), None, 4) == b"abcd"


@pytest.mark.parametrize("pieces", [(b"abcde",), (b"abc", b"de"), (b"abcde", b"")])
async def test_its_limit_holds_while_it_is_read(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(Refusal, match="4 bytes"):
        await Intake(100).read(Sender(*pieces), None, 4)


async def test_what_is_declared_too_large_is_not_read_at_all() -> None:
    with pytest.raises(Refusal):
        await Intake(100).read(Sender(), 5, 4)


@pytest.mark.parametrize("pieces", [(None,), (b"ab", None)])
async def test_a_sender_that_goes_is_not_answered(pieces: tuple[bytes | None, ...]) -> None:
    with pytest.raises(SenderGone):
        await Intake(100).read(Sender(*pieces), None, 4)


async def test_what_all_together_may_take_is_bounded_and_free_again_when_one_has_come() -> None:
    intake = Intake(10)
    slow = Sender(b"123456", b"7", b"8", waits=True)
    slow_one = asyncio.create_task(intake.read(slow, None, 100))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await intake.read(Sender(b"12345", b"6"), None, 100)
    slow.may_go_on.set()
    assert await slow_one == b"12345678"
    assert await intake.read(Sender(b"12345", b"6"), None, 100) == b"123456"
