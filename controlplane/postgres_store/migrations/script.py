"""Runs a revision's SQL text statement by statement."""

from __future__ import annotations

from alembic import op


def run_script(text: str) -> None:
    """asyncpg runs one statement per call, and a function's body holds semicolons: split at those that end a line outside of $$."""
    statement = ""
    in_body = False
    for line in text.splitlines():
        statement += line + "\n"
        if line.count("$$") % 2:
            in_body = not in_body
        if line.endswith(";") and not in_body:
            op.get_bind().exec_driver_sql(statement)
            statement = ""
    if statement.strip():
        op.get_bind().exec_driver_sql(statement)
