"""Bodies: strict JSON without names that are there twice, forms, and encodings."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook_ingest.domain import body
from sagahook_ingest.domain.encodings import refuse_encoded
from sagahook_ingest.domain.refusals import Refusal

SPACES = st.text(alphabet=" \t\r\n", max_size=2)
NAMES = st.text(alphabet='ab:"\\ \u00e9', max_size=3)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text(alphabet='":,{}\\ab \u00e9', max_size=8)
)


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """The text as JSON writes it, in one of its spellings."""
    if draw(st.booleans()):
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in name) + '"'
    return json.dumps(name, ensure_ascii=draw(st.booleans()))


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON texts in which names are often there twice."""
    kind = draw(st.sampled_from(["scalar", "list", "object", "object"])) if depth else "scalar"
    before, behind = draw(SPACES), draw(SPACES)
    if kind == "scalar":
        scalar = draw(SCALARS)
        text = draw(spelled(scalar)) if isinstance(scalar, str) else json.dumps(scalar)
        return before + text + behind
    inner = documents(depth=depth - 1)
    if kind == "list":
        return before + "[" + ",".join(draw(st.lists(inner, max_size=3))) + before + "]" + behind
    members = [
        draw(SPACES) + draw(spelled(draw(NAMES))) + draw(SPACES) + ":" + draw(inner)
        for _ in range(draw(st.integers(0, 3)))
    ]
    return before + "{" + ",".join(members) + behind + "}" + behind


def repeats_a_name(text: str) -> bool:
    found = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        found.append(len(dict(pairs)) < len(pairs))

    json.loads(text, object_pairs_hook=look)
    return any(found)


class TestRepeatedNames:
    @given(documents())
    def test_a_body_is_refused_just_when_a_name_is_there_twice_in_one_object(self, text: str) -> None:
        if repeats_a_name(text):
            with pytest.raises(Refusal, match="twice in one object"):
                body.parse(text.encode())
        else:
            assert body.parse(text.encode()) == json.loads(text)

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": 1, "a": 2}',
            '{"a":1,"a":1}',
            '{"a" \n\t: 1, "a" : 2}',
            '{"a": 1, "\\u0061": 2}',
            '{"": 1, "": 2}',
            '[{"x": {"a": 1, "b": {"a": 2, "a": 3}}}]',
            '{"a": {"many": [1, 2]}, "a": "\\":\\":\\":"}',
            '{"a": 1, "a": {"x\\":": 2}}',
        ],
    )
    def test_no_spelling_hides_the_second(self, text: str) -> None:
        with pytest.raises(Refusal, match="twice in one object"):
            body.parse(text.encode())

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": {"a": {"a": 1}}}',
            '[{"a": 1}, {"a": 2}]',
            '{"a": "\\":", "b": "a\\": 1"}',
            '{"\\u003a": "\\":"}',
            '{"a": "https://x.example:8080/", "at": "12:30:00"}',
            '["a", "a"]',
            '{"A": 1, "a": 2}',
            '"a\\":"',
            "7",
        ],
    )
    def test_nothing_else_is_taken_for_a_second(self, text: str) -> None:
        assert body.parse(text.encode()) == json.loads(text)

    def test_long_numbers_do_not_trouble_the_closer_look(self) -> None:
        digits = "1" * 300
        assert body.parse(f'{{"a": "\\":", "n": {digits}}}'.encode()) == {"a": '":', "n": float(digits)}

    def test_a_long_name_is_not_repeated_back(self) -> None:
        name = json.dumps("n" * 10_000)
        with pytest.raises(Refusal) as refusal:
            body.parse(f"{{{name}: 1, {name}: 2}}".encode())
        assert len(refusal.value.error) < 200


def form(*fields: tuple[str, str]) -> bytes:
    return urlencode(fields).encode()


class TestForms:
    SLASH = (("command", "/deploy"), ("text", "to prod & back = 100%"), ("user_name", "zoë"), ("empty", ""))

    def test_a_slash_command_is_an_object_of_texts(self) -> None:
        assert body.parse_form(form(*self.SLASH)) == dict(self.SLASH)

    def test_an_interaction_is_the_document_in_its_one_field(self) -> None:
        assert body.parse_form(form(("payload", '{"type": "block_actions"}'))) == {"type": "block_actions"}

    def test_a_payload_among_other_fields_is_a_text(self) -> None:
        assert body.parse_form(form(("payload", "{}"), ("a", "b"))) == {"payload": "{}", "a": "b"}

    @given(st.dictionaries(st.text(min_size=1), st.text(), min_size=2, max_size=5))
    def test_every_form_that_a_library_writes_is_read(self, fields: dict[str, str]) -> None:
        assert body.parse_form(form(*fields.items())) == fields

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"=b",
            b"a=b&",
            b"&a=b",
            b"a=b&&c=d",
            b"a=%",
            b"a=%4",
            b"a=%zz",
            b"a b=c",
            b"a=\xc3\xa9",
            b"a=\x00",
            b"a=%ff",
            b"a=%c0%af",
            b"a=%ed%a0%80",
            b"a=b\r\n",
            b"a=1&a=2",
            b"a=1&%61=2",
            b"payload=",
            b"payload=%7B",
            b"payload=NaN",
            b"payload=%7B%22a%22:1,%22a%22:2%7D",
            b"&".join([b"a=b"] * 300),
        ],
    )
    def test_anything_else_is_refused(self, sent: bytes) -> None:
        with pytest.raises(Refusal) as refusal:
            body.parse_form(sent)
        assert refusal.value.status == 400

    @pytest.mark.parametrize(
        "content_type",
        ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded ; charset=utf-8"],
    )
    def test_a_body_is_a_form_where_the_source_has_forms_and_says_so(self, content_type: str) -> None:
        assert body.read(b"a=1", content_type, forms=True) == {"a": "1"}

    def test_else_it_is_json_whatever_it_is_declared_as(self) -> None:
        assert body.read(b'{"a": 1}', "application/x-www-form-urlencoded") == {"a": 1}
        assert body.read(b'{"a": 1}', "application/json", forms=True) == {"a": 1}
        assert body.read(b"[]", "", forms=True) == []


class TestEncodings:
    @pytest.mark.parametrize("given", [b"", b"identity", b" Identity "])
    def test_none_is_taken(self, given: bytes) -> None:
        refuse_encoded({})
        refuse_encoded({b"content-encoding": given})

    @pytest.mark.parametrize("given", [b"gzip", b"identity, gzip", b"br", b"x" * 10_000, b"\xff"])
    def test_every_other_is_refused_with_what_would_be_taken(self, given: bytes) -> None:
        with pytest.raises(Refusal) as refusal:
            refuse_encoded({b"content-encoding": given})
        assert refusal.value.status == 415
        assert refusal.value.headers == {"Accept-Encoding": "identity"}
        assert len(refusal.value.error) < 200
