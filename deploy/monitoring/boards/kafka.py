"""Who is behind in which topic."""

from __future__ import annotations

from deploy.monitoring.panels import Dashboard, Panel, Query, Row, Variable

GROUPS = '{group=~"$group"}'

KAFKA_LAG = Dashboard(
    "kafka-lag",
    "Kafka lag",
    "Who is behind, where, and does it grow? Each reader tells of its own partitions: of one that nobody reads there "
    "is nothing here, but an alert.",
    (
        Row(
            "Readers",
            (
                Panel(
                    "Behind, by group and topic",
                    (
                        Query(
                            f"sum by (group, topic) (sagahook_kafka_lag_records{GROUPS})",
                            "{{group}} {{topic}}",
                        ),
                    ),
                    width=12,
                    alarming=100,
                ),
                Panel(
                    "It grows by, a second",
                    (
                        Query(
                            f"sum by (group, topic) (deriv(sagahook_kafka_lag_records{GROUPS}[5m])) > 0",
                            "{{group}} {{topic}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Behind, by partition",
                    (
                        Query(
                            f"max by (group, topic, partition) (sagahook_kafka_lag_records{GROUPS}) > 0",
                            "{{group}} {{topic}} {{partition}}",
                        ),
                    ),
                    says="One partition alone: a large key, or an owner that stands still.",
                    width=12,
                ),
                Panel(
                    "Replicas that read",
                    (
                        Query(
                            f"count by (group) (count by (group, instance) (sagahook_kafka_lag_records{GROUPS}))",
                            "{{group}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "What hangs on it",
            (
                Panel(
                    "Views behind the log",
                    (Query("max(sagahook_projection_lag_records)", "records"),),
                    alarming=1000,
                ),
                Panel(
                    "Partitions of sagas without an owner",
                    (Query("max(sagahook_partitions) - sum(sagahook_partitions_owned)", "partitions"),),
                    alarming=1,
                ),
                Panel("By topic (the older name)", (Query("sum by (topic) (queue_size)", "{{topic}}"),)),
                Panel("Dead letters", (Query("max by (topic) (sagahook_dead_letters) > 0", "{{topic}}"),)),
            ),
        ),
    ),
    (Variable("group", "sagahook_kafka_lag_records"),),
)
