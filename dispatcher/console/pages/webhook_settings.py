"""`/webhooks/new` and `/webhooks/{id}/edit`: one form for what a webhook has."""

import json
from typing import Any
from uuid import UUID

from starlette.responses import Response

from dispatcher.api.webhooks.bodies import NewWebhook, WebhookChanges
from dispatcher.api.webhooks.changing import change_webhook, create_webhook
from dispatcher.api.webhooks.documents import WebhookDocument, webhook_document
from dispatcher.console.forms import Form, Problems
from dispatcher.console.frame import Given, Managing, Pages
from dispatcher.console.pages.webhooks import TextQuery
from dispatcher.console.refusals import Refused, attempt
from dispatcher.console.view import View
from dispatcher.console.webhook_form import filled, members_of_form, values_of
from dispatcher.web.bodies import validated
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import Webhooks
from schedules.catalog import SCHEDULES

TEMPLATE = "webhook_form.html"
_OVERTAKEN = "Others changed the webhook since you opened this page. See whether this still fits, and save it again."

pages = Pages()


@pages.get("/webhooks/new")
def get_new(view: Managing, account: TextQuery = "") -> Response:
    return view.page(TEMPLATE, problems=None, **_shown(None, values_of(None) | {"account": account}))


@pages.post("/webhooks/new")
def post_new(view: Managing, form: Given) -> Response:
    usual = values_of(None)
    made = attempt(view, lambda: _create(view, form, usual))
    if isinstance(made, Refused):
        return _refused(view, form, made, None, usual)
    return view.goto(f"/webhooks/{made.id}", done="made")


@pages.get("/webhooks/{webhook_id}/edit")
def get_edit(view: Managing, webhook_id: UUID) -> Response:
    document = _read(view, webhook_id)
    return view.page(TEMPLATE, problems=None, **_shown(document, values_of(document)))


@pages.post("/webhooks/{webhook_id}/edit")
def post_edit(view: Managing, webhook_id: UUID, form: Given) -> Response:
    document = _read(view, webhook_id)
    shown = values_of(document)
    if form["seen"] != document.updated_at.isoformat():
        return _refused(view, form, Refused(Problems({"": _OVERTAKEN})), document, shown)
    changed = attempt(view, lambda: _change(view, webhook_id, form, shown))
    if isinstance(changed, Refused):
        return _refused(view, form, changed, document, shown)
    return view.goto(f"/webhooks/{webhook_id}", done="saved")


def _create(view: View, form: Form, usual: dict[str, str]) -> Registered:
    members = members_of_form(form, usual) | _skipping(form)
    members |= {"enabled": "true" if form.has("enabled") else "false"}
    if view.is_console and form["account"]:
        members["account"] = json.dumps(form["account"])
    body = validated(NewWebhook, members)
    return create_webhook(view.serving, view.caller, body, by=view.by)


def _change(view: View, webhook_id: UUID, form: Form, shown: dict[str, str]) -> Registered:
    body = validated(WebhookChanges, members_of_form(form, shown) | _skipping(form))
    sees = view.may_see_secrets
    return change_webhook(view.serving, view.caller, webhook_id, body, by=view.by, sees_secrets=sees)


def _skipping(form: Form) -> dict[str, str]:
    return {"skip_url_verification": "true"} if form.has("skip_url_verification") else {}


def _read(view: View, webhook_id: UUID) -> WebhookDocument:
    """The webhook. Raises NotFound, and Unreadable, because there is nothing to fill the form with."""
    with view.transaction() as session:
        found = Webhooks(session, view.installation).read(view.caller.account_id, webhook_id)
        found.contract, found.secrets  # noqa: B018 - read
        return webhook_document(found)


def _refused(
    view: View, form: Form, refused: Refused, document: WebhookDocument | None, shown: dict[str, str]
) -> Response:
    given = _shown(document, filled(form, shown), came_back=refused.came_back)
    return view.refused(TEMPLATE, form, refused.problems, **given)


def _shown(document: WebhookDocument | None, values: dict[str, str], came_back: str | None = None) -> dict[str, Any]:
    return {
        "webhook": document,
        "values": values,
        "came_back": came_back,
        "schedules": [(name, name) for name in SCHEDULES],
    }
