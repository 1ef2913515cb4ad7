"""The five dashboards. Each panel asks one question of an operator's; what it means is said where it is not plain."""

from __future__ import annotations

from deploy.monitoring.boards.kafka import KAFKA_LAG
from deploy.monitoring.boards.overview import OVERVIEW
from deploy.monitoring.boards.sagas import SAGAS
from deploy.monitoring.boards.webhooks import WEBHOOKS_IN, WEBHOOKS_OUT

DASHBOARDS = (OVERVIEW, SAGAS, WEBHOOKS_IN, WEBHOOKS_OUT, KAFKA_LAG)
