"""`sagahook kafka`: Kafka's own programs, from the jars of the embedded broker. One is run in test_downstream.py."""

from zipfile import ZipFile

from typer.testing import CliRunner

from sagahook.cli.kafka_programs import PROGRAMS
from sagahook.cli.main import app
from sagahook.embedded.kafka_prepare import prepare_kafka


async def test_each_program_is_in_the_jars_that_are_pinned() -> None:
    runtime = await prepare_kafka()
    classes = {name for jar in runtime.jars for name in ZipFile(jar).namelist()}

    assert {f"{main.replace('.', '/')}.class" for main in PROGRAMS.values()} <= classes


def test_a_program_that_is_not_there_is_answered_with_those_that_are() -> None:
    refused = CliRunner().invoke(app, ["kafka", "streams-reset", "--help"])

    assert refused.exit_code == 1
    assert "there is no streams-reset; there are acls, configs, console-consumer" in refused.stderr
