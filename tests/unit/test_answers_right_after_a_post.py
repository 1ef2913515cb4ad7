"""The views cannot know a webhook whose status is asked for right after its POST: news of it is waited for first."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from sagahook.runtime.ids import drawn_at, new_event_id
from sagahook_tracker import answers as module
from sagahook_tracker.adapters.log_end import LogEnd
from sagahook_tracker.adapters.news import News
from sagahook_tracker.adapters.views import Views
from sagahook_tracker.answers import Answers
from sagahook_tracker.domain.status import EventView

AN_AGE_AGO = "01890a5d-ac96-774b-bcce-b302099a8057"
OF_VERSION_4 = "16fd2706-8baf-433b-82eb-8c7fada847da"


class Looks:
    """As views that know a webhook which nobody wanted, from when on they are told so."""

    def __init__(self, *, know: bool) -> None:
        self.know = know
        self.count = 0

    async def events(self, source: str, correlation_id: str) -> list[EventView]:
        self.count += 1
        return [EventView("event", "ignored")] if self.know else []


def asked(looks: Looks) -> tuple[Answers, News]:
    async def no_offsets() -> dict[Any, int]:
        return {}

    news = News(lambda: "", no_offsets)
    return Answers(cast("Views", looks), news, cast("LogEnd", None), "webhooks", "sagas", "definitions"), news


async def test_it_is_looked_for_once_there_is_news_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWBORN", 60.0)  # the test's machine may be slow
    monkeypatch.setattr(module, "GROWN", 60.0)
    looks = Looks(know=False)
    answers, news = asked(looks)
    correlation_id = new_event_id()
    asking = asyncio.create_task(answers.webhook("shop", correlation_id, wait=20))
    await asyncio.sleep(0.01)
    assert looks.count == 0

    looks.know = True
    news._wake(correlation_id)

    found = await asking
    assert found is not None
    assert (found.status, looks.count) == ("ignored", 1)


async def test_without_news_it_is_looked_for_all_the_same() -> None:
    looks = Looks(know=True)
    began = time.monotonic()
    found = await asked(looks)[0].webhook("shop", new_event_id(), wait=20)
    assert found is not None
    assert looks.count == 1
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("correlation_id", [AN_AGE_AGO, "order-17", OF_VERSION_4])
async def test_what_is_older_or_has_a_name_of_its_senders_is_looked_for_at_once(
    correlation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROWN", 3600.0)
    looks = Looks(know=True)
    async with asyncio.timeout(10):
        assert await asked(looks)[0].webhook("shop", correlation_id, wait=20) is not None


async def test_who_does_not_wait_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROWN", 3600.0)
    async with asyncio.timeout(10):
        assert await asked(Looks(know=True))[0].webhook("shop", new_event_id(), wait=0) is not None


def test_an_id_tells_when_it_was_drawn() -> None:
    before = time.time()
    drawn = drawn_at(new_event_id())
    assert drawn is not None
    assert before - 0.002 <= drawn <= time.time()
    assert drawn_at(AN_AGE_AGO) == int("01890a5dac96", 16) / 1000


async def test_whoever_is_dismissed_waits_for_nothing_more() -> None:
    news = asked(Looks(know=False))[1]
    news.dismiss()
    with news.following("anything") as follower:
        async with asyncio.timeout(10):
            assert [await follower.hears(time.monotonic() + 60) for _ in range(2)] == [False, False]
