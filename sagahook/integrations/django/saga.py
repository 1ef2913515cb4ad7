"""The application's way to sagahook: `saga.send`, `saga.run_sync`, `saga.client`."""

from __future__ import annotations

from django.conf import settings

from sagahook.integrations.blocking import Waiting
from sagahook.integrations.forms import Form, publish
from sagahook.integrations.gateway import Gateway


def form() -> Form:
    """That of settings.py, else `publish()`."""
    given: Form = getattr(settings, "SAGAHOOK", None) or publish()
    return given


class _OfSettings:
    """Settings may be read only once Django is set up, which is after this module may be imported."""

    def check(self) -> None:
        form().check()

    def open(self) -> Gateway:
        return form().open()


saga = Waiting(_OfSettings())
