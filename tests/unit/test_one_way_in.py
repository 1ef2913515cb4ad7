"""Every client of Kafka is made with the options from one place, and every connection to PostgreSQL by one address."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
STRANGERS = ROOT / "examples/consuming"
"""Programs of other teams, which have nothing of ours."""
CLIENTS = {"AIOKafkaProducer", "AIOKafkaConsumer", "AIOKafkaClient", "AIOKafkaAdminClient"}


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for folder in ("sagahook", "services", "examples"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.is_relative_to(STRANGERS):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    yield file, node, called(node.func)


def called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def takes_the_options(call: ast.Call) -> bool:
    given = {keyword.arg for keyword in call.keywords}
    spread = [keyword.value for keyword in call.keywords if keyword.arg is None]
    return "bootstrap_servers" not in given and any(
        isinstance(each, ast.Call) and called(each.func) == "client_options" for each in spread
    )


def test_every_client_of_kafka_connects_as_the_settings_say() -> None:
    made = [(file, call) for file, call, name in calls() if name in CLIENTS]
    assert len(made) > 20
    others = [f"{file.relative_to(ROOT)}:{call.lineno}" for file, call in made if not takes_the_options(call)]
    assert others == []


def test_nothing_connects_to_postgresql_by_the_url_alone() -> None:
    others = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file, call, name in calls()
        if name == "get_secret_value" and "database_url" in ast.unparse(call)
    ]
    assert others == []
