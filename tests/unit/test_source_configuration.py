"""How sources are configured: in the environment and in a file, with secrets by reference, followed as they change."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sagahook.runtime.settings_errors import explain
from sagahook.runtime.source_configuration import SourceConfiguration
from sagahook.runtime.source_watch import SourceWatch
from sagahook.runtime.sources import RateLimit, Source, Sources, parse_rate
from sagahook_ingest.settings import IngestSettings
from sagahook_notifier.settings import NotifierSettings

SECRET = "hunter2hunter2"


def configured(environment: Mapping[str, str] | None = None, **sources: Any) -> SourceConfiguration:
    """As SAGAHOOK_SOURCES says it, beside the rest of the environment."""
    told = {"SAGAHOOK_SOURCES": json.dumps(sources)} if sources else {}
    return SourceConfiguration.of({**told, **(environment or {})})


def complaints(configuration: SourceConfiguration) -> list[str]:
    return [str(problem) for problem in configuration.read().problems]


def secrets(source: Source) -> list[str]:
    return [secret.get_secret_value() for secret in source.secrets]


def test_a_source_needs_nothing_but_a_name_and_then_takes_what_anybody_sends() -> None:
    assert configured(orders={}).read().sources == {"orders": Source(scheme="none")}


def test_a_source_says_how_it_signs_and_where_its_events_say_what_they_are() -> None:
    shop = configured(
        {"SHOP": SECRET},
        shop={
            "scheme": "hmac",
            "secrets": ["env:SHOP"],
            "header": "X-Shop-Signature",
            "prefix": "sha512=",
            "algorithm": "sha512",
            "encoding": "base64",
            "body_limit": 65_536,
            "event_type": "body:kind",
            "delivery_id": "header:X-Shop-Delivery",
            "idempotency_key": "body:order.id",
            "rate_limit": "100/min burst 50",
            "allowed_ips": ["192.30.252.0/22", "2a0a:a440::/29", "198.51.100.7"],
        },
    )

    source = shop.read().sources["shop"]

    assert secrets(source) == [SECRET]
    assert (source.header, source.prefix, source.algorithm) == ("X-Shop-Signature", "sha512=", "sha512")
    assert source.rate_limit == RateLimit(per_second=100 / 60, burst=50)
    assert source.allowed_ips[2] == ip_network("198.51.100.7/32")
    assert (source.event_type, source.delivery_id) == ("body:kind", "header:X-Shop-Delivery")


def test_a_file_is_toml_or_by_its_suffix_json(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "sources.toml", tmp_path / "sources.json"
    toml.write_text('[shop]\nscheme = "stripe"\nsecrets = "env:SHOP"\ntolerance = 60\n')
    as_json.write_text('{"shop": {"scheme": "stripe", "secrets": ["env:SHOP"], "tolerance": 60}}')

    from_toml, from_json = (
        configured({"SHOP": SECRET, "SAGAHOOK_SOURCES_FILE": str(file)}).read().sources
        for file in (toml, as_json)
    )

    assert from_toml == from_json
    assert from_toml["shop"].tolerance == 60


def test_what_the_environment_says_of_a_source_replaces_what_the_file_says_and_that_is_told(
    tmp_path: Path,
) -> None:
    file = tmp_path / "sources.toml"
    file.write_text("[shop]\nbody_limit = 1\n[orders]\nbody_limit = 2\n")

    reading = configured({"SAGAHOOK_SOURCES_FILE": str(file)}, shop={"body_limit": 3}).read()

    limits = {name: source.body_limit for name, source in reading.sources.items()}
    assert limits == {"orders": 2, "shop": 3}
    assert reading.notes == (f"shop is in SAGAHOOK_SOURCES and in {file}: the file's is not used",)


def test_secrets_are_read_where_they_are_referred_to_and_any_of_several_is_valid(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old secret\r\n")
    told = ["env:NEW", f"file:{tmp_path}/old"]

    entry = (
        configured({"NEW": "new secret\n"}, shop={"scheme": "stripe", "secrets": told}).read().entries["shop"]
    )

    assert secrets(entry.source) == ["new secret", "old secret"]
    assert entry.references == tuple(told)
    assert "secret'" not in repr(entry)


def test_the_variable_of_older_deployments_configures_the_source_github() -> None:
    reading = configured({"GITHUB_WEBHOOK_SECRET": "a,b", "GITHUB_WEBHOOK_SECRET_2": "next"}).read()

    github = reading.sources["github"]
    assert (github.scheme, secrets(github)) == ("github", ["a,b", "next"])
    assert configured({"GITHUB_WEBHOOK_SECRET": ""}).read().sources == {}


def test_the_source_github_may_have_options_beside_the_variable_with_its_secret() -> None:
    told = {"GITHUB_WEBHOOK_SECRET": SECRET, "OWN": "its own"}

    limited = configured(told, github={"body_limit": 5}).read().sources["github"]
    assert (limited.scheme, limited.body_limit, secrets(limited)) == ("github", 5, [SECRET])

    reading = configured(told, github={"secrets": ["env:OWN"]}).read()
    assert secrets(reading.sources["github"]) == ["its own"]
    assert reading.notes == ("github has secrets in SAGAHOOK_SOURCES: GITHUB_WEBHOOK_SECRET is not used",)

    (said,) = complaints(configured(told, github={"scheme": "none"}))
    assert said.startswith("SAGAHOOK_SOURCES: github.scheme: GITHUB_WEBHOOK_SECRET is set")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"scheme": "stripe"}, "shop: the scheme stripe needs secrets: write"),
        ({"scheme": "stripe", "secrets": [SECRET]}, "shop.secrets.0: a secret is written as a reference"),
        ({"scheme": "stripe", "secrets": f"env: {SECRET}"}, "shop.secrets: after env: comes the name"),
        ({"scheme": "stripe", "secrets": ["env:NONE"]}, "shop.secrets.0: env:NONE is not set: set the"),
        ({"scheme": "stripe", "secrets": ["env:EMPTY"]}, "shop.secrets.0: env:EMPTY is empty: put"),
        (
            {"scheme": "stripe", "secrets": [f"file:{SECRET}"]},
            "shop.secrets.0: after file: comes an absolute",
        ),
        (
            {"scheme": "stripe", "secrets": ["file:/nowhere/x"]},
            "shop.secrets.0: /nowhere/x cannot be read (No",
        ),
        ({"scheme": "stripe", "secrets": ["file:/"]}, "shop.secrets.0: / is no file"),
        ({"scheme": "stripe", "secrets": ["env:SHOP"] * 11}, "shop.secrets: at most 10 secrets"),
        ({"scheme": "stripe", "secrets": [7]}, "shop.secrets.0: it must be a valid string"),
        ({"secrets": ["env:SHOP"]}, "shop: there are secrets, but the scheme none checks nothing"),
        ({"scheme": "md5"}, "shop.scheme: it must be 'none', 'github',"),
        (
            {"scheme": "github", "secrets": "env:SHOP", "header": "X-A"},
            "shop: header does nothing with the scheme",
        ),
        (
            {"scheme": "hmac", "secrets": "env:SHOP", "tolerance": 5},
            "shop: tolerance does nothing with the scheme",
        ),
        ({"scheme": "hmac", "secrets": "env:SHOP", "header": "X A"}, "shop.header: it must be the name of a"),
        (
            {"scheme": "basic", "secrets": "env:SHOP", "username": "a:b"},
            "shop.username: it must be a name without",
        ),
        (
            {"scheme": "stripe", "secrets": "env:SHOP", "tolerance": 0},
            "shop.tolerance: it must be greater than 0",
        ),
        ({"body_limit": 10**9}, "shop.body_limit: it must be less than or equal to"),
        ({"event_type": "kind"}, 'shop.event_type: write "header:X-Name", or "body:" and'),
        ({"delivery_id": "body:a..b"}, 'shop.delivery_id: write "header:X-Name"'),
        ({"idempotency_key": "header:X A"}, 'shop.idempotency_key: write "header:X-Name"'),
        ({"rate_limit": "often"}, 'shop.rate_limit: a rate is written "10/s"'),
        ({"rate_limit": 10}, 'shop.rate_limit: a rate is written "10/s"'),
        ({"allowed_ips": ["10.0.0.1/8"]}, "shop.allowed_ips: 10.0.0.1/8 has host bits set: write"),
        ({"allowed_ips": ["here"]}, "shop.allowed_ips: 'here' does not appear to be an IPv4"),
        ({"colour": "red"}, "shop.colour: there is no such option: there are scheme, secrets"),
        (SECRET, "shop: it must be a table of options"),
    ],
)
def test_what_is_wrong_is_named_with_its_source_and_field_and_no_secret(source: Any, said: str) -> None:
    (told,) = complaints(configured({"SHOP": "s", "EMPTY": "\n"}, shop=source))

    assert told.startswith(f"SAGAHOOK_SOURCES: {said}")
    assert SECRET not in told


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([SECRET, "env:SHOP", "file:/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_OPTIONS = st.sampled_from([name for name in Source.model_fields if name != "allowed_ips"])


@given(
    st.dictionaries(
        st.sampled_from(["shop", "github"]) | st.text(),
        _VALUES | st.dictionaries(_OPTIONS, _VALUES),
        max_size=4,
    )
)
def test_whatever_is_written_is_read_or_told_and_no_secret_is_in_what_is_told(
    sources: dict[str, Any],
) -> None:
    told = {"SAGAHOOK_SOURCES": json.dumps(sources), "SHOP": "s", "GITHUB_WEBHOOK_SECRET": "s"}

    reading = SourceConfiguration.of(told).read()

    assert not reading.problems or SECRET not in str(reading.problems)
    assert {*reading.entries, *(problem.source for problem in reading.problems)} >= {*sources, "github"}


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = complaints(
        configured({}, shop={"body_limit": 0, "rate_limit": "x"}, **{"a b": {}, "c": {"scheme": "slack"}})
    )

    assert [said.split(": ")[1] for said in told] == ["shop.body_limit", "shop.rate_limit", "a b", "c"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sources.toml", "[shop\n", "it is not TOML: Expected ']'"),
        ("sources.toml", "[shop]\n[shop]\n", "it is not TOML: Cannot declare"),
        ("sources.json", '{"shop": }', "it is not JSON: Expecting value: line 1 column 10"),
        ("sources.json", '{"shop": {}, "shop": {}}', "'shop' is there twice: keep one of them"),
        ("sources.json", "[]", "it must be an object"),
        ("sources.json", "[" * 100_000, "it is not JSON: "),
        ("sources.toml", " \n", "it is empty: to configure no source"),
        ("sources.toml", "\xff", "is no UTF-8 text"),
        ("sources.toml", "# much\n" * 200_000, "is larger than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content, encoding="latin-1")

    (told,) = complaints(configured({"SAGAHOOK_SOURCES_FILE": str(tmp_path / name)}))

    assert told.startswith(f"SAGAHOOK_SOURCES_FILE {tmp_path / name}: ")
    assert said in told


def test_a_file_that_is_not_there_is_an_error_and_one_with_a_comment_configures_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "sources.toml"
    told = {"SAGAHOOK_SOURCES_FILE": str(file)}

    assert "cannot be read (No such file or directory)" in complaints(configured(told))[0]

    file.write_text("# none yet\n")
    assert configured(told).read().sources == {}


@pytest.mark.parametrize(
    "written", ["10/s", "10/s burst 20", "100/min burst 50", "5/h", "1/d", "90/s", "none"]
)
def test_a_rate_is_shown_as_it_is_written(written: str) -> None:
    assert str(parse_rate(written)) == written


def test_the_reference_has_every_option_and_its_example_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/sources.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "sources.toml").write_text(example)

    told = SourceConfiguration.of({"SAGAHOOK_SOURCES_FILE": str(tmp_path / "sources.toml")}, frozenset())

    assert told.read().sources.keys() == {"github", "payments", "orders"}
    table = page.partition("## Options")[2].partition("## Secrets")[0]
    assert {*re.findall(r"^\| `(\w+)` \|", table, re.M)} == Source.model_fields.keys()


def test_a_service_that_cannot_use_its_sources_says_so_without_their_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGAHOOK_KAFKA", "localhost:9092")
    monkeypatch.setenv("SAGAHOOK_SOURCES", json.dumps({"shop": {"scheme": "stripe", "secrets": [SECRET]}}))

    with pytest.raises(ValidationError) as refused:
        IngestSettings()

    assert explain(refused.value).startswith("SAGAHOOK_SOURCES: shop.secrets.0: a secret is written as")
    assert SECRET not in str(refused.value)


def test_settings_hold_all_that_is_configured_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sources.toml").write_text("[shop]\n")
    monkeypatch.setenv("SAGAHOOK_KAFKA", "localhost:9092")
    monkeypatch.setenv("SAGAHOOK_SOURCES", '{"orders": {}}')
    monkeypatch.setenv("SAGAHOOK_SOURCES_FILE", str(tmp_path / "sources.toml"))
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("SAGAHOOK_UNSIGNED_RATE_LIMIT", "5/s burst 7")

    settings = IngestSettings()

    assert SECRET not in repr(settings.source_configuration)
    assert settings.sources.keys() == {"orders", "shop", "github"}
    assert settings.unsigned_rate_limit == RateLimit(5.0, 7)
    assert SECRET not in repr(settings)


def test_the_notifier_needs_no_secret_that_only_ingest_needs_and_ingest_none_of_the_notifiers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    monkeypatch.setenv("SAGAHOOK_KAFKA", "localhost:9092")
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/sagahook")
    monkeypatch.setenv("SECRET_KEY", "what secrets are encrypted by")
    shop = {"scheme": "stripe", "secrets": ["env:IN"], "secret": "env:OUT", "allow_notify_url": True}
    monkeypatch.setenv("SAGAHOOK_SOURCES", json.dumps({"shop": shop}))

    monkeypatch.setenv("OUT", signing)
    notifier = NotifierSettings().sources["shop"]
    assert (notifier.secrets, notifier.secret and notifier.secret.get_secret_value()) == ((), signing)

    monkeypatch.delenv("OUT")
    monkeypatch.setenv("IN", SECRET)
    ingest = IngestSettings().sources["shop"]
    assert (secrets(ingest), ingest.secret) == ([SECRET], None)


class Followed:
    """What a watch gave, one after the other; `refuse`: for what it is to be told that it cannot be used."""

    def __init__(self) -> None:
        self.given: list[Sources] = []
        self.refuse: str | None = None

    def take(self, sources: Sources) -> None:
        if self.refuse in sources:
            raise ValueError(f"{self.refuse}.secrets: secret 1 must begin with whsec_")
        self.given.append(sources)

    async def until(self, *names: str) -> Sources:
        async with asyncio.timeout(10):
            while not self.given or self.given[-1].keys() != set(names):
                await asyncio.sleep(0.01)
        return self.given[-1]


@asynccontextmanager
async def following(file: Path, **environment: str) -> AsyncIterator[Followed]:
    followed = Followed()
    told = SourceConfiguration.of({"SAGAHOOK_SOURCES_FILE": str(file), **environment})
    watching = asyncio.create_task(SourceWatch(told, followed.take, every=0.02).run())
    try:
        yield followed
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def until_told(told: list[Any], event: str, count: int = 1) -> Any:
    """The last of so many log lines of that name."""
    async with asyncio.timeout(10):
        while len(found := [line for line in told if line["event"] == event]) < count:
            await asyncio.sleep(0.01)
    return found[-1]


async def test_a_file_that_is_written_anew_takes_effect(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text("[shop]\n")
    async with following(file) as followed:
        await followed.until("shop")
        with structlog.testing.capture_logs() as told:
            file.write_text("[orders]\n[shop]\nbody_limit = 5\n")
            await followed.until("orders", "shop")
        changed = await until_told(told, "sources.configured")
        assert (changed["added"], changed["changed"]) == (["orders"], ["shop"])
        (tmp_path / "next.toml").write_text("[parcels]\n")
        (tmp_path / "next.toml").rename(file)
        await followed.until("parcels")


async def test_a_swapped_symbolic_link_takes_effect_as_kubernetes_swaps_one(tmp_path: Path) -> None:
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "sources.toml").write_text(f"[shop{version[-1]}]\n")
    os.utime(tmp_path / "..2" / "sources.toml", ns=(1, 1))
    os.utime(tmp_path / "..1" / "sources.toml", ns=(1, 1))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "sources.toml").symlink_to("..data/sources.toml")
    async with following(tmp_path / "sources.toml") as followed:
        await followed.until("shop1")
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await followed.until("shop2")


async def test_a_secret_that_is_replaced_in_its_file_takes_effect(tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "sources.toml"
    secret.write_text("old")
    file.write_text(f'[shop]\nscheme = "stripe"\nsecrets = "file:{secret}"\n')
    async with following(file) as followed:
        assert secrets((await followed.until("shop"))["shop"]) == ["old"]
        secret.write_text("new")
        async with asyncio.timeout(10):
            while secrets(followed.given[-1]["shop"]) != ["new"]:
                await asyncio.sleep(0.01)


async def test_a_broken_file_is_told_once_and_what_was_configured_stays_until_it_is_mended(
    tmp_path: Path,
) -> None:
    file, secret = tmp_path / "sources.toml", tmp_path / "secret"
    file.write_text("[shop]\n")
    async with following(file) as followed:
        await followed.until("shop")
        with structlog.testing.capture_logs() as told:
            file.write_text(f'[shop]\nscheme = "stripe"\nsecrets = ["file:{secret}"]\n')
            broken = await until_told(told, "sources.broken")
            await asyncio.sleep(0.2)
        assert broken["log_level"] == "error"
        assert f"shop.secrets.0: {secret} cannot be read (No such file or directory)" in broken["problems"][0]
        assert [line["event"] for line in told] == ["sources.broken"]
        assert [each["shop"].scheme for each in followed.given] == ["none"]

        secret.write_text(SECRET)
        async with asyncio.timeout(10):
            while followed.given[-1]["shop"].scheme != "stripe":
                await asyncio.sleep(0.01)


async def test_what_cannot_be_used_is_told_as_well_as_what_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text("[shop]\n")
    async with following(file) as followed:
        await followed.until("shop")
        followed.refuse = "orders"
        with structlog.testing.capture_logs() as told:
            file.write_text("[orders]\n")
            broken = await until_told(told, "sources.broken")
        assert broken["problems"] == ["orders.secrets: secret 1 must begin with whsec_"]
        assert [each.keys() for each in followed.given] == [{"shop"}]


async def test_a_file_that_only_looks_new_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text("[shop]\n")
    async with following(file) as followed:
        await followed.until("shop")
        file.touch()
        await asyncio.sleep(0.2)
        file.write_text("[shop]\n[orders]\n")
        await followed.until("shop", "orders")
        assert len(followed.given) == 2


async def test_without_a_file_there_is_nothing_to_follow() -> None:
    followed = Followed()

    await SourceWatch(configured(shop={}), followed.take).run()

    assert [each.keys() for each in followed.given] == [{"shop"}]
