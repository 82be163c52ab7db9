"""What `turnfleet` runs beside the database: the two kinds of process, and what is done once or at an upgrade."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from controlplane.api.app import make_document
from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.master_keys import MasterKeys
from controlplane.geoip import GeoipFileError
from controlplane.main.run_jobs import run_jobs
from controlplane.main.serve_api import serve_api
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.master_keys import use_key_regardless
from controlplane.settings import Settings, SettingsError, read_settings
from controlplane.sim.commands import sim
from controlplane.telemetry.logs import set_up_logs
from controlplane.wire.fleet_api import is_slug

cli = typer.Typer(name="turnfleet", no_args_is_help=True, add_completion=False, help="A control plane for fleets of coturn relays.")
admin = typer.Typer(no_args_is_help=True, help="What has to be done beside the database: once, or at an upgrade.")
cli.add_typer(admin, name="admin")
cli.add_typer(sim, name="sim")


def _settings(*, master_key: bool = False) -> Settings:
    """Settings, or a sentence on stderr and exit status 2."""
    try:
        settings = read_settings(os.environ)
        if master_key and not settings.master_key:
            raise SettingsError(
                "TURNFLEET_MASTER_KEY (or TURNFLEET_MASTER_KEY_FILE) is not set: the key that node secrets come from."
            )
    except SettingsError as error:
        typer.echo(f"turnfleet: {error}", err=True)
        raise typer.Exit(2) from None
    set_up_logs(settings.log_level)
    return settings


@cli.command()
def serve() -> None:
    """Run the API: one process per core, each with its own journal."""
    settings = _settings(master_key=True)
    try:
        uvloop.run(serve_api(settings))
    except GeoipFileError as error:
        typer.echo(f"turnfleet: {error}", err=True)
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        if not settings.tracing or not (error.name or "").startswith("opentelemetry"):
            raise
        typer.echo("turnfleet: TURNFLEET_TRACING needs its extra: pip install 'turnfleet[server,otel]'", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"turnfleet: {error}", err=True)
        raise typer.Exit(1) from None


@cli.command()
def jobs() -> None:
    """Run the scheduled jobs. Start as many as you like: one of them leads."""
    uvloop.run(run_jobs(_settings()))


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI 3.1 document, as GET /openapi.json serves it."""
    typer.echo(json.dumps(make_document(), indent=1, ensure_ascii=False))


@admin.command(name="migrate")
def admin_migrate() -> None:
    """Bring the database's schema up to date."""
    from controlplane.postgres_store.migrate import migrate  # alembic is slow to load, and only needed here

    migrate(_settings().database_url)
    typer.echo("The schema is up to date.")


@admin.command(name="use-master-key")
def admin_use_master_key() -> None:
    """Use TURNFLEET_MASTER_KEY at once, whatever the running processes have: only for when the key before is lost."""
    settings = _settings(master_key=True)
    key_id = MasterKeys(settings.master_key).current

    async def run() -> bool:
        database = Database(settings.database_url, statement_seconds=10.0)
        try:
            return await use_key_regardless(database, key_id)
        finally:
            await database.close()

    try:
        changed = asyncio.run(run())
    except DatabaseUnavailableError as error:
        typer.echo(f"turnfleet: {error}. Is it running, and was `turnfleet admin migrate` run?", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"The master key {key_id} is used from now on." if changed else f"The master key {key_id} is in use already.")


@admin.command(name="bootstrap")
def admin_bootstrap(
    organization: Annotated[str, typer.Option(help="Slug of the organization; made if missing.")] = "default",
    project: Annotated[str, typer.Option(help="Slug of its project; made if missing, as the default project.")] = "default",
    output: Annotated[Path | None, typer.Option(help="Write the tokens to this file (mode 0600) instead of printing them.")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing when the output file is there already.")] = False,
) -> None:
    """Make the first organization, project and tokens. The tokens are shown once."""
    settings = _settings()
    if if_missing and output is not None and output.exists():
        typer.echo(f"{output} is there already: nothing was made.")
        return

    for slug in (organization, project):
        if not is_slug(slug):
            typer.echo(f"turnfleet: {slug!r} is no slug: 1 to 63 lower-case letters, digits and '-'.", err=True)
            raise typer.Exit(2)
    # Opened first: tokens that cannot be written down would be lost.
    descriptor = None if output is None else os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    async def run() -> str:
        database = Database(settings.database_url, statement_seconds=10.0)
        try:
            made = await bootstrap(database, organization=organization, project=project)
        finally:
            await database.close()
        return json.dumps(
            {
                "organization_token": made.organization_token.reveal(),
                "project_token": made.project_token.reveal(),
                "operator_token": made.operator_token.reveal(),
            },
            indent=2,
        )

    try:
        tokens = asyncio.run(run())
    except DatabaseUnavailableError as error:
        typer.echo(f"turnfleet: {error}. Is it running, and was `turnfleet admin migrate` run?", err=True)
        raise typer.Exit(1) from None
    if descriptor is None:
        typer.echo(tokens)
        return
    os.fchmod(descriptor, 0o600)  # the file may have been there before, for all to read
    with os.fdopen(descriptor, "w") as file:
        file.write(tokens + "\n")
    typer.echo(f"The tokens are in {output}.")
