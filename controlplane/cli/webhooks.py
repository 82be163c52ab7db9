"""turnfleet webhook."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import typer
from msgspec import UNSET

from controlplane.cli.choices import chosen, completing
from controlplane.cli.command import Limit, Yes, command, group
from controlplane.cli.exit_codes import FAILED
from controlplane.cli.session import Session, note
from controlplane.client.webhooks import Webhooks
from controlplane.wire.webhooks_api import EventType

webhook = group("Webhooks: where your application is told what happened.")

_WEBHOOKS = "id!0 url:1 name:3 events:4 is_active=active:1 failures>3 created_at!4"
_DELIVERIES = "created_at!1 id!0 type:1 state:1 attempts>2 last_status=status>2 last_error:3 next_attempt_at!4"
_ONCE = "This secret is shown only now."
Id = Annotated[str, typer.Argument(metavar="ID")]
_EVENTS: tuple[EventType, ...] = get_args(EventType)
Events = Annotated[
    list[str],
    typer.Option(
        "--event", autocompletion=completing(_EVENTS), help=f"What it is told: {', '.join(_EVENTS)}. Can be given several times."
    ),
]


@command(webhook, "list")
def list_webhooks(run: Session, *, limit: Limit = 100) -> None:
    """The project's webhooks."""
    run.many(Webhooks.list(), _WEBHOOKS, limit=limit)


@command(webhook, "show")
def show(run: Session, webhook_id: Id) -> None:
    """One webhook, never its secret."""
    run.one(Webhooks.show(webhook_id))


@command(webhook, "create")
def create(
    run: Session,
    url: Annotated[str, typer.Argument(metavar="URL")],
    *,
    event: Events,
    name: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Make a webhook. The secret that signs its deliveries is shown once."""
    run.one(Webhooks.create(url, chosen(event, _EVENTS), name=name), order=("id", "secret"))
    note(_ONCE)


@command(webhook, "patch")
def patch(
    run: Session,
    webhook_id: Id,
    *,
    url: Annotated[str | None, typer.Option(help="Another target.")] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", autocompletion=completing(_EVENTS), help="All that it is told from now on. Can be given several times."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether anything is delivered.")] = None,
) -> None:
    """Change a webhook. What is not given stays."""
    call = Webhooks.update(
        webhook_id,
        url=UNSET if url is None else url,
        events=chosen(event, _EVENTS) if event else UNSET,
        name=UNSET if name is None else name,
        is_active=UNSET if active is None else active,
    )
    run.one(call)


@command(webhook, "delete")
def delete(run: Session, webhook_id: Id, *, yes: Yes = False) -> None:
    """Delete a webhook: nothing more is delivered to it."""
    run.confirm(f"Delete the webhook {webhook_id}?", yes=yes)
    run.done(Webhooks.delete(webhook_id), f"The webhook {webhook_id} is deleted.")


@command(webhook, "rotate-secret")
def rotate_secret(run: Session, webhook_id: Id) -> None:
    """Make a new secret. It is shown once; for a while deliveries are signed with both."""
    run.one(Webhooks.rotate_secret(webhook_id))
    note(_ONCE)


@command(webhook, "test")
def test(run: Session, webhook_id: Id) -> None:
    """Deliver a test event now. Ends with status 1 when the target did not take it."""
    if not run.one(Webhooks.test(webhook_id)).delivered:
        raise typer.Exit(FAILED)


@command(webhook, "deliveries")
def deliveries(
    run: Session,
    webhook_id: Id,
    *,
    state: Annotated[Literal["pending", "delivered", "given_up"] | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 100,
) -> None:
    """What was, is and will be delivered, the newest first."""
    run.many(Webhooks.deliveries(webhook_id, state=state), _DELIVERIES, limit=limit)
