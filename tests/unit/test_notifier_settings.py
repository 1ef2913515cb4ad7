"""What the notifier makes of its environment: clear errors, and no secret in them."""

import json
from pathlib import Path
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
    monkeypatch.setenv("SECRET_KEY", "what secrets are encrypted by")


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
        ("headers", {"Webhook-Id": "x"}, "SAGAHOOK_ENDPOINTS.0.headers: Webhook-Id is set by sagahook"),
        ("headers", {"X-Key": "1", "x-key": "2"}, "SAGAHOOK_ENDPOINTS.0.headers: X-Key is there twice"),
        ("headers", {"X-Key": "a\r\nHost: b"}, "SAGAHOOK_ENDPOINTS.0.headers: the value of X-Key must be"),
        ("id", "notify-1", "SAGAHOOK_ENDPOINTS.0.id: ids that begin with notify-"),
        ("filter", "progress = 1", "SAGAHOOK_ENDPOINTS.0.filter: at character 10: equality is written =="),
        ("rate_limit", "fast", "SAGAHOOK_ENDPOINTS.0.rate_limit: a rate is written"),
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


def test_secrets_may_stand_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "crm").write_text(f"{SECRET}\n")
    monkeypatch.setenv("CRM_KEY", "Bearer hunter2")
    configure(monkeypatch, secret=[f"file:{tmp_path}/crm", SECRET], headers={"Authorization": "env:CRM_KEY"})

    (endpoint,) = NotifierSettings().endpoints

    assert [secret.get_secret_value() for secret in endpoint.secret] == [SECRET, SECRET]
    assert endpoint.headers["Authorization"].get_secret_value() == "Bearer hunter2"


def test_a_reference_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, secret="env:NOT_THERE")

    assert "env:NOT_THERE is not set" in complaint()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "SAGAHOOK_SECRET_KEY: Field required"),
        ("too short", "give it at least 24 characters"),
        ("env:NOT_THERE", "env:NOT_THERE is not set"),
    ],
)
def test_secrets_need_a_key_that_they_are_encrypted_by(
    monkeypatch: pytest.MonkeyPatch, key: str | None, said: str
) -> None:
    monkeypatch.delenv("SECRET_KEY")
    if key is not None:
        monkeypatch.setenv("SAGAHOOK_SECRET_KEY", key)

    assert said in complaint()
    assert "too short" not in complaint()


def test_two_keys_may_be_read_while_one_follows_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW_KEY", "n" * 24)
    monkeypatch.setenv("SAGAHOOK_SECRET_KEY", "env:NEW_KEY")
    monkeypatch.setenv("SAGAHOOK_SECRET_KEY_OTHER", "o" * 24)

    assert NotifierSettings().secret_keys == ["n" * 24, "o" * 24]
