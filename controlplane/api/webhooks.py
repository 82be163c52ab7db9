"""Webhooks of a project: make, list, change, test, and what became of the deliveries."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath
from msgspec import UNSET

from controlplane.api.access import actor_of, answer, project_of, read_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.problems import ProblemError
from controlplane.api.record_ranges import cursor_at_id
from controlplane.flows.manage_webhooks import TooManyTestsError, TooManyWebhooksError, WebhookUnknownError
from controlplane.flows.webhook_secrets import SecretSealedError
from controlplane.flows.webhook_target import TargetRefusedError
from controlplane.postgres_store.webhooks import Delivery, Webhook, deliveries_of_webhook, webhooks_of_project
from controlplane.wire.problem import FieldError
from controlplane.wire.webhooks_api import (
    DeliveryList,
    DeliveryQuery,
    DeliveryView,
    TestOutcome,
    WebhookBody,
    WebhookList,
    WebhookPatch,
    WebhookQuery,
    WebhookSecret,
    WebhookView,
    WebhookWithSecret,
)

_SCOPE = "webhooks:manage"
_TAG = "webhooks"


def _opt(operation_id: str, summary: str, **more: Any) -> dict[str, Any]:
    return described(operation_id, tag=_TAG, summary=summary, scope=_SCOPE, in_project=True, **more)


@post(
    "/api/v1/webhooks",
    guards=[require_scope],
    opt=_opt(
        "create_webhook",
        "Make a webhook",
        body=WebhookBody,
        answer=WebhookWithSecret,
        status=201,
        problems=("body_malformed", "fields_invalid", "conflict"),
    ),
)
async def create_webhook(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The secret is shown here only."""
    project = project_of(request)
    body = await read_json(request, WebhookBody)
    try:
        webhook, secret = await services_of(request).webhooks.create(
            project, actor_of(request), url=body.url, name=body.name, events=body.events
        )
    except TargetRefusedError as error:
        raise _url_refused(error) from None
    except TooManyWebhooksError as error:
        raise ProblemError("conflict", str(error)) from None
    return answer(WebhookWithSecret(**_fields(webhook), secret=secret.reveal()), status=201)


@get(
    "/api/v1/webhooks",
    guards=[require_scope],
    opt=_opt("list_webhooks", "List the webhooks", query=WebhookQuery, answer=WebhookList, problems=("fields_invalid",)),
)
async def list_webhooks(request: Request[Any, Any, Any]) -> Response[bytes]:
    project = project_of(request)
    query = read_query(request, WebhookQuery)
    found = await webhooks_of_project(
        services_of(request).database, project.project_id, after=decode_cursor(query.cursor, UUID), most=query.limit + 1
    )
    page, cursor = page_of(found, limit=query.limit, key=lambda webhook: webhook.webhook_id)
    return answer(WebhookList(items=[_view(webhook) for webhook in page], next_cursor=cursor))


@get(
    "/api/v1/webhooks/{webhook_id:str}",
    guards=[require_scope],
    opt=_opt("show_webhook", "Show a webhook", answer=WebhookView, problems=("not_found",)),
)
async def show_webhook(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> Response[bytes]:
    return answer(_view(await _find(request, webhook_id)))


@patch(
    "/api/v1/webhooks/{webhook_id:str}",
    guards=[require_scope],
    opt=_opt(
        "patch_webhook",
        "Change a webhook, switch it off or on",
        body=WebhookPatch,
        answer=WebhookView,
        problems=("not_found", "body_malformed", "fields_invalid"),
    ),
)
async def patch_webhook(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> Response[bytes]:
    """What is left out stays. A new address is checked like the first one."""
    project = project_of(request)
    body = await read_json(request, WebhookPatch)
    try:
        changed = await services_of(request).webhooks.change(
            project,
            actor_of(request),
            _id_from(webhook_id),
            url=_given(body.url),
            name=_given(body.name),
            events=_given(body.events),
            is_active=_given(body.is_active),
        )
    except TargetRefusedError as error:
        raise _url_refused(error) from None
    except WebhookUnknownError as error:
        raise ProblemError("not_found", str(error)) from None
    return answer(_view(changed))


@delete(
    "/api/v1/webhooks/{webhook_id:str}",
    guards=[require_scope],
    status_code=204,
    opt=_opt("delete_webhook", "Remove a webhook with the log of its deliveries", status=204, problems=("not_found",)),
)
async def delete_webhook(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> None:
    try:
        await services_of(request).webhooks.remove(project_of(request), actor_of(request), _id_from(webhook_id))
    except WebhookUnknownError as error:
        raise ProblemError("not_found", str(error)) from None


@post(
    "/api/v1/webhooks/{webhook_id:str}/rotate-secret",
    guards=[require_scope],
    opt=_opt("rotate_webhook_secret", "Give a webhook a new secret", answer=WebhookSecret, problems=("not_found",)),
)
async def rotate_webhook_secret(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> Response[bytes]:
    """The new secret is shown here only. The old one signs as well for 24 hours."""
    try:
        secret, until = await services_of(request).webhooks.rotate_secret(
            project_of(request), actor_of(request), _id_from(webhook_id)
        )
    except WebhookUnknownError as error:
        raise ProblemError("not_found", str(error)) from None
    return answer(WebhookSecret(secret=secret.reveal(), old_secret_until=until))


@post(
    "/api/v1/webhooks/{webhook_id:str}/test",
    guards=[require_scope],
    opt=_opt("test_webhook", "Send an event of type test now", answer=TestOutcome, problems=("not_found", "conflict")),
)
async def test_webhook(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> Response[bytes]:
    """Answers within ten seconds with what came of it."""
    try:
        attempt = await services_of(request).webhooks.test(project_of(request), _id_from(webhook_id))
    except WebhookUnknownError as error:
        raise ProblemError("not_found", str(error)) from None
    except SecretSealedError as error:
        raise ProblemError("conflict", str(error)) from None
    except TooManyTestsError as error:
        raise ProblemError("rate_limited", str(error)) from None
    return answer(
        TestOutcome(
            delivered=attempt.failure is None,
            status=attempt.status,
            milliseconds=attempt.milliseconds,
            failure=attempt.failure,
        )
    )


@get(
    "/api/v1/webhooks/{webhook_id:str}/deliveries",
    guards=[require_scope],
    opt=_opt(
        "list_deliveries",
        "List what became of the events, the newest first",
        query=DeliveryQuery,
        answer=DeliveryList,
        problems=("not_found", "fields_invalid"),
    ),
)
async def list_deliveries(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> Response[bytes]:
    webhook = await _find(request, webhook_id)
    query = read_query(request, DeliveryQuery)
    found = await deliveries_of_webhook(
        services_of(request).database,
        webhook.webhook_id,
        state=query.state,
        before=cursor_at_id(query.cursor),
        most=query.limit + 1,
    )
    page, cursor = page_of(found, limit=query.limit, key=lambda each: (each.created_at, each.delivery_id))
    return answer(DeliveryList(items=[_delivery(each) for each in page], next_cursor=cursor))


async def _find(request: Request[Any, Any, Any], webhook_id: str) -> Webhook:
    try:
        return await services_of(request).webhooks.find(project_of(request), _id_from(webhook_id))
    except WebhookUnknownError as error:
        raise ProblemError("not_found", str(error)) from None


def _id_from(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ProblemError("not_found", "There is no such webhook.") from None


def _given(value: Any) -> Any:
    return None if value is UNSET else value


def _url_refused(error: TargetRefusedError) -> ProblemError:
    return ProblemError("fields_invalid", f"url: {error}", errors=[FieldError(field="url", message=str(error))])


def _fields(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": str(webhook.webhook_id),
        "url": webhook.url,
        "name": webhook.name,
        "events": list(webhook.events),
        "is_active": webhook.inactive_because is None,
        "inactive_because": webhook.inactive_because,
        "failures": webhook.failures,
        "failing_since": webhook.failing_since,
        "created_at": webhook.created_at,
    }


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(**_fields(webhook))


def _delivery(each: Delivery) -> DeliveryView:
    return DeliveryView(
        id=str(each.delivery_id),
        event_id=str(each.event_id),
        type=each.type,
        state=each.state,
        attempts=each.attempts,
        created_at=each.created_at,
        last_attempt_at=each.last_attempt_at,
        last_status=each.last_status,
        last_error=each.last_error,
        next_attempt_at=each.next_attempt_at if each.state == "pending" else None,
    )
