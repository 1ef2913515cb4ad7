"""The forms in which an application takes part say what is wrong with their settings before anything is opened."""

import pytest

from sagahook.integrations import Form, client, publish
from sagahook.runtime.settings_errors import WrongSettings

SECRET = "no whsec secret"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (publish(), "SAGAHOOK_KAFKA: Field required"),
        (publish(kafka="k:9092", publish_timeout=0), "SAGAHOOK_PUBLISH_TIMEOUT"),
        (
            publish(kafka="k:9092", sources={"pay": {"scheme": "standard", "secrets": [SECRET]}}),
            "pay.secrets",
        ),
        (client(), "SAGAHOOK_URL: Field required"),
        (client("sagahook:8080"), "'sagahook:8080' is no address"),
    ],
    ids=["no Kafka", "no time", "a secret without its form", "no URL", "no address"],
)
def test_what_is_wrong_is_said_in_words_that_quote_no_secret(
    form: Form, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SAGAHOOK_KAFKA", "SAGAHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WrongSettings, match=said) as wrong:
        form.check()
    assert SECRET not in str(wrong.value)


def test_a_form_does_not_show_the_key_that_it_was_given() -> None:
    assert "shk_secret" not in repr(client("http://sagahook:8080", key="shk_secret"))


@pytest.mark.parametrize(
    "form", [publish(kafka="k:9092"), client("http://sagahook:8080")], ids=["publish", "client"]
)
def test_what_is_right_is_taken_without_asking_anybody(form: Form) -> None:
    form.check()
