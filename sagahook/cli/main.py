"""The `sagahook` command. Each sub-command has a file of its own, and imports what it needs when it runs."""

import sys

import typer

from sagahook.cli import (
    check,
    deliveries,
    demo,
    dev,
    diagram,
    dlq,
    doctor,
    endpoints,
    erasing,
    examples,
    history,
    init,
    kafka_programs,
    keys,
    listen,
    migrate,
    pausing,
    repartition,
    replay_test,
    sagas,
    schemas,
    send,
    sources,
    tail,
    topics,
    tracker,
)

app = typer.Typer(
    name="sagahook",
    help="Webhooks in, sagas through, webhooks out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(check.check)
app.command("demo")(demo.demo)
app.command("diagram")(diagram.diagram)
app.command("doctor")(doctor.doctor)
app.add_typer(pausing.definitions, name="definitions")
app.command("erase")(erasing.erase)
app.command("rewrap-keys")(erasing.rewrap)
app.command("history")(history.history)
app.command("kafka", context_settings={"allow_interspersed_args": False})(kafka_programs.kafka)
app.command("init")(init.init)
app.command("listen")(listen.listen)
app.command("manifests")(init.manifests)
app.command("migrate")(migrate.migrate)
app.command("replay-test")(replay_test.replay_test)
app.command("send")(send.send)
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(dev.app, name="dev")
app.add_typer(dlq.app, name="dlq")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(examples.app, name="examples")
app.add_typer(keys.app, name="keys")
app.command("tail")(tail.tail)
app.add_typer(sagas.app, name="sagas")
app.add_typer(schemas.app, name="schemas")
app.add_typer(sources.app, name="sources")
topics.app.command("repartition")(repartition.repartition)
topics.app.command("retire")(repartition.retire)
app.add_typer(topics.app, name="topics")
app.add_typer(tracker.app, name="tracker")


def main() -> None:
    """The console script. An error that a person can act on is one message and exit code 1."""
    from sagahook.embedded.errors import StackError
    from sagahook.runtime.settings_errors import WrongSettings

    try:
        app()
    except (StackError, WrongSettings) as error:
        sys.stderr.write(f"sagahook: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
