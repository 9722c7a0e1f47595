"""Runs the migrations on a connection given by `dispatcher.db.migrate`; their table lives in our schema."""

from alembic import context

from dispatcher.db.models import Base
from dispatcher.db.schema import SCHEMA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table="migrations",
    version_table_schema=SCHEMA,
    include_schemas=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
