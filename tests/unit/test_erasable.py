"""Payload is sealed field by field, so that a record stays one of its type, with its key and without it."""

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orjson import dumps, loads

from sagahook.runtime.erasure_answers import _SEALED
from sagahook.runtime.erasure_crypto import DataKey, KeyEncryption, WrongKey, hashed
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.codec import CONTRACTS, decode_data
from sagahook_schemas.erasable import ERASED, ERASED_TEXT, FIELDS, GONE, SNAPSHOT, is_sealed, opened, sealed

ROOT = Path(__file__).parents[2]
KEY = DataKey.draw("shop", hashed("shop", "ada"))
EXAMPLES = [
    (f"{path.parts[-3]}.{path.parts[-2]}", path)
    for path in sorted((ROOT / "schemas" / "examples").glob("*/*/*.json"))
    if f"{path.parts[-3]}.{path.parts[-2]}" in FIELDS
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def gone(token: str) -> Any:
    return GONE


@pytest.mark.parametrize(
    ("ce_type", "path"), EXAMPLES, ids=[path.stem + " " + kind for kind, path in EXAMPLES]
)
def test_a_sealed_record_is_one_of_its_type_and_comes_back_whole(ce_type: str, path: Any) -> None:
    data = loads(path.read_bytes())

    hidden = sealed(data, FIELDS[ce_type], KEY.seal_value)

    for readable in (hidden, opened(hidden, gone), sealed(data, FIELDS[ce_type], None)):
        decode_data(ce_type, dumps(readable))
    assert opened(hidden, KEY.open_value) == data
    assert opened(hidden, gone) == sealed(data, FIELDS[ce_type], None)


def test_every_field_that_is_sealed_is_there() -> None:
    for ce_type, fields in FIELDS.items():
        assert fields.keys() <= CONTRACTS[ce_type].model_fields.keys()
    assert SNAPSHOT.keys() <= SagaState.__dataclass_fields__.keys()


@given(JSON.filter(lambda value: value is not None))
def test_whatever_is_sealed_comes_back_and_nothing_of_it_shows(value: Any) -> None:
    hidden = sealed({"result": value}, {"result": "value"}, KEY.seal_value)

    assert opened(hidden, KEY.open_value) == {"result": value}
    assert opened(hidden, gone) == {"result": ERASED}
    assert is_sealed(dumps(hidden))
    assert _SEALED.search(dumps(hidden).decode())


def test_what_says_that_it_was_erased_is_not_sealed() -> None:
    suspended = {"reason": "its data was erased", "cause": "erased"}

    assert sealed(suspended, FIELDS["sagahook.saga.suspended.v1"], None) == suspended
    assert sealed({"reason": "no"}, {"reason": "text"}, None) == {"reason": ERASED_TEXT}


def test_what_was_changed_or_is_another_keys_is_not_opened() -> None:
    token = KEY.seal_value("secret")
    other = DataKey(KEY.id, "shop", "", os.urandom(32))

    for reader, written in ((other, token), (KEY, token[:-2] + ("AA" if token[-2:] != "AA" else "BB"))):
        with pytest.raises(ValueError, match="not sealed under the data key"):
            reader.open_value(written)


def test_a_data_keys_record_says_nothing_of_its_subject_and_opens_under_any_of_the_deployments_keys() -> None:
    old, new = os.urandom(32), os.urandom(32)
    wrapped = KeyEncryption([old]).wrap(KEY)

    assert b"shop" not in wrapped
    assert KeyEncryption([new, old]).unwrap(KEY.id, wrapped) == KEY
    assert not KeyEncryption([new, old]).is_current(wrapped)
    with pytest.raises(WrongKey):
        KeyEncryption([new]).unwrap(KEY.id, wrapped)
    with pytest.raises(WrongKey):
        KeyEncryption([old]).unwrap("0" * 32, wrapped)


@pytest.mark.parametrize(
    ("references", "said"),
    [("env:NONE", "env:NONE is not set"), ("plain", "reference"), ("env:SHORT", "32 bytes")],
)
def test_a_key_that_is_none_is_refused_and_not_quoted(references: str, said: str) -> None:
    short = b64encode(b"short-key").decode()

    with pytest.raises(ValueError, match=said) as refused:
        KeyEncryption.of(references, {"SHORT": short})
    assert short not in str(refused.value)
