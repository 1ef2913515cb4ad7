"""Who may call what: keys as they are configured, made and found."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook.runtime.api_keys import ApiKey, Role, digest_of, find, make_key
from sagahook.runtime.settings import ApiSettings
from sagahook.runtime.sources import UNLIMITED, RateLimit

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def configured(keys: Any) -> tuple[ApiKey, ...]:
    return ApiSettings(kafka="kafka:9092", api_keys=keys).api_keys


def key(key_id: str, role: Role = "reader", **further: Any) -> dict[str, Any]:
    """The key itself is `<id>-key`."""
    return {"id": key_id, "role": role, "hash": sha256(f"{key_id}-key".encode()).hexdigest(), **further}


def test_one_hash_for_a_role_is_the_short_form() -> None:
    [reader] = configured({"reader": key("reader")["hash"]})
    assert (reader.id, reader.role, reader.name) == ("reader", "reader", "")


def test_a_role_may_have_several_keys() -> None:
    keys = configured([key("ci", "operator", name="the pipeline"), key("ada", "operator")])
    assert [each.id for each in keys if each.is_enough("operator")] == ["ci", "ada"]


@pytest.mark.parametrize(
    ("role", "opens"),
    [
        ("reader", {"reader"}),
        ("operator", {"reader", "operator"}),
        ("admin", {"reader", "operator", "admin"}),
    ],
)
def test_a_key_opens_its_own_role_and_those_below(role: Role, opens: set[str]) -> None:
    roles: list[Role] = ["reader", "operator", "admin"]
    assert {each for each in roles if ApiKey(**key("a", role)).is_enough(each)} == opens


@pytest.mark.parametrize("presented", ["unheard-of", "", "ci-key ", "\xff\x00", "\udc80", key("ci")["hash"]])
def test_what_is_no_key_is_found_nowhere(presented: str) -> None:
    assert find(configured([key("ci")]), presented, NOW) is None


def test_a_key_is_found_until_it_expires() -> None:
    keys = configured([key("old", expires_at=NOW), key("new", expires_at=NOW + timedelta(seconds=1))])
    assert find(keys, "old-key", NOW) is None
    assert find(keys, "new-key", NOW) == keys[1]


def test_a_key_may_have_a_limit_of_its_own() -> None:
    keys = configured([key("dashboard", rate_limit="1200/min burst 300"), key("batch", rate_limit="none")])
    assert [each.rate_limit for each in keys] == [RateLimit(20.0, 300), UNLIMITED]


def test_settings_survive_being_read_from_what_they_say() -> None:
    keys = configured([key("ci", name="the pipeline", expires_at=NOW, rate_limit="5/s")])
    assert configured([each.model_dump() for each in keys]) == keys


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"reader": "the key itself"}, "api_keys.0.hash"),
        ({"owner": key("a")["hash"]}, "api_keys.0.role"),
        ([key("a", name="x\ny")], "api_keys.0.name"),
        ([key("a b")], "api_keys.0.id"),
        ([key("a", expires_at="2026-03-01T00:00:00")], "api_keys.0.expires_at"),
        ([key("a", secret="x")], "api_keys.0.secret"),
        ([key("a"), key("a", hash="0" * 64)], "api_keys"),
        ([key("a"), key("b", hash=key("a")["hash"])], "api_keys"),
    ],
)
def test_what_cannot_be_is_named_by_its_place_and_never_shown(keys: Any, where: str) -> None:
    with pytest.raises(ValidationError) as refused:
        configured(keys)
    assert ".".join(str(part) for part in refused.value.errors()[0]["loc"]) == where
    assert "the key itself" not in str(refused.value)


def test_a_new_key_is_what_is_configured_for_it() -> None:
    made, entry = make_key("operator", "ci", expires_at=NOW + timedelta(days=1))
    keys = configured(json.loads(f"[{entry.model_dump_json(exclude_none=True)}]"))
    assert find(keys, made, NOW) == entry
    assert entry.hash == digest_of(made)
    assert made.startswith(f"shk_{entry.id}_")
    assert made.rpartition("_")[2] not in entry.model_dump_json()


def test_no_two_new_keys_are_alike() -> None:
    assert len({make_key("reader", "")[0] for _ in range(100)}) == 100


def test_the_command_line_makes_a_key_shows_it_once_and_says_what_to_configure() -> None:
    said = CliRunner().invoke(
        app, ["keys", "new", "--role", "operator", "--name", "ci", "--days", "9", "--json"]
    )
    made = json.loads(said.output)
    [entry] = configured([made["entry"]])
    assert (entry.role, entry.name, entry.hash) == ("operator", "ci", digest_of(made["key"]))
    assert entry.expires_at is not None
    shown = CliRunner().invoke(app, ["keys", "new", "--role", "reader"]).output
    assert (shown.count("shk_"), "SAGAHOOK_API_KEYS" in shown) == (1, True)


def test_a_role_that_is_none_makes_no_key() -> None:
    assert CliRunner().invoke(app, ["keys", "new", "--role", "owner"]).exit_code == 2
