"""What ingest reads out of a request: event type, ids, CloudEvents, batches, and what GitHub's endpoint starts."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from orjson import dumps, loads

from sagahook.runtime.sources import Source
from sagahook_ingest.domain import cloudevents, github
from sagahook_ingest.domain.fields import FieldRules, Identified
from sagahook_ingest.domain.reading import (
    Item,
    Request,
    read_event,
    read_items,
    webhook_of,
    webhook_of_item,
)
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.slices import elements
from sagahook_ingest.domain.sources import KnownSources, known_source
from sagahook_ingest.domain.webhook import OnceOnly, Webhook

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JSON = "application/json"
ONE = "application/cloudevents+json"
MANY = "application/cloudevents-batch+json; charset=utf-8"
BINARY = {"ce-specversion": "1.0", "ce-id": "a-1", "ce-source": "/shop", "ce-type": "order.created"}
EVENT = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.created", "data": {"id": 7}}


def request(
    body: bytes, content_type: str = JSON, headers: dict[str, str] | None = None, **source: Any
) -> Request:
    given = {name.lower().encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
    known = known_source("shop", Source(**source))
    return Request(known, given, list(given.items()), "", content_type, "", "", NOW, body)


def read(asked: Request) -> tuple[Webhook, Any]:
    event = read_event(asked)
    return webhook_of(asked, event, "c"), event.value


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def identified(source: dict[str, Any], headers: dict[str, str], event: Any) -> Identified:
    given = {name.lower().encode(): value.encode() for name, value in headers.items()}
    return FieldRules.of(Source(**source)).identify(given, event)


SIGNED: dict[str, Any] = {"secrets": ("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",)}


class TestFields:
    @pytest.mark.parametrize(
        ("scheme", "headers", "event", "event_type", "delivery_id"),
        [
            ("github", {"X-GitHub-Event": "push", "X-GitHub-Delivery": "d-1"}, {}, "push", "d-1"),
            ("standard", {"webhook-id": "msg_1"}, {"type": "paid"}, "paid", "msg_1"),
            ("standard", {"svix-id": "msg_2"}, {"type": "paid"}, "paid", "msg_2"),
            ("stripe", {}, {"type": "charge.succeeded", "id": "evt_1"}, "charge.succeeded", "evt_1"),
            ("slack", {}, {"event": {"type": "message"}, "event_id": "Ev1"}, "message", "Ev1"),
            ("slack", {}, {"type": "block_actions"}, "block_actions", ""),
            (
                "shopify",
                {"X-Shopify-Topic": "orders/create", "X-Shopify-Webhook-Id": "w-1"},
                {},
                "orders/create",
                "w-1",
            ),
        ],
    )
    def test_each_vendor_says_what_it_is_in_its_own_place(
        self, scheme: str, headers: dict[str, str], event: Any, event_type: str, delivery_id: str
    ) -> None:
        found = identified({"scheme": scheme} | SIGNED, headers, event)
        assert found == (event_type, delivery_id, None)

    def test_a_header_that_nobody_signed_gives_no_type_to_a_vendor_s_event(self) -> None:
        given = {"X-Event-Type": "forged"}
        assert identified({"scheme": "stripe"} | SIGNED, given, {"type": "paid"}).event_type == "paid"
        assert identified({"scheme": "stripe"} | SIGNED, given, {}).event_type == ""

    def test_what_the_source_names_comes_first(self) -> None:
        source = {
            "event_type": "body:meta.kind",
            "delivery_id": "header:X-Message",
            "idempotency_key": "body:key",
        }
        headers = {"X-Message": "m-1", "X-Event-Type": "other", "Idempotency-Key": "of-the-header"}
        assert identified(source, headers, {"meta": {"kind": "paid"}, "key": 7}) == ("paid", "m-1", "7")
        assert identified(source, headers, {}) == ("", "m-1", "of-the-header")

    @pytest.mark.parametrize(
        "headers", [{}, {"X-Message": ""}, {"X-Message": "a b"}, {"X-Message": "x" * 256}]
    )
    def test_a_configured_delivery_id_cannot_be_left_out(self, headers: dict[str, str]) -> None:
        with pytest.raises(Refusal, match="x-message"):
            identified({"delivery_id": "header:X-Message"}, headers, {})

    def test_what_is_no_text_or_number_identifies_nothing(self) -> None:
        with pytest.raises(Refusal, match="'id'"):
            identified({"delivery_id": "body:id"}, {}, {"id": [1]})
        with pytest.raises(Refusal, match="event type"):
            identified({"event_type": "body:kind"}, {}, {"kind": "a\nb"})


class TestOnceOnly:
    def test_a_delivery_id_and_a_key_of_the_same_text_are_two_things(self) -> None:
        assert OnceOnly.of_key("s", "k", b"") != OnceOnly.of_delivery("s", "k")
        assert OnceOnly.of_key("s", "delivery", b"").key != OnceOnly.of_delivery("s", "").key

    def test_a_webhook_with_both_lies_where_its_idempotency_key_belongs(self) -> None:
        asked = request(b"{}", headers={"Idempotency-Key": "k", **BINARY})
        webhook, _ = read(asked)
        key, delivery = webhook.once
        assert webhook.pinned(64) == key.partition(64) != delivery.partition(64)
        assert key == OnceOnly.of_key("shop", "k", b"{}")


class TestCloudEvents:
    def test_in_binary_mode_the_headers_say_what_it_is_and_the_body_is_the_data(self) -> None:
        headers = BINARY | {"ce-time": "2026-01-05T12:00:00Z", "ce-subject": "%22Euro%22%20%E2%82%AC"}
        webhook, event = read(request(b'{"id": 7}', headers=headers))
        assert (webhook.event_type, webhook.delivery_id, event) == ("order.created", "/shop a-1", {"id": 7})
        assert loads(webhook.cloud_event) == {
            "specversion": "1.0",
            "id": "a-1",
            "source": "/shop",
            "type": "order.created",
            "time": "2026-01-05T12:00:00Z",
            "subject": '"Euro" €',
        }

    def test_in_structured_mode_the_body_lies_in_the_log_and_its_data_is_the_event(self) -> None:
        webhook, event = read(request(dumps(EVENT), ONE))
        assert (webhook.event_type, webhook.delivery_id, event) == ("order.created", "/shop a-1", {"id": 7})
        assert (webhook.body, webhook.content_type, webhook.cloud_event) == (dumps(EVENT), ONE, "")

    def test_data_may_be_absent_or_be_base64_of_json(self) -> None:
        assert read(request(dumps(without(EVENT, "data")), ONE))[1] is None
        encoded = without(EVENT, "data") | {"data_base64": b64encode(b'{"id": 8}').decode()}
        assert read(request(dumps(encoded), ONE))[1] == {"id": 8}

    def test_a_source_s_own_place_for_the_event_type_comes_first(self) -> None:
        webhook, _ = read(request(dumps(EVENT), ONE, event_type="body:id"))
        assert webhook.event_type == "7"

    def test_an_older_sender_s_quoted_header_is_read(self) -> None:
        webhook, _ = read(request(b"{}", headers=BINARY | {"ce-type": r'"order \"created\""'}))
        assert webhook.event_type == 'order "created"'

    @pytest.mark.parametrize(
        "headers",
        [
            without(BINARY, "ce-id"),
            BINARY | {"ce-specversion": "0.3"},
            BINARY | {"ce-source": ""},
            BINARY | {"ce-source": "a%20b"},
            BINARY | {"ce-type": "%C0%A0"},
            BINARY | {"ce-type": "a%0Ab"},
            BINARY | {"ce-type": "é"},
            BINARY | {"ce-time": "yesterday"},
            BINARY | {"ce-time": "2026-01-05T12:00:00"},
            BINARY | {"ce-datacontenttype": JSON},
            BINARY | {"ce-No!": "x"},
            BINARY | {"ce-extension": "x" * 9_000},
        ],
    )
    def test_headers_that_are_no_cloud_event_are_refused(self, headers: dict[str, str]) -> None:
        with pytest.raises(Refusal) as refusal:
            read(request(b"{}", headers=headers))
        assert refusal.value.status == 400

    @pytest.mark.parametrize(
        ("document", "status"),
        [
            ([], 400),
            (without(EVENT, "type"), 400),
            (EVENT | {"id": 7}, 400),
            (EVENT | {"specversion": "2.0"}, 400),
            (EVENT | {"time": 12}, 400),
            (EVENT | {"subject": 7}, 400),
            (EVENT | {"extension": {}}, 400),
            (EVENT | {"data_base64": "e30="}, 400),
            (without(EVENT, "data") | {"data_base64": 7}, 400),
            (without(EVENT, "data") | {"data_base64": "%"}, 415),
            (without(EVENT, "data") | {"data_base64": b64encode(b"\x89PNG").decode()}, 415),
        ],
    )
    def test_a_document_that_is_no_cloud_event_of_ours_is_refused(self, document: Any, status: int) -> None:
        with pytest.raises(Refusal) as refusal:
            read(request(dumps(document), ONE))
        assert refusal.value.status == status

    @pytest.mark.parametrize(
        ("content_type", "headers"),
        [("application/cloudevents+avro", {}), ("application/cloudevents", {}), ("text/plain", BINARY)],
    )
    def test_a_format_that_nobody_reads_here_is_told_so(
        self, content_type: str, headers: dict[str, str]
    ) -> None:
        with pytest.raises(Refusal) as refusal:
            read(request(b"{}", content_type, headers))
        assert refusal.value.status == 415

    def test_an_event_whose_content_type_is_json_by_its_suffix_is_read(self) -> None:
        read(request(b"{}", "application/vnd.shop.order+json", BINARY))
        assert not cloudevents.is_cloud_event("application/vnd.shop.order+json", {})


class TestForms:
    def test_who_uses_forms_is_read_as_one_and_everyone_else_as_json(self) -> None:
        form = "application/x-www-form-urlencoded"
        slack, event = read(request(b"command=%2Fdeploy&text=a+b", form, scheme="slack", **SIGNED))
        assert (event, slack.content_type) == ({"command": "/deploy", "text": "a b"}, form)
        curl, event = read(request(b'{"a": 1}', form))
        assert (event, curl.content_type) == ({"a": 1}, JSON)


class TestSlices:
    @pytest.mark.parametrize(
        ("array", "found"),
        [
            (b"[]", []),
            (b" [ ] ", []),
            (b'[1.0,"a]\\"",{"b": [1, 2]} , null]', [b"1.0", b'"a]\\""', b'{"b": [1, 2]}', b"null"]),
            ('\n[\t"é€😀"\r\n, true]'.encode(), ['"é€😀"'.encode(), b"true"]),
            (b"[%s]" % (b"9" * 300), [b"9" * 300]),
        ],
    )
    def test_each_element_is_as_it_stands(self, array: bytes, found: list[bytes]) -> None:
        assert elements(array) == found


class TestBatches:
    def webhook(self, asked: Request, index: int) -> Webhook:
        return webhook_of_item(asked, read_items(asked, 10)[index], "c")

    def test_each_element_is_an_event_with_a_type_of_its_own(self) -> None:
        asked = request(b'[{"type": "a"}, {"type":"b"}]')
        assert read_items(asked, 10)[1] == Item(1, b'{"type":"b"}', {"type": "b"}, JSON)
        assert [self.webhook(asked, index).event_type for index in (0, 1)] == ["a", "b"]

    def test_what_the_headers_say_once_is_made_each_element_s_own(self) -> None:
        asked = request(
            b"[{}, {}]", headers={"Idempotency-Key": "k", "X-Message": "m"}, delivery_id="header:X-Message"
        )
        first, second = self.webhook(asked, 0), self.webhook(asked, 1)
        assert (first.delivery_id, second.delivery_id) == ("m/0", "m/1")
        assert first.once[0].key_hash != second.once[0].key_hash

    def test_a_key_in_the_element_is_the_same_wherever_it_stands(self) -> None:
        asked = request(b'[{"k": 1}, {"k": 2}, {"k": 1}]', idempotency_key="body:k")
        first, _, third = (self.webhook(asked, index) for index in range(3))
        assert first.once == third.once

    def test_cloud_events_in_a_batch_are_structured_events(self) -> None:
        webhook = self.webhook(request(dumps([EVENT]), MANY), 0)
        assert (webhook.content_type, webhook.delivery_id) == (ONE, "/shop a-1")

    @pytest.mark.parametrize(
        ("body", "content_type", "headers", "status"),
        [
            (b"{}", JSON, {}, 400),
            (b"[%s]" % b",".join([b"1"] * 11), JSON, {}, 413),
            (dumps(EVENT), ONE, {}, 415),
            (b"[]", JSON, BINARY, 415),
        ],
    )
    def test_what_is_no_batch_of_at_most_so_many_is_refused(
        self, body: bytes, content_type: str, headers: dict[str, str], status: int
    ) -> None:
        with pytest.raises(Refusal) as refusal:
            read_items(request(body, content_type, headers), 10)
        assert refusal.value.status == status


class TestGitHub:
    @pytest.mark.parametrize(
        ("event_type", "event"),
        [
            ("pull_request", {"action": "opened"}),
            ("pull_request", {"action": "synchronize"}),
            ("pull_request", {"action": "reopened"}),
            ("pull_request", {"action": "ready_for_review"}),
            ("check_run", {"action": "completed"}),
            ("check_suite", {"action": "completed"}),
            ("push", {"ref": "refs/heads/main"}),
            ("push", {"ref": "refs/heads/master"}),
            ("issues", {"action": "opened"}),
        ],
    )
    def test_what_the_contract_lists_and_what_it_does_not_know_is_the_triggers_to_decide(
        self, event_type: str, event: Any
    ) -> None:
        assert github.recorded_only(event_type, event) == ""

    @pytest.mark.parametrize(
        ("event_type", "event"),
        [
            ("pull_request", {"action": "closed"}),
            ("pull_request", {}),
            ("check_run", {"action": "created"}),
            ("check_suite", {"action": "requested"}),
            ("push", {"ref": "refs/heads/feature"}),
            ("push", {"ref": "refs/tags/main"}),
            ("push", None),
            ("installation", {"action": "created"}),
            ("installation_repositories", {"action": "added"}),
            ("ping", {"zen": "Design for failure."}),
        ],
    )
    def test_the_rest_of_what_it_lists_is_recorded_only(self, event_type: str, event: Any) -> None:
        assert "recorded only" in github.recorded_only(event_type, event)

    def test_the_action_is_the_payload_s_own_word(self) -> None:
        assert github.action_of({"action": "opened"}) == "opened"
        assert github.action_of([]) is None


class TestReconfiguring:
    def test_a_new_configuration_takes_the_place_of_the_old_one_as_a_whole(self) -> None:
        sources = KnownSources({"old": Source(), "kept": Source()})
        sources.reconfigure({"kept": Source(body_limit=7), "signed": Source(scheme="github", secrets=("s",))})
        assert sources.get("old") is None
        assert [kept.body_limit for kept in [sources.get("kept")] if kept] == [7]
        assert b"x-hub-signature-256" in sources.headers

    def test_one_that_cannot_be_used_changes_nothing_and_names_the_source_not_the_secret(self) -> None:
        sources = KnownSources({"kept": Source()})
        with pytest.raises(ValueError, match=r"^pay\.secrets: ") as wrong:
            sources.reconfigure({"pay": Source(scheme="standard", secrets=("not-a-webhook-secret",))})
        assert "not-a-webhook-secret" not in str(wrong.value)
        assert sources.get("kept") is not None
        assert sources.get("pay") is None
