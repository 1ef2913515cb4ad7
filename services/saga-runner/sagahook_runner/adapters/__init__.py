"""The runner's edges: the Kafka log and the execution of actions."""
