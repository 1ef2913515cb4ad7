"""What of the pages no test runs here, each with why, and with what holds it instead. The tests print this list, and
fail where an entry fits nothing, and where a command neither runs nor is listed: it cannot grow or go stale unseen.

Options and names of a `sagahook` command are checked all the same.
"""

SERVICE = "runs until it is stopped: tests/integration/test_probes.py starts each service"
STACK = "runs until it is stopped: tests/e2e starts this stack"
DOCKER = "needs a Docker daemon: tests/unit/test_dockerfile.py and test_compose.py read what it is given"
CLUSTER = "needs a cluster: tests/unit/test_manifests.py renders and checks what it is given"
SIGNING = "needs a registry and a key to sign with"
BACKUP = "needs a database to lose: tests/integration/test_disaster_recovery.py goes this way"
WHOLE = "takes minutes, and is how this test itself is run"
KAFKA = "needs Kafka's own scripts and a cluster to repair: tests/integration/test_disaster_recovery.py goes this way"
SENDERS = (
    "needs a sender's captured request: tests/unit/test_send_command.py and test_source_configuration.py"
)
EXAMPLE = "tests/e2e/test_examples.py plays it"
FRAMEWORK = "tests/e2e/test_framework_examples.py runs such a server, and asks it"
DOWNSTREAM = "runs until it is stopped: tests/integration/test_downstream.py runs it over a log of its own"
INSTALLED = "changes the environment of the tests, which has it"
FORM = "a form, not a command"
TWICE = "the README's commands run it"

CODE: dict[str, dict[str, str]] = {
    "docs/reference/participants.md": {
        "while True:": "runs for ever: tests/integration/test_participants_end_to_end.py has such a participant",
    },
}
"""By page: a line of the block. Its syntax is checked all the same."""

CONSOLE_CONSUMER = (
    "sagahook kafka console-consumer --bootstrap-server localhost:9092 --topic sagahook.saga.events --from-beginning "
    "--isolation-level read_committed --formatter-property print.headers=true --formatter-property print.key=true"
)

COMMANDS: dict[str, dict[str, str]] = {
    "docs/integrations/flask.md": {
        "pip install 'sagahook[flask]'": INSTALLED,
        "gunicorn --workers 4 --worker-class gthread --threads 16 --preload shop:app": FRAMEWORK,
    },
    "docs/integrations/fastapi.md": {"uvicorn --workers 4 shop:app": FRAMEWORK},
    "docs/integrations/django.md": {
        "pip install 'sagahook[django]'": INSTALLED,
        "gunicorn --workers 4 --worker-class gthread --threads 16 --preload shop.wsgi": FRAMEWORK,
    },
    "examples/integrations/flask_app/README.md": dict.fromkeys(
        (
            "sagahook examples run integrations/flask_app",
            "SAGAHOOK_KAFKA=127.0.0.1:9092 SAGAHOOK_URL=http://127.0.0.1:8080 gunicorn --worker-class gthread "
            "--threads 8 sagahook_flask_app.app:app",
            "curl -X POST localhost:8000/orders -H 'Content-Type: application/json' -d "
            """'{"order_id": "B-1", "amount": 42}'""",
            "curl localhost:8000/orders/B-1/diagram",
        ),
        FRAMEWORK,
    ),
    "examples/integrations/fastapi_app/README.md": dict.fromkeys(
        (
            "sagahook examples run integrations/fastapi_app",
            "SAGAHOOK_KAFKA=127.0.0.1:9092 SAGAHOOK_URL=http://127.0.0.1:8080 uvicorn sagahook_fastapi_app.app:app",
            "curl -i -X POST localhost:8000/orders -H 'Content-Type: application/json' -d "
            """'{"order_id": "B-1", "amount": 42}'""",
            "curl 'localhost:8000/orders/B-1?wait=30'",
        ),
        FRAMEWORK,
    ),
    "examples/integrations/django_app/README.md": dict.fromkeys(
        (
            "sagahook examples run integrations/django_app",
            "SAGAHOOK_URL=http://127.0.0.1:8080 gunicorn --worker-class gthread --threads 8 "
            "sagahook_django_app.wsgi",
            "curl -X POST localhost:8000/orders -H 'Content-Type: application/json' -d "
            """'{"order_id": "B-1", "amount": 42}'""",
            "curl localhost:8000/orders/B-1",
        ),
        FRAMEWORK,
    ),
    "CONTRIBUTING.md": dict.fromkeys(
        ("make check", "make test", "make test-long", "make demo", "make bench", "make docs"), WHOLE
    ),
    "README.md": {
        "make demo": "tests/e2e/test_demo.py plays it",
        "make test": WHOLE,
        "sagahook examples run travel": EXAMPLE,
        'make dev ARGS="--app shop.py"': STACK,
        "sagahook sagas signal released --state EXECUTING --name order": (
            "the shop calls payments.example: tests/integration/test_runner_waits.py signals"
        ),
        "sagahook sources test github": SENDERS,
        "sagahook send github body.json --sign --event push": SENDERS,
        "sagahook listen --register": "the quickstart runs it",
        "sagahook topics apply --kafka kafka:9092 --partitions 12": (
            "the stack's topics have other partitions: tests/integration/test_topics.py applies them"
        ),
        "sagahook erase --source shop --subject 4711": "tests/integration/test_erasure.py erases",
        "sagahook tracker rebuild": "takes long: tests/integration/test_tracker_rebuild.py rebuilds",
        **dict.fromkeys(
            (
                "sagahook-ingest",
                "sagahook-runner",
                "sagahook-tracker project",
                "sagahook-tracker api",
                "sagahook-notifier run",
                "sagahook-notifier api",
            ),
            SERVICE,
        ),
    },
    "docs/examples.md": {"sagahook examples run approvals": EXAMPLE},
    "docs/first-app.md": {
        **dict.fromkeys(
            (
                "cd parcel-desk && make test && make check",
                "make shop",
                "make dev",
                "make send",
                "sagahook tail CORRELATION_ID",
            ),
            "a second set-up and stack: tests/unit/test_init_command.py runs a new app's tests, and reads its Makefile",
        ),
        **dict.fromkeys(
            (
                "make image IMAGE=registry.example.com/parcel-desk:1",
                "kubectl kustomize deploy/k8s/overlays/prod",
            ),
            "needs Docker and its image: tests/unit/test_init_command.py checks what both are given",
        ),
    },
    "docs/how-to/compensate.md": {
        "sagahook sagas resolve ID --step reserve --how retry": (
            "needs a failed compensation: tests/contract/test_operator_api.py decides about one"
        ),
    },
    "docs/how-to/erase-personal-data.md": {
        'sagahook erase --source shop --subject 4711 --reason "asked for it"': (
            "tests/integration/test_erasure.py erases"
        ),
    },
    "docs/how-to/mend-what-is-stuck.md": {"sagahook doctor": TWICE},
    "docs/how-to/run-on-kubernetes.md": {
        "make manifests": "writes into the clone: tests/unit/test_manifests.py renders and checks the same",
        "kubectl apply --server-side -k deploy/k8s/overlays/prod": CLUSTER,
    },
    "docs/how-to/wait-for-a-person.md": dict.fromkeys(
        (
            """sagahook sagas signal approved SAGA_ID --payload '{"by": "ada"}'""",
            'curl -X POST localhost:8080/api/v1/sagas/SAGA_ID:signal/approved -H "Authorization: Bearer $KEY"'
            """ -H 'Content-Type: application/json' -d '{"actor": "ada", "payload": {"by": "ada"}}'""",
        ),
        "needs a saga that waits: tests/contract/test_operator_api.py and test_runner_waits.py signal one",
    ),
    "docs/operating/backup.md": dict.fromkeys(
        (
            'pg_dump "$DATABASE_URL" --format=custom --schema=notifier --file=notifier.dump',
            'pg_restore --dbname="$DATABASE_URL" --exit-on-error --no-owner notifier.dump',
            "sagahook migrate",
            "sagahook-tracker project",
            "sagahook tracker verify",
        ),
        BACKUP,
    ),
    "docs/operating/disaster-recovery.md": dict.fromkeys(
        (
            "sagahook topics apply",
            "kafka-consumer-groups.sh --bootstrap-server … --group sagahook-runner --topic sagahook.saga.commands"
            " --reset-offsets --to-latest --execute",
            "kafka-consumer-groups.sh --bootstrap-server … --group sagahook-router --topic sagahook.webhooks.received"
            " --reset-offsets --to-datetime 2026-03-01T12:00:00.000 --execute",
        ),
        KAFKA,
    ),
    "docs/operating/images.md": dict.fromkeys(
        (
            "make images",
            "make images BUILDER=podman",
            "docker build -f deploy/docker/Dockerfile --target ingest -t registry.example/sagahook/ingest:0.1.0 .",
            "make compose-env",
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
    "docs/operating/runbooks.md": {"sagahook doctor": TWICE},
    "docs/operating/supply-chain.md": dict.fromkeys(
        (
            "docker buildx build -f deploy/docker/Dockerfile --target ingest --sbom=true --provenance=mode=max --push"
            " -t registry.example/sagahook/ingest:0.1.0 .",
            "make sbom && cosign attest --type cyclonedx --predicate dist/sbom.cdx.json"
            " registry.example/sagahook/ingest@sha256:…",
            "cosign sign registry.example/sagahook/ingest@sha256:…",
        ),
        SIGNING,
    ),
    "docs/operating/tracing.md": {
        "pip install 'sagahook[telemetry]'": "changes the environment of the tests, which has it",
    },
    "docs/reference/doctor.md": {
        "sagahook doctor": "shown on a deployment with faults: tests/integration/test_doctor.py makes each",
    },
    "docs/reference/endpoints.md": {
        "sagahook endpoints list | show | edit | rotate | enable | recover | remove": FORM,
        "sagahook deliveries show | resend | redrive": FORM,
        "sagahook listen --register": "the quickstart runs it",
        "sagahook endpoints test crm": "crm.example is nobody: tests/integration/test_notifier_command_line.py does",
    },
    "docs/reference/erasure.md": dict.fromkeys(
        (
            'sagahook erase --source shop --subject 4711 --reason "asked for it"',
            "sagahook erase --source crm",
        ),
        "tests/integration/test_erasure.py erases",
    ),
    "docs/reference/saga-language.md": {
        "sagahook check shop.py": "tests/unit/test_documents.py checks each example, and what is printed",
    },
    "docs/reference/sources.md": dict.fromkeys(
        (
            "sagahook sources test payments",
            "sagahook send orders order.json --sign",
            "sagahook sources test payments body.json --headers-file headers.txt",
            "sagahook send github push.json --sign --event push",
            """sagahook send orders '{"order_id": "A1"}' --times 100""",
        ),
        SENDERS,
    ),
    "docs/reference/status.md": {
        """curl -N "$API/api/v1/stream?task_type=order" -H "Authorization: Bearer $KEY\"""": (
            "goes on for ever: tests/contract/test_history_api.py reads the stream"
        ),
    },
    "examples/approvals/README.md": {
        "sagahook examples run approvals": EXAMPLE,
        """sagahook sagas signal decided SAGA_ID --payload '{"approved": true, "by": "grace"}'"""
        " --signal-id decision-E-1": "decided already: tests/e2e/test_examples.py decides like that",
    },
    "docs/consuming.md": {
        CONSOLE_CONSUMER: DOWNSTREAM,
        **dict.fromkeys(
            (
                "kafka-acls.sh --bootstrap-server … --add --allow-principal User:analytics --operation Read --topic "
                "sagahook.saga.events",
                "kafka-acls.sh --bootstrap-server … --add --allow-principal User:analytics --operation Read --group "
                "analytics --resource-pattern-type prefixed",
            ),
            "needs Kafka's own scripts: tests/integration/test_kafka_rights.py gives the same rights",
        ),
    },
    "examples/consuming/README.md": {
        "make dev": STACK,
        """sagahook send order_created '{"order_id": "A1", "user_id": "u1", "amount": 42, "items": ["pen"]}'""": TWICE,
        **dict.fromkeys(
            (
                "KAFKA=localhost:9092 python -m sagahook_consuming.troubles",
                "KAFKA=localhost:9092 python -m sagahook_consuming.troubles | jq .",
                "KAFKA=localhost:9092 python -m sagahook_consuming.outcomes",
                "sqlite3 outcomes.db 'SELECT outcome, count(*) FROM outcomes GROUP BY 1'",
                "KAFKA=localhost:9092 PARTITIONS=1 python -m sagahook_consuming.success_rates worker --web-port 6066",
                "curl localhost:6066/rates/",
                CONSOLE_CONSUMER,
            ),
            DOWNSTREAM,
        ),
    },
    "examples/document_ingestion/README.md": dict.fromkeys(
        (
            "sagahook examples run document_ingestion",
            "curl -X POST http://127.0.0.1:8094/api/v1/ingest/file -H 'Authorization: Bearer KEY' -F"
            " source_type=markdown -F file=@README.md -F webhook_url=http://127.0.0.1:8091/hooks",
            "SAGAHOOK_INTERNAL_TOKEN=t SAGAHOOK_INTERNAL_HOSTS=127.0.0.1 sagahook dev --app"
            " sagahook_document_ingestion.app",
            "python -m sagahook_document_ingestion.library --port 8095",
            "SAGAHOOK_ADMIN_KEY=admin-… DOCUMENTS_KEY=k SAGAHOOK_INTERNAL_TOKEN=t"
            " WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw python -m"
            " sagahook_document_ingestion.gateway --port 8094",
            "RECEIVER_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw python -m"
            " sagahook_orders.receiver --port 8091",
        ),
        EXAMPLE,
    ),
    "examples/github_orchestrator/README.md": {
        "sagahook examples run github_orchestrator": EXAMPLE,
        "sagahook dev --app sagahook_github_orchestrator.app --env GITHUB_WEBHOOK_SECRET=… --env GITHUB_TOKEN=…"
        " --env CODEGEN_TOKEN=… --env CODEGEN_ORG_ID=…": STACK,
    },
    "examples/travel/README.md": {"sagahook examples run travel": EXAMPLE},
    "examples/wiki_generation/README.md": {"sagahook examples run wiki_generation": EXAMPLE},
}
"""By page: the command, on one line and without its comment."""
