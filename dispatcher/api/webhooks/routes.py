"""`/v1/webhooks`: create, list, show, change and delete webhooks. More actions: `dispatcher.api.webhooks.actions`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from dispatcher.api.webhooks.access import WebhookId
from dispatcher.api.webhooks.bodies import NewWebhook, WebhookChanges
from dispatcher.api.webhooks.changing import change_webhook, create_webhook
from dispatcher.api.webhooks.documents import WebhookDocument, webhook_document
from dispatcher.api.webhooks.fields import fields_as_given
from dispatcher.egress.urls import MAX_URL
from dispatcher.web.authentication import By, Manager, Reader
from dispatcher.web.bodies import body_as, described_body
from dispatcher.web.own_urls import OwnUrl
from dispatcher.web.ownership import AccountQuery, Name, account_of
from dispatcher.web.pagination import Cursor, Limit, Page, read_cursor, write_cursor
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served, Shared
from dispatcher.webhooks.registration import remove
from dispatcher.webhooks.store import Webhooks

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    operation_id="create_webhook",
    summary="Create a webhook; the answer shows its signing key in clear",
    description="If its callbacks are arrays in a body, the URL is verified first: it must answer `[]` with a 2xx "
    "within 30 s. A webhook that is created disabled is not verified.",
    responses=usual_problems(HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(NewWebhook),
)
def post_webhook(
    *,
    caller: Manager,
    serving: Shared,
    by: By,
    body: Annotated[NewWebhook, body_as(NewWebhook)],
    called: OwnUrl,
    response: Response,
) -> WebhookDocument:
    with fields_as_given(caller):
        made = create_webhook(serving, caller, body, by=by)
    response.headers["Location"] = f"{called}/{made.id}"
    return webhook_document(made, keys=True)


@router.get(
    "",
    operation_id="list_webhooks",
    summary="List webhooks, newest first",
    description="Includes those that were created through a dialect. Secrets are `***`, URLs are masked. With filters "
    "a page searches the next 10,000 webhooks, so it can be short while `next` is not null.",
    responses=usual_problems(),
)
def get_webhooks(
    *,
    caller: Reader,
    installation: Served,
    account: AccountQuery = None,
    dialect: Annotated[
        Name | None, Query(description="Created through this dialect; `native`: created through this API.")
    ] = None,
    app: Annotated[Name | None, Query(description="With this app.")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled ones, or only disabled ones.")] = None,
    quarantined: Annotated[bool | None, Query(description="Only quarantined ones, or only others.")] = None,
    url: Annotated[
        str | None, Query(max_length=MAX_URL, description="With this URL, in any equivalent spelling.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[WebhookDocument]:
    before = read_cursor(cursor)
    with installation.transaction() as session:
        owner = account_of(session, caller, account)
        webhooks = Webhooks(session, installation)
        page, older = webhooks.page(
            owner,
            dialect=dialect,
            app=app,
            enabled=enabled,
            quarantined=quarantined,
            url=url,
            before=before,
            limit=limit,
        )
        breakers = webhooks.circuit_breakers(page)
        items = [webhook_document(webhooks.opened(webhook, owner, breakers.get(webhook.id))) for webhook in page]
    return Page(items=items, next=write_cursor(older))


@router.get(
    "/{webhook_id}",
    operation_id="get_webhook",
    summary="Show a webhook",
    description="Secrets are `***`, the URL is masked; `/secrets` shows what its owner may see.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_webhook(caller: Reader, installation: Served, webhook_id: WebhookId) -> WebhookDocument:
    with installation.transaction() as session:
        return webhook_document(Webhooks(session, installation).read(caller.account_id, webhook_id))


@router.patch(
    "/{webhook_id}",
    operation_id="update_webhook",
    summary="Change a webhook",
    description="Members that are left out stay unchanged, those of the contract too. The URL is verified as for a new "
    "webhook if `url`, `contract`, `authorization` or `headers` is given, or if `enabled` is true. If the webhook was "
    "created through a dialect, its event types, app, authorization, headers and secrets, and the contract's members "
    "about the shape of callbacks, can be changed only there (409), and its vendor's rules apply to the rest (422).",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(WebhookChanges),
)
def patch_webhook(
    caller: Manager,
    serving: Shared,
    by: By,
    webhook_id: WebhookId,
    body: Annotated[WebhookChanges, body_as(WebhookChanges)],
) -> WebhookDocument:
    with fields_as_given(caller):
        changed = change_webhook(serving, caller, webhook_id, body, by=by)
    return webhook_document(changed)


@router.delete(
    "/{webhook_id}",
    status_code=HTTPStatus.NO_CONTENT,
    operation_id="delete_webhook",
    summary="Delete a webhook permanently",
    description="Its secrets are erased and its open deliveries are discarded. Its deliveries stay listed.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def delete_webhook(caller: Manager, installation: Served, by: By, webhook_id: WebhookId) -> None:
    remove(installation, caller.account_id, webhook_id, by=by)
