"""The app, and the check that `manage.py check` makes of its settings."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import Error, register

from sagahook.integrations.django.saga import form
from sagahook.runtime.settings_errors import WrongSettings


class SagahookConfig(AppConfig):
    name = "sagahook.integrations.django"
    label = "sagahook"
    verbose_name = "sagahook"

    def ready(self) -> None:
        register(settings_are_right)


def settings_are_right(**_: Any) -> list[Any]:
    try:
        form().check()
    except WrongSettings as wrong:
        hint = "SAGAHOOK in settings.py is publish(…) or client(…); what it does not say the environment says"
        return [Error(str(wrong), hint=hint, id="sagahook.E001")]
    return []
