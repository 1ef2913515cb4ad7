"""Kafka: publishing in groups, and the views that each replica follows."""
