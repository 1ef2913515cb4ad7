"""What the notifier makes of its environment: clear errors, and no secret in them."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from sagahook.runtime.settings_errors import explain
from sagahook_notifier.settings import NotifierSettings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOOK_KAFKA", "localhost:9092")
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/sagahook")


def configure(monkeypatch: pytest.MonkeyPatch, **endpoint: Any) -> None:
    fields = {"id": "crm", "url": "https://crm.example/hooks", "secret": SECRET} | endpoint
    monkeypatch.setenv("SAGAHOOK_ENDPOINTS", json.dumps([fields]))


def complaint() -> str:
    with pytest.raises(ValidationError) as refused:
        NotifierSettings()
    return explain(refused.value)


def test_an_endpoint_needs_an_id_a_url_and_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)

    (endpoint,) = NotifierSettings().endpoints

    assert endpoint.event_types == ("task_started", "task_completed", "task_failed")
    assert endpoint.sources is None
    assert endpoint.payload_format == "standard"
    assert endpoint.retry_policy == "standard"
    assert endpoint.enabled
    assert SECRET not in repr(endpoint)


def test_a_retry_policy_may_be_a_list_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, retry_policy=[0.5, 10])

    assert NotifierSettings().endpoints[0].retry_policy == (0.5, 10.0)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("url", "ftp://crm.example", "SAGAHOOK_ENDPOINTS.0.url: the URL must be http or https"),
        ("url", "https://", "SAGAHOOK_ENDPOINTS.0.url: the URL must be http or https, with a host"),
        ("url", "https://me:pass@crm.example", "SAGAHOOK_ENDPOINTS.0.url: the URL must not carry a user"),
        ("url", "https://crm.example/a b", "SAGAHOOK_ENDPOINTS.0.url: the URL must be printable ASCII"),
        ("secret", "hunter2", "SAGAHOOK_ENDPOINTS.0.secret: a signing secret begins with whsec_"),
        ("event_types", ["task_done"], "SAGAHOOK_ENDPOINTS.0.event_types: unknown event types task_done"),
        ("payload_format", "xml", "SAGAHOOK_ENDPOINTS.0.payload_format"),
        ("retry_policy", "never", "SAGAHOOK_ENDPOINTS.0.retry_policy"),
        ("retry_policy", [-1], "SAGAHOOK_ENDPOINTS.0.retry_policy"),
        ("headers", {"Webhook-Id": "x"}, "SAGAHOOK_ENDPOINTS.0: headers: Webhook-Id is set by sagahook"),
        ("headers", {"X-Key": "a\r\nHost: b"}, "SAGAHOOK_ENDPOINTS.0: headers: the value of X-Key must be"),
        ("id", "notify-1", "SAGAHOOK_ENDPOINTS.0: id: ids that begin with notify-"),
        ("colour", "red", "SAGAHOOK_ENDPOINTS.0.colour"),
    ],
)
def test_a_wrong_field_is_named(
    monkeypatch: pytest.MonkeyPatch, field: str, value: object, expected: str
) -> None:
    configure(monkeypatch, **{field: value})

    assert expected in complaint()


def test_a_refusal_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, secret="whsec_hunter2hunter2", url="nowhere")

    assert "hunter2" not in complaint()


def test_a_source_that_allows_notify_urls_needs_a_secret_to_sign_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOOK_SOURCES", json.dumps({"orders": {"allow_notify_url": True}}))

    assert "sources: orders allows a notify URL, but has no secret" in complaint()


def test_a_lease_outlives_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOOK_NOTIFY_LEASE", "10")

    assert "notify_lease must be longer than notify_timeout" in complaint()
