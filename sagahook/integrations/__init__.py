"""sagahook in a web framework's own process: FastAPI, Flask, Django.

Each adapter takes one of two forms. In the form `publish` the application is an ingest: a webhook is durable in Kafka
before its 202, by the very code that ingest runs. In the form `client` it hands webhooks on to an ingest that runs
elsewhere. In both it answers for their status, and its own code sends events and waits for what became of them.

    from sagahook.integrations import client, publish
    from sagahook.integrations.flask import SagaFlask

    SagaFlask(app)                                        # publish, as SAGAHOOK_KAFKA and the like say
    SagaFlask(app, publish(kafka="kafka:9092", url="http://sagahook:8080"))
    SagaFlask(app, client("http://sagahook:8080"))
"""

from sagahook.integrations.correlation import (
    CorrelationFilter,
    correlation_headers,
    current_correlation_id,
)
from sagahook.integrations.forms import Form, client, publish

__all__ = [
    "CorrelationFilter",
    "Form",
    "client",
    "correlation_headers",
    "current_correlation_id",
    "publish",
]
