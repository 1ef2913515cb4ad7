"""The language of an endpoint's filter: what it says yes to, and how it complains."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook_notifier.domain.filters import FIELDS, LONGEST, Filter, FilterError

ORDER: dict[str, Any] = {
    "type": "task_completed",
    "source": "github",
    "saga": "analysis",
    "progress": 0.5,
    "run": 1,
    "error": None,
    "attributes": {
        "repository": "octo/hello",
        "pr": 7,
        "urgent": True,
        "labels": ["bug", "api"],
        "a b": {"deep": "x"},
    },
}


@pytest.mark.parametrize(
    "expression",
    [
        'attributes.repository == "octo/hello" and progress >= 0.5',
        "attributes.urgent",
        "not attributes.absent",
        "attributes.absent == null and error == null",
        "attributes.pr in [1, 7]",
        'type not in ["task_started", "task_failed"]',
        'attributes.labels contains "bug"',
        'attributes.repository contains "/"',
        'attributes.repository starts_with "octo/"',
        'attributes.repository ends_with "hello"',
        'attributes["a b"].deep == "x"',
        '"bug" in attributes.labels',
        "run == 1.0",
        'source == "gitlab" or source == "github"',
        'false and false or saga == "analysis"',
        'not (source == "gitlab" or progress < 0.5)',
        r'"caf\u00e9" == "café"',
        "attributes.pr != true",
    ],
)
def test_these_match(expression: str) -> None:
    assert Filter(expression).matches(ORDER)


@pytest.mark.parametrize(
    "expression",
    [
        "progress > 0.5",
        'attributes.pr == "7"',
        "attributes.pr == true",
        'attributes.pr < "9"',
        "attributes.absent < 1",
        "attributes.absent.deeper == 1",
        "attributes.labels.bug",
        "attributes.pr",
        "attributes",
        'attributes.pr contains "7"',
        'attributes.urgent and source == "gitlab"',
        '"a" in "abc"',
        "error",
    ],
)
def test_these_do_not(expression: str) -> None:
    assert not Filter(expression).matches(ORDER)


@pytest.mark.parametrize(
    ("expression", "position", "said"),
    [
        ("", 1, "a value belongs here"),
        ("progress >=", 12, "a value belongs here, such as progress or 0.5, not the end"),
        ("progress = 1", 10, "equality is written =="),
        ("a == 1 && b == 2", 8, "write and, or, not"),
        ("colour == 1", 1, "there is no colour: there are type, source"),
        ('source == "x', 11, "this text is not closed"),
        ("source == 'x'", 11, "a text stands between double quotes"),
        ("(progress > 1", 14, ") is missing, not the end"),
        ("progress > 1 progress", 14, "the expression ends here"),
        ("attributes.", 12, "after . comes a name"),
        ("attributes[1]", 12, "a key is written"),
        ("type in [source]", 10, "a list holds texts, numbers"),
        ("type not contains 1", 10, "after not comes in"),
        ("progress == 01", 13, "01 is not written as in JSON"),
        ("progress > $1", 12, "'$' means nothing here"),
        ("not " * 50 + "true", 165, "nested more than 40 deep"),
        ("x" * (LONGEST + 1), LONGEST + 1, "at most"),
    ],
)
def test_a_mistake_is_told_with_its_place(expression: str, position: int, said: str) -> None:
    with pytest.raises(FilterError, match=f"^at character {position}: ") as refused:
        Filter(expression)

    assert said in str(refused.value)


def test_it_reaches_nothing_but_its_fields() -> None:
    with pytest.raises(FilterError, match="there is no __class__"):
        Filter("__class__")
    assert Filter("attributes.__class__ == null and source.upper == null").matches(ORDER)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(
    [
        *FIELDS,
        *["(", ")", "[", "]", ".", ",", "'", "é", "x", "1", "==", "!=", "<", ">="],
        *["and", "or", "not", "in", "contains", "starts_with", "true", "null"],
        '"a"',
    ]
)


@given(
    st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=30),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_any_text_is_refused_with_a_place_or_answers_yes_or_no(text: str, fields: dict[str, Any]) -> None:
    try:
        expression = Filter(text)
    except FilterError as refused:
        place = refused.position
    else:
        assert expression.matches(fields) in (True, False)
        place = 1
    assert 1 <= place <= len(text) + 1
