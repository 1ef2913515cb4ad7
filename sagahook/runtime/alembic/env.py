"""Alembic's entry for every service; sagahook.runtime.migrations gives it the connection."""

from alembic import context

config = context.config
context.configure(
    connection=config.attributes["connection"],
    version_table="schema_version",
    version_table_schema=config.attributes["schema"],
)
with context.begin_transaction():
    context.run_migrations()
