"""Schema migrations (alembic, plain SQL)."""
