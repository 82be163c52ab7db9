"""Bringing the schema up to date."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from alembic import command
from alembic.config import Config


def migrate(database_url: str) -> None:
    """Run every missing revision. Blocking. Raises the driver's or SQLAlchemy's errors: an operator reads them."""
    parts = urlsplit(database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = urlunsplit(parts._replace(scheme="postgresql+asyncpg"))
    command.upgrade(config, "head")
