"""ingest: takes webhooks and answers 202 once Kafka holds them durably."""
