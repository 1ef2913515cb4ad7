"""How the gaps of a request are filled, and what a host may ask for: pure."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sagahook.saga.errors import PermanentError, UnknownOutcomeError
from sagahook.saga.http_answers import HttpUnexpected, parse_retry_after
from sagahook.saga.http_settings import HttpSettings
from sagahook.saga.http_templates import Fields, problems_of
from tests.http_host import context

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(texts)
def test_whatever_a_field_holds_it_is_one_segment_and_one_parameter_of_the_url(value: str) -> None:
    url = URL(Fields(context(context={"v": value})).url("http://h/a/{v}/b?x={v}&y=1"), encoded=True)
    assert [unquote(segment) for segment in url.raw_path.split("/")] == ["", "a", value, "b"]
    first, second = url.raw_query_string.split("&")
    assert (unquote(first), second) == (f"x={value}", "y=1")
    assert url.origin() == URL("http://h")


@given(json_values)
def test_a_text_that_is_nothing_but_a_gap_becomes_the_field_itself(value: Any) -> None:
    fields = Fields(context(context={"v": value}))
    assert fields.fill({"a": ["{v}"], "b": 1}) == {"a": [value], "b": 1}


@given(json_values)
def test_doubled_braces_are_braces_and_what_fields_hold_is_never_read_as_a_gap(value: Any) -> None:
    fields = Fields(context(context={"v": "{order_id}", "w": value}))
    assert fields.fill("{{w}} is {v}") == "{w} is {order_id}"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b.1", 3),
        ("results.reserve.id", "r-9"),
        ("context.results", "own"),
        ("item.sku", "s"),
        ("index", 4),
        ("result.id", "c-1"),
    ],
)
def test_fields_are_found_where_their_path_leads(path: str, found: object) -> None:
    ctx = context(context={"a": {"b": [2, 3]}, "results": "own"}, item={"sku": "s"}, index=4)
    assert Fields(ctx, {"id": "c-1"}).get(path) == found


@pytest.mark.parametrize(
    "path", ["nothing", "a.c", "a.b.2", "a.b.-1", "a.b.x", "result.id", "a.__class__", "a.keys"]
)
def test_what_is_not_there_is_told_by_its_path(path: str) -> None:
    with pytest.raises(PermanentError, match="which this saga does not have"):
        Fields(context(context={"a": {"b": [2, 3]}})).get(path)


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{a b}", "{a!r}", "{a:>9}", "{a[0]}", "{0}", "{.a}", "{a.}", "{{a}"]
)
def test_a_brace_that_is_no_field_is_a_problem_wherever_it_stands(text: str) -> None:
    assert list(problems_of({"deep": [{"down": text}]}))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("3601", 3_600),
        ("9" * 400, 3_600),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 12:01:00 -0000", 60),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Fri, 01 Jan 9999 00:00:00 GMT", 3_600),
        ("", None),
        (None, None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("Thu, 99 Jan 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


def test_an_unexpected_answer_ends_the_step_and_has_it_compensated() -> None:
    """The engine reads both from the error's classes."""
    assert issubclass(HttpUnexpected, PermanentError)
    assert issubclass(HttpUnexpected, UnknownOutcomeError)


@pytest.mark.parametrize(
    ("host", "is_internal"),
    [
        ("billing.local", True),
        ("BILLING.local.", True),
        ("a.svc.local", True),
        ("svc.local", False),
        ("evilsvc.local", False),
        ("billing.local.evil.com", False),
        ("xbilling.local", False),
        ("", False),
    ],
)
def test_a_host_is_internal_by_its_whole_name_or_below_a_suffix(host: str, is_internal: bool) -> None:
    settings = HttpSettings(internal_hosts=("Billing.Local", ".svc.local"), internal_token="t")
    assert settings.headers_for(host) == ({"X-INTERNAL-TOKEN": "t"} if is_internal else {})


@pytest.mark.parametrize("hosts", ["a.local, .b.local", '["a.local", ".b.local"]'])
def test_internal_hosts_are_separated_by_commas_or_are_a_json_list(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAHOOK_INTERNAL_HOSTS", hosts)
    assert HttpSettings().internal_hosts == ("a.local", ".b.local")


@pytest.mark.parametrize("hosts", [".", "*.local", "http://a.local"])
def test_hosts_that_would_mean_everybody_or_nobody_are_refused(hosts: str) -> None:
    with pytest.raises(ValueError, match="an internal host is a name"):
        HttpSettings(internal_hosts=(hosts,))
