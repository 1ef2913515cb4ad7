"""Webhooks in, sagas through, webhooks out: an event-sourced system on Apache Kafka."""

from importlib.metadata import version

__version__ = version("sagahook")
