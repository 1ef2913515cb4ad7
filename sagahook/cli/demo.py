"""`sagahook demo`: the whole way in four scenes, told in a terminal."""


def demo() -> None:
    """Play the whole way in four scenes, on real Kafka and PostgreSQL. Exit code 0 only if all were seen."""
    from sagahook.cli.examples_catalogue import entry
    from sagahook.cli.playing import play_example

    heading = "[bold]sagahook[/]: webhooks in, sagas through, webhooks out"
    play_example(entry("orders").load(), name="demo", heading=heading)
