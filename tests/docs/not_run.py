"""What of the pages is not run as it stands there: what cannot run here, each with why and with what holds it instead,
and what is run by another test, which is named. The tests print the first list, and fail where an entry of either fits
nothing, and where a command neither runs nor is listed: it cannot grow or go stale unseen.

Options and names of a `sagahook` command are checked all the same.
"""

from sagahook.cli.examples_catalogue import CATALOGUE
from tests.docs.blocks import Block
from tests.docs.written import named

DOCKER = "needs a Docker daemon: tests/unit/test_dockerfile.py and test_compose.py read what it is given"
CLUSTER = "needs a cluster: tests/unit/test_manifests.py renders and checks what it is given"
SIGNING = "needs a registry and a key to sign with"
WHOLE = "runs these tests, or all measurements"
INSTALLED = "changes the environment of the tests, which has it"

CODE: dict[str, dict[str, str]] = {
    "docs/reference/participants.md": {
        "while True:": "runs for ever: tests/integration/test_participants_end_to_end.py has such a participant",
    },
}
"""By page: a line of the block. Its syntax is checked all the same."""

COMMANDS: dict[str, dict[str, str]] = {
    "CONTRIBUTING.md": dict.fromkeys(("make check", "make test", "make test-long", "make bench"), WHOLE),
    "README.md": {"make test": WHOLE},
    "docs/first-app.md": {"make image IMAGE=registry.example.com/parcel-desk:1": DOCKER},
    "docs/how-to/run-on-kubernetes.md": {"kubectl apply --server-side -k deploy/k8s/overlays/prod": CLUSTER},
    "docs/integrations/django.md": {"pip install 'sagahook[django]'": INSTALLED},
    "docs/integrations/flask.md": {"pip install 'sagahook[flask]'": INSTALLED},
    "docs/operating/images.md": dict.fromkeys(
        (
            "make images",
            "make images BUILDER=podman",
            "docker build -f deploy/docker/Dockerfile --target ingest -t registry.example/sagahook/ingest:0.1.0 .",
            "docker compose up --build --wait",
            "docker compose run --rm cli doctor",
            "docker compose up --scale sagahook-runner=2 --scale sagahook-ingest=2 --wait",
        ),
        DOCKER,
    ),
    "docs/operating/kubernetes.md": dict.fromkeys(
        (
            "make images && kind load docker-image sagahook/{ingest,saga-runner,tracker,notifier,cli}:0.1.0",
            "kubectl apply --server-side -k deploy/k8s/overlays/dev",
            "kubectl -n sagahook wait --for=condition=Available deployment --all --timeout=15m",
        ),
        CLUSTER,
    ),
    "docs/operating/supply-chain.md": dict.fromkeys(
        (
            "docker buildx build -f deploy/docker/Dockerfile --target ingest --sbom=true --provenance=mode=max --push"
            " -t registry.example/sagahook/ingest:0.1.0 .",
            "cosign attest --type cyclonedx --predicate dist/sbom.cdx.json registry.example/sagahook/ingest@sha256:…",
            "cosign sign registry.example/sagahook/ingest@sha256:…",
        ),
        SIGNING,
    ),
    "docs/operating/tracing.md": {"pip install 'sagahook[telemetry]'": INSTALLED},
}
"""By page: the command, on one line and without its comment."""

ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        (
            "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal User:analytics --operation Read"
            " --topic sagahook.saga.events",
            "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal User:analytics --operation Read"
            " --group analytics --resource-pattern-type prefixed",
        ),
        "tests/integration/test_kafka_rights.py"
        "::test_the_commands_of_the_page_about_consuming_give_a_reader_its_rights",
    ),
    **dict.fromkeys(
        (
            "sagahook topics repartition --partitions 48 --dry-run",
            "sagahook topics repartition --partitions 48",
        ),
        "tests/integration/test_repartition.py::test_everything_goes_on_in_topics_with_more_partitions",
    ),
    **dict.fromkeys(
        ("sagahook topics retire --prefix sagahook", "sagahook topics retire --prefix sagahook --yes"),
        "tests/integration/test_repartition.py"
        "::test_what_was_killed_is_not_used_by_anybody_and_is_begun_anew",
    ),
    "make demo": "tests/e2e/test_demo.py::test_all_four_scenes_are_seen_and_nothing_is_left_behind",
    "make docs": "tests/docs/test_site.py::test_the_site_loads_nothing_from_another_host",
    **{
        f"sagahook examples run {example.name}": (
            "tests/e2e/test_examples.py::test_an_example_runs_by_its_one_command"
        )
        for example in CATALOGUE
    },
}
"""On any page: the test that runs the command, or what the command is short for."""


def why_not(block: Block, command: str) -> str | None:
    """Why it is not run there; None: it is."""
    return COMMANDS.get(block.page, {}).get(named(command)) or ELSEWHERE.get(named(command))
