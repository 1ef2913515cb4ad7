"""`sagahook send` and `sagahook sources`, up to what leaves this machine and what is shown of secrets."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sagahook.cli.example_curl import check_sources, example_body, example_curl, shipped_body
from sagahook.cli.main import app
from sagahook.embedded.app_facts import AppFacts
from sagahook.runtime.source_configuration import SourceConfiguration
from sagahook_ingest.domain.sources import scheme_for

SECRET = "hunter2hunter2"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOURCES = {
    "github": {"scheme": "github", "secrets": ["env:SECRET", "env:OLD"], "body_limit": 500},
    "svix": {"scheme": "standard", "secrets": "env:SIGNING"},
    "payments": {"scheme": "stripe", "secrets": "env:SECRET", "allowed_ips": ["192.0.2.0/24"]},
    "partner": {"scheme": "bearer", "secrets": "env:SECRET", "event_type": "header:X-Kind"},
    "orders": {"rate_limit": "5/s"},
    "shop": {"scheme": "shopify", "secrets": "env:NOWHERE"},
}
ENVIRONMENT = {
    "SAGAHOOK_SOURCES": json.dumps(SOURCES),
    "SECRET": SECRET,
    "OLD": "before",
    "SIGNING": SIGNING,
}


class Receiver:
    """What came, and what is answered."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[bytes, bytes], bytes]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self._lock = threading.Lock()

    def take(self, path: str, headers: dict[bytes, bytes], body: bytes) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.came.append((path, headers, body))
            number = len(self.came)
            return (
                self.answers.pop(0)
                if self.answers
                else (202, {"correlation_id": f"c-{number}", "event_id": "e"})
            )


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A real HTTP server where the command line expects ingest."""
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower().encode(): value.encode() for name, value in self.headers.items()}
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = received.take(self.path, headers, body)
            answer = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            if status == 429:
                self.send_header("Retry-After", "3")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing: stderr is the command's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    monkeypatch.setenv("SAGAHOOK_URL", f"http://127.0.0.1:{server.server_address[1]}")
    yield received
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAGAHOOK_SOURCES_FILE", "GITHUB_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str, stdin: bytes | None = None) -> Any:
    return CliRunner().invoke(app, list(words), input=stdin)


def verify(name: str, headers: dict[bytes, bytes], body: bytes) -> None:
    """By the same configuration, as ingest does. Raises Unsigned."""
    source = SourceConfiguration.of(ENVIRONMENT).read().entries[name].source
    scheme_for(name, source).verify(headers, body, datetime.now(UTC))


def test_an_answer_is_a_line_with_its_status_and_ids(receiver: Receiver) -> None:
    result = run("send", "orders", '{"order_id": "A1"}')

    assert (result.exit_code, result.output) == (0, "202 accepted  correlation c-1  event e\n")
    ((path, headers, body),) = receiver.came
    assert (path, body) == ("/webhooks/orders", b'{"order_id": "A1"}')
    assert headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize("how", ["file", "stdin", "argument"])
def test_a_body_goes_byte_for_byte_wherever_it_comes_from(
    receiver: Receiver, how: str, tmp_path: Path
) -> None:
    body = b'{ "a" :  1.0 }' if how == "argument" else b'{ "a" :  1.0 }\r\n'
    (tmp_path / "body.json").write_bytes(body)

    given = {"file": str(tmp_path / "body.json"), "stdin": "-", "argument": body.decode()}[how]
    result = run("send", "orders", given, stdin=body)

    assert result.exit_code == 0, result.output
    assert receiver.came[0][2] == body


@pytest.mark.parametrize("source", ["github", "svix", "payments", "partner"])
def test_what_is_signed_verifies_as_ingest_verifies_it(receiver: Receiver, source: str) -> None:
    result = run("send", source, '{"a": 1}', "--sign", "--times", "3")

    assert result.exit_code == 0, result.output
    for _, headers, body in receiver.came:
        verify(source, headers, body)


def test_each_of_many_has_a_delivery_id_of_its_own_and_a_summary_ends_them(receiver: Receiver) -> None:
    receiver.answers = [(202, {}), (429, {"error": "too many"})]

    result = run("send", "github", "--sign", "--times", "20", "--event", "ping")

    assert result.exit_code == 1
    assert "429 refused  too many (again in 3 s)\n" in result.output
    assert ": 19 accepted, 1 not (1 x 429)\n" in result.output
    ids = {headers[b"x-github-delivery"] for _, headers, _ in receiver.came}
    assert (len(receiver.came), len(ids)) == (20, 20)
    assert {headers[b"x-github-event"] for _, headers, _ in receiver.came} == {b"ping"}


def test_answers_as_json_are_a_line_each(receiver: Receiver) -> None:
    receiver.answers = [(202, {"correlation_id": "c", "event_id": "e"}), (401, {"error": "no"})]

    result = run("send", "orders", "--times", "2", "--concurrency", "1", "--json")

    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["status"], first["correlation_id"], first["event_id"]) == (202, "c", "e")
    assert (second["accepted"], second["error"]) == (False, "no")
    assert result.exit_code == 1
    assert "this source signs: say --sign" in result.stderr


def test_the_event_the_key_and_further_headers_are_where_the_source_expects_them(receiver: Receiver) -> None:
    run(
        "send",
        "orders",
        "--event",
        "made",
        "--idempotency-key",
        "k",
        "-H",
        "content-type: text/plain",
        "-H",
        "X-A:b",
    )
    run("send", "partner", "--sign", "--event", "made", "-H", "authorization: Bearer other")

    (_, orders, _), (_, partner, _) = receiver.came
    assert orders[b"x-event-type"] == b"made"
    assert orders[b"idempotency-key"] == b"k"
    assert (orders[b"content-type"], orders[b"x-a"]) == (b"text/plain", b"b")
    assert (partner[b"x-kind"], partner[b"authorization"]) == (b"made", b"Bearer other")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("send", "orders", "no-such-file"), "'no-such-file' is neither JSON nor a file"),
        (("send", "orders", "-H", "nothing"), "--header 'nothing' is not NAME:VALUE"),
        (("send", "orders", "-H", "X-A: a\nb"), "--header X-A: a header holds printable ASCII"),
        (("send", "orders", "--url", "ftp://here"), "'ftp://here' is no address of an API"),
        (("send", "orders", "--sign"), "has the scheme none, and nothing to sign with"),
        (("send", "nobody", "--sign"), "The source 'nobody' is not configured here (there are: github"),
        (("send", "shop", "--sign"), "SAGAHOOK_SOURCES: shop.secrets: env:NOWHERE is not set"),
        (("send", "svix", "--event", "made"), "--event: this source reads it in the body's field 'type'"),
        (("sources", "test", "nobody"), "The source 'nobody' is not configured here"),
        (("sources", "test", "orders", "{}", "--at", "noon"), "--at 'noon' is no time"),
        (("sources", "test", "orders", "{}", "--from", "here"), "--from 'here' is no IP address"),
        (("sources", "test", "orders", "-H", "A:b"), "The headers are of no body"),
        (("sources", "list", "--offline", "--app", "no_such_module"), "no_such_module"),
    ],
)
def test_what_cannot_be_done_is_one_line(receiver: Receiver, words: tuple[str, ...], said: str) -> None:
    result = run(*words)

    assert result.exit_code == 1
    assert result.stderr.startswith("sagahook: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert receiver.came == []


def test_nobody_who_answers_is_told_with_what_to_do() -> None:
    result = run("send", "orders", "--url", "http://127.0.0.1:9")

    assert result.exit_code == 1
    assert result.output.startswith("no answer  http://127.0.0.1:9 does not answer (")


def test_sources_are_listed_with_how_they_sign_and_never_with_a_secret() -> None:
    result = run("sources", "list", "--offline", "--json")
    told = {each["source"]: each for each in json.loads(result.stdout)}

    assert list(told) == ["github", "orders", "partner", "payments", "shop", "svix"]
    assert told["github"]["configured"]["secrets"] == ["env:SECRET", "env:OLD"]
    assert told["orders"]["configured"]["rate_limit"] == "5/s"
    table = run("sources", "list", "--offline").output
    assert [line.split() for line in table.splitlines() if "github" in line] == [
        ["github", "github", "2", "500", "bytes"]
    ]
    assert SECRET not in table + result.output


def test_the_sources_of_an_app_are_listed_with_what_they_start() -> None:
    orders = Path(__file__).parents[2] / "examples/orders/sagahook_orders/app.py"

    told = json.loads(run("sources", "list", "--offline", "--json", "--app", str(orders)).stdout)

    (created,) = [each for each in told if each["source"] == "order_created"]
    assert (created["definitions"], created["configured"]) == (["order"], None)
    table = run("sources", "list", "--offline", "--app", str(orders)).output
    assert [line.split() for line in table.splitlines() if "order_created" in line] == [
        ["order_created", "none", "order"]
    ]


def test_without_a_request_a_sample_says_whether_the_source_can_sign() -> None:
    result = run("sources", "test", "github")

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "github: github, secrets env:SECRET, env:OLD, 500 bytes, from SAGAHOOK_SOURCES",
        "  ok     signature  github, by one of 2 secrets",
        "a sample that was signed here verifies",
    ]


def signed(name: str, body: bytes, at: datetime) -> dict[str, str]:
    source = SourceConfiguration.of(ENVIRONMENT).read().entries[name].source
    return scheme_for(name, source).sign(body, at, "d-1")


def lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in headers.items())


@pytest.fixture
def captured(tmp_path: Path) -> Callable[[bytes, str], list[str]]:
    """The options that name a captured body and its headers."""

    def write(body: bytes, headers: str) -> list[str]:
        (tmp_path / "body").write_bytes(body)
        (tmp_path / "headers").write_text(headers)
        return [str(tmp_path / "body"), "--headers-file", str(tmp_path / "headers")]

    return write


def test_a_captured_request_is_told_check_by_check(captured: Callable[[bytes, str], list[str]]) -> None:
    body = b'{"id": "evt_1", "type": "charge.made"}'
    headers = signed("payments", body, datetime.now(UTC))

    result = run("sources", "test", "payments", *captured(body, lines(headers)), "--from", "192.0.2.9")

    assert result.exit_code == 0, result.output
    told = [line.split(maxsplit=1) for line in result.output.splitlines()[1:-1]]
    assert [mark for mark, _ in told] == ["ok", "ok", "ok", "ok", "ok", "ok", "-", "-", "-"]
    assert "event type       charge.made" in result.output
    assert "delivery id      evt_1" in result.output
    assert result.output.endswith("ingest would take it\n")


def test_a_whole_request_can_be_tested_as_it_went_over_the_wire(tmp_path: Path) -> None:
    body = b'{"a": 1}'
    head = "POST /webhooks/github HTTP/1.1\nHost: here\nX-GitHub-Event: push\n" + lines(
        signed("github", body, datetime.now(UTC))
    )
    (tmp_path / "request").write_bytes(head.replace("\n", "\r\n").encode() + b"\r\n" + body)

    result = run("sources", "test", "github", "--request", str(tmp_path / "request"), "--json")

    told = json.loads(result.stdout)
    assert told["ok"], told
    assert {"name": "event type", "ok": None, "said": "push"} in told["checks"]


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda body: body + b"\n", "It is right without the line break at the end"),
        (lambda body: body.replace(b"\n", b"\r\n"), ""),
        (
            lambda body: json.dumps(json.loads(body), indent=2).encode(),
            "It is right for the same JSON without white",
        ),
        (lambda body: body.replace(b"1", b"2"), ""),
    ],
)
def test_the_usual_reasons_for_a_wrong_signature_are_tried(
    captured: Callable[[bytes, str], list[str]], change: Callable[[bytes], bytes], hint: str
) -> None:
    body = b'{"a":1,"b":[]}'
    options = captured(change(body), lines(signed("github", body, datetime.now(UTC))))

    result = run("sources", "test", "github", *options)

    if change(body) == body:
        assert result.exit_code == 0
        return
    assert result.exit_code == 1
    assert hint in result.output
    assert ("It is right" in result.output) == bool(hint)
    assert "ingest would refuse it: signature" in result.output


def test_an_old_capture_is_right_for_the_time_of_its_signature(
    captured: Callable[[bytes, str], list[str]],
) -> None:
    body, then = b'{"type": "a"}', datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    options = captured(body + b"\n", lines(signed("svix", body, then)))

    late = run("sources", "test", "svix", *options)
    assert late.exit_code == 1
    assert f"--at {then:%Y-%m-%dT%H:%M:%SZ}. It is right without the line break" in late.output

    options = captured(body, json.dumps(signed("svix", body, then)))
    assert run("sources", "test", "svix", *options, "--at", f"{then:%Y-%m-%dT%H:%M:%SZ}").exit_code == 0


def test_the_webhook_that_dev_shows_is_what_the_app_ships_or_has_what_its_trigger_asks_for(
    tmp_path: Path,
) -> None:
    orders = AppFacts(tmp_path, "orders", ("order.id", "order.line"))
    (tmp_path / "orders.json").write_text('{"order": {"id": "A-7"},\n "amount": 42}\n')

    assert shipped_body(tmp_path, "orders") == '{"order": {"id": "A-7"}, "amount": 42}'
    assert shipped_body(tmp_path, "events") is None
    assert example_body(orders) == '{"order": {"id": "A1", "line": "A1"}}'
    assert example_body(AppFacts(tmp_path, "events")) == "{}"


def test_the_curl_that_dev_prints_is_signed_where_the_source_is_and_shows_no_secret() -> None:
    body = '{"order": "it\'s"}'

    plain = example_curl("http://api", "unknown", body, ENVIRONMENT)
    assert (
        plain == f"  curl http://api/webhooks/unknown -H 'Content-Type: application/json' -d {quoted(body)}"
    )
    github = example_curl("http://api", "github", body, ENVIRONMENT)
    assert "-H 'X-Hub-Signature-256: sha256=" in github
    dated = example_curl("http://api", "svix", body, ENVIRONMENT)
    assert "That signature is good for 5 minutes; a fresh one:\n\n  sagahook send svix" in dated
    assert "curl" not in example_curl("http://api", "partner", body, ENVIRONMENT)
    for name in SOURCES:
        assert SECRET not in example_curl("http://api", name, body, ENVIRONMENT)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def test_dev_says_what_is_wrong_with_the_sources_before_it_starts_anything() -> None:
    wrong = {"svix": {"scheme": "standard", "secrets": "env:SECRET"}}

    assert check_sources({}) == []
    told = check_sources({"SAGAHOOK_SOURCES": json.dumps(wrong), "SECRET": SECRET})

    assert told == [
        "SAGAHOOK_SOURCES: svix.secrets: secret 1 must begin with whsec_, or for ed25519 with whpk_ or whsk_"
    ]
    result = run("dev", "--env", f"SAGAHOOK_SOURCES={json.dumps(wrong)}")
    assert result.exit_code == 1
    assert "svix.secrets" in str(result.exception)
