"""What a trigger is given of a recorded body."""

from base64 import b64encode
from typing import Any

import pytest
from orjson import JSONDecodeError, dumps

from sagahook_schemas.bodies import CLOUD_EVENT, FORM, event_of


@pytest.mark.parametrize(
    ("content_type", "body", "event"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("text/plain", b"[1]", [1]),
        (FORM, b"command=%2Fdeploy&text=a+b&empty=", {"command": "/deploy", "text": "a b", "empty": ""}),
        (
            f"{FORM}; charset=utf-8",
            b"payload=%7B%22type%22%3A%22block_actions%22%7D",
            {"type": "block_actions"},
        ),
        (FORM, b"payload=1&more=2", {"payload": "1", "more": "2"}),
        (CLOUD_EVENT, dumps({"id": "1", "data": {"a": 1}}), {"a": 1}),
        (CLOUD_EVENT.upper(), dumps({"id": "1"}), None),
        (CLOUD_EVENT, dumps({"data_base64": b64encode(b"[1]").decode()}), [1]),
    ],
)
def test_the_event_is_what_the_content_type_makes_of_the_body(
    content_type: str, body: bytes, event: Any
) -> None:
    assert event_of(content_type, body) == event


def test_what_cannot_be_read_is_told_apart_from_what_is_no_json() -> None:
    with pytest.raises(JSONDecodeError):
        event_of("application/json", b"a=1")
    with pytest.raises(ValueError, match="data_base64 holds no JSON"):
        event_of(CLOUD_EVENT, dumps({"data_base64": b64encode(b"\x89PNG").decode()}))
    with pytest.raises(ValueError, match="data_base64 is not base64"):
        event_of(CLOUD_EVENT, dumps({"data_base64": "%"}))
