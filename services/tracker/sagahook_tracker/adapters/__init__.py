"""The views in PostgreSQL, and the end of the log in Kafka."""
