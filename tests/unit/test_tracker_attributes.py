"""By which words runs are found."""

import pytest

from sagahook_schemas.base import JsonValue
from sagahook_tracker.domain.attributes import listed, only_one
from sagahook_tracker.listing_api import alternatives


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("a b", "a b"),
        ("", ""),
        (7, "7"),
        (7.0, "7"),
        (0.5, "0.5"),
        (-0.0, "0"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (True, "true"),
        (False, "false"),
        ("x" * 201, "x" * 200),
    ],
    ids=repr,
)
def test_a_value_is_found_by_what_a_person_would_write(value: JsonValue, word: str) -> None:
    assert list(listed({"of": value})) == [("of", word)]


@pytest.mark.parametrize("value", [None, [], ["a"], {}, {"a": "b"}], ids=repr)
def test_what_is_no_single_word_is_not_found_by_one(value: JsonValue) -> None:
    assert list(listed({"of": value})) == []


def test_what_is_sealed_or_has_a_very_long_name_is_not_found() -> None:
    assert list(listed({"$sealed": "sealed:1:…", "x" * 201: 1})) == []


@pytest.mark.parametrize(
    ("asked", "alone"),
    [
        (["order:a:b"], ("order", "a:b")),
        (["pr:7"], ("pr", "7")),
        (["pr:7", "pr:7"], ("pr", "7")),
        (["urgent:true"], ("urgent", "true")),
        (["pr:7.0"], None),  # the text that it is, and the number 7
        (["pr:7", "pr:8"], None),
        (["pr:7", "order:a"], None),
        ([], None),
    ],
)
def test_a_question_for_one_word_is_told_from_others(asked: list[str], alone: tuple[str, str] | None) -> None:
    assert only_one(alternatives(asked)) == alone


def test_a_question_for_an_object_is_not_one_for_a_word() -> None:
    assert only_one([{"customer": {"id": 1}}]) is None
    assert only_one([{"customer": {"id": 1}}, {"customer": "1"}]) is None
