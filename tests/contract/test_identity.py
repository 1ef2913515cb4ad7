"""Identities are for ever: a value pinned here that changes would orphan every saga and delivery there is."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orjson import loads

from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import (
    delivery_id,
    idempotency_key,
    joined_event_id,
    notify_endpoint_id,
    partition_of,
    saga_event_id,
    saga_id,
    webhook_task_id,
)
from sagahook_schemas.paths import MISSING, identity_value, lookup

PARTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1f"))


@pytest.mark.parametrize(
    ("made", "pinned"),
    [
        (saga_id("order_created", "order_processing", "o-1001"), "f4f97f1d-747c-5abe-b53c-5dd9891f2bf8"),
        (saga_id("größe", "a", ""), "44b093cb-2c52-53f7-9c1e-5e7c446945ea"),
        (idempotency_key("s", 2, "charge", "action"), "s/2/charge/action"),
        (idempotency_key("s", 2, "charge", "compensation"), "s/2/charge/compensation"),
        (saga_event_id("s", 2, 7), "s/2/7"),
        (joined_event_id("s", 2, "w-1"), "s/2/joined/w-1"),
        (delivery_id("s/2/7", "shop-backend"), "cea77658-97d6-5eac-b3be-7e12f53a9fb7"),
        (
            notify_endpoint_id("order_created", "https://shop.example/hook"),
            "notify-c9e0804e-f9ac-58be-8d82-14c505f8f008",
        ),
        (
            webhook_task_id("github", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            "50b1eafc-9dcc-5f5d-817c-2c75443678f1",
        ),
    ],
)
def test_an_identity_is_what_it_always_was(made: str, pinned: str) -> None:
    assert made == pinned


@given(PARTS)
def test_a_derived_id_is_what_the_standard_library_makes_of_the_same_name(url: str) -> None:
    namespace = UUID("6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e003")
    assert notify_endpoint_id("shop", url) == "notify-" + str(uuid5(namespace, "shop\x1f" + url))


@given(PARTS, PARTS, PARTS, PARTS, PARTS, PARTS)
def test_sagas_that_differ_in_source_name_or_value_differ_in_id(
    source: str, name: str, value: str, source_2: str, name_2: str, value_2: str
) -> None:
    same = (source, name, value) == (source_2, name_2, value_2)

    assert (saga_id(source, name, value) == saga_id(source_2, name_2, value_2)) is same


@pytest.mark.parametrize("other", [("b", "n", "v"), ("a", "m", "v"), ("a", "n", "w"), ("an", "", "v")])
def test_each_part_of_a_sagas_identity_counts(other: tuple[str, str, str]) -> None:
    assert saga_id(*other) != saga_id("a", "n", "v")


# The CRC-32 values are those of librdkafka's own test of its `consistent` partitioner (tests/0048-partitioner.c).
@pytest.mark.parametrize("partitions", [1, 4, 7, 17])
@pytest.mark.parametrize(
    ("key", "crc32"),
    [
        ("", 0x0),
        ("23456", 0xB1B451D7),
        ("this is another string with more length to it perhaps", 0xB0150DF7),
        ("hejsan", 0xD077037E),
    ],
)
def test_a_keys_partition_is_where_librdkafka_puts_it(key: str, crc32: int, partitions: int) -> None:
    assert partition_of(key, partitions) == crc32 % partitions


def test_a_sagas_partition_is_pinned() -> None:
    assert [partition_of("f4f97f1d-747c-5abe-b53c-5dd9891f2bf8", n) for n in (1, 4, 12, 64)] == [0, 3, 11, 51]


ORDER: JsonValue = {"order": {"id": "o-1", "note": None, "lines": [{"sku": "book"}]}, "a.b": 1, "paid": False}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("order.id", "o-1"),
        ("paid", False),
        ("order", {"id": "o-1", "note": None, "lines": [{"sku": "book"}]}),
    ],
)
def test_a_dotted_path_finds_the_value_inside_objects(path: str, found: JsonValue) -> None:
    assert lookup(ORDER, path) == found


@pytest.mark.parametrize(
    "path", ["order.total", "order.note", "order.lines.0.sku", "order.id.x", "a.b", "", "order.", "paid.x"]
)
def test_what_is_absent_null_or_no_objects_field_is_missing(path: str) -> None:
    assert lookup(ORDER, path) is MISSING


@pytest.mark.parametrize("body", [None, [], [{"id": 1}], "id", 7])
def test_a_body_that_is_no_object_has_no_fields(body: JsonValue) -> None:
    assert lookup(body, "id") is MISSING


@pytest.mark.parametrize(
    ("json", "value"),
    [
        ('"o-1"', "o-1"),
        ('"1"', "1"),
        ("1", "1"),
        ("1.5", "1.5"),
        ("-0.0", "-0.0"),
        ("1e-7", "1e-7"),
        ("true", "true"),
        ("18446744073709551615", "18446744073709551615"),
        ('""', ""),
    ],
)
def test_a_scalar_identifies_by_its_text(json: str, value: str) -> None:
    assert identity_value(loads(json)) == value


@pytest.mark.parametrize(
    "json", ["null", "{}", "[1]", "18446744073709551616", "-99999999999999999999", "1e300"]
)
def test_what_is_no_scalar_or_was_rounded_identifies_nothing(json: str) -> None:
    assert identity_value(loads(json)) is None


@given(st.integers())
def test_two_integers_never_share_an_identity(number: int) -> None:
    read = [identity_value(loads(str(value))) for value in (number, number + 1)]

    assert read[0] != read[1] or read == [None, None]
