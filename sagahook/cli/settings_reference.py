"""The reference of every setting, made from the settings' own classes."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

_HEAD = """\
# Settings

Every service reads its settings from the environment. Times are in seconds. `make schemas` makes this page
from their classes.
"""


def settings_reference() -> str:
    """Markdown: the settings that every service has, then those of each."""
    from sagahook.integrations.forms import ClientSettings
    from sagahook.runtime.settings import ApiSettings, DatabaseSettings, ServiceSettings
    from sagahook.runtime.source_settings import SourceSettings
    from sagahook.saga.http_settings import HttpSettings
    from sagahook_ingest.settings import IngestSettings
    from sagahook_notifier.settings import NotifierSettings
    from sagahook_runner.settings import RunnerSettings
    from sagahook_tracker.settings import TrackerSettings

    sections: list[tuple[str, type[BaseSettings], tuple[type[BaseSettings], ...]]] = [
        ("Every service", ServiceSettings, ()),
        ("tracker and notifier", DatabaseSettings, (ServiceSettings,)),
        ("the APIs of tracker and notifier", ApiSettings, (ServiceSettings,)),
        ("ingest and notifier", SourceSettings, (ServiceSettings,)),
        ("ingest", IngestSettings, (SourceSettings,)),
        ("saga-runner", RunnerSettings, (ServiceSettings,)),
        ("HTTP steps (in saga-runner)", HttpSettings, ()),
        ("tracker", TrackerSettings, (DatabaseSettings, ApiSettings)),
        ("notifier", NotifierSettings, (DatabaseSettings, ApiSettings, SourceSettings)),
        ("an application with sagahook.integrations", ClientSettings, ()),
    ]
    parts = [_HEAD]
    for title, settings, bases in sections:
        rows = "\n".join(_rows(settings, bases))
        parts.append(f"\n## {title}\n\n| name | default | meaning |\n|---|---|---|\n{rows}\n")
    return "".join(parts)


def _rows(settings: type[BaseSettings], bases: tuple[type[BaseSettings], ...]) -> Iterator[str]:
    """Those that none of the bases has."""
    for name, field in settings.model_fields.items():
        if not any(name in base.model_fields for base in bases):
            yield f"| {_names(name, field)} | {_default(field)} | {field.description or ''} |"


def _names(name: str, field: FieldInfo) -> str:
    """The name in the environment, and the other names that deployments may use."""
    names = [f"SAGAHOOK_{name.upper()}"]
    if isinstance(field.validation_alias, AliasChoices):
        names = [str(choice) for choice in field.validation_alias.choices]
    return " or ".join(f"`{each}`" for each in names)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default == "":
        return "none"
    shown = "{}" if default == {} else "[]" if default == () else default
    return f"`{shown}`"
