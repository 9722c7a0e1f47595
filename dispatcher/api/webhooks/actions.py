"""More actions on one webhook: enable, disable, release, show secrets, rotate its signing key, send a test event."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from dispatcher.api.webhooks.access import WebhookId
from dispatcher.api.webhooks.bodies import Disabling, Enabling, Rotation, TestEvent
from dispatcher.api.webhooks.changing import (
    enable_webhook,
    rotate_webhook_key,
    send_test_event,
    show_webhook_secrets,
)
from dispatcher.api.webhooks.documents import (
    WebhookDocument,
    WebhookSecretsDocument,
    secrets_document,
    webhook_document,
)
from dispatcher.api.webhooks.fields import fields_as_given
from dispatcher.web.authentication import By, Manager
from dispatcher.web.bodies import body_as, described_body, members_of, with_raw_data
from dispatcher.web.middleware import read_body
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served, Shared
from dispatcher.webhooks.registration import change, release

router = APIRouter(prefix="/v1/webhooks/{webhook_id}", tags=["webhooks"])


class Called(BaseModel):
    """The sample event is stored, with one delivery."""

    event_id: UUID
    delivery_id: UUID


@router.post(
    "/enable",
    operation_id="enable_webhook",
    summary="Enable a webhook",
    description="Deliveries that waited are sent too, and an open circuit closes. The URL is verified first, as for a "
    "new webhook.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(Enabling),
)
def post_enable(
    caller: Manager, serving: Shared, by: By, webhook_id: WebhookId, body: Annotated[Enabling, body_as(Enabling)]
) -> WebhookDocument:
    with fields_as_given(caller):
        enabled = enable_webhook(serving, caller, webhook_id, by=by, skip=body.skip_url_verification)
    return webhook_document(enabled)


@router.post(
    "/disable",
    operation_id="disable_webhook",
    summary="Disable a webhook",
    description="It still takes events, and their deliveries wait.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, body=True),
    openapi_extra=described_body(Disabling),
)
def post_disable(
    caller: Manager, installation: Served, by: By, webhook_id: WebhookId, body: Annotated[Disabling, body_as(Disabling)]
) -> WebhookDocument:
    return webhook_document(
        change(installation, caller.account_id, webhook_id, enabled=False, by=by, reason=body.reason)
    )


@router.post(
    "/release",
    operation_id="release_webhook",
    summary="Release a quarantined webhook",
    description="Workers read it anew and deliver what waited, or quarantine it again. Every change of a webhook does "
    "the same. One that is not quarantined stays as it is.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def post_release(caller: Manager, installation: Served, by: By, webhook_id: WebhookId) -> WebhookDocument:
    return webhook_document(release(installation, caller.account_id, webhook_id, by=by))


@router.post(
    "/rotate-secret",
    operation_id="rotate_webhook_secret",
    summary="Rotate a webhook's signing key; the answer shows its keys in clear",
    description="Until the overlap ends, callbacks carry a signature of each key, so that the receiver has time to "
    "switch.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, body=True),
    openapi_extra=described_body(Rotation),
)
def post_rotate_secret(
    caller: Manager, installation: Served, by: By, webhook_id: WebhookId, body: Annotated[Rotation, body_as(Rotation)]
) -> WebhookDocument:
    with fields_as_given(caller):
        rotated = rotate_webhook_key(installation, caller, webhook_id, body, by=by)
    return webhook_document(rotated, keys=True)


@router.get(
    "/secrets",
    operation_id="get_webhook_secrets",
    summary="Show a webhook's URL and signing keys in clear",
    description="Passwords and other secrets are never shown. Needs the scope `manage`.",
    responses=usual_problems(HTTPStatus.NOT_FOUND),
)
def get_secrets(caller: Manager, installation: Served, by: By, webhook_id: WebhookId) -> WebhookSecretsDocument:
    return secrets_document(show_webhook_secrets(installation, caller, webhook_id, by=by))


@router.post(
    "/test",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="test_webhook",
    summary="Send a sample event to this webhook alone",
    description="It is stored, delivered, retried and listed like any other event, but goes to no other webhook. An "
    "open circuit does not hold back its first attempt. Answers 409 if the webhook is disabled.",
    responses=usual_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, body=True),
    openapi_extra=described_body(TestEvent),
)
def post_test(
    caller: Manager, serving: Shared, by: By, webhook_id: WebhookId, body: Annotated[bytes, Depends(read_body)]
) -> Called:
    fields, data = with_raw_data(TestEvent, members_of(body or b"{}"))
    called = send_test_event(serving, caller, webhook_id, by=by, event_type=fields.type, data=data)
    return Called(event_id=called.event_id, delivery_id=called.delivery_id)
