"""What can be done with one webhook: enable, disable, test, rotate its key, stop signing, show its secrets, delete."""

from typing import Any
from uuid import UUID

from starlette.responses import Response

from dispatcher.api.webhooks.bodies import Disabling, Rotation, TestEvent, WebhookChanges
from dispatcher.api.webhooks.changing import (
    change_webhook,
    enable_webhook,
    rotate_webhook_key,
    send_test_event,
    show_webhook_secrets,
    verify_webhook_url,
)
from dispatcher.api.webhooks.documents import secrets_document
from dispatcher.console.forms import Form
from dispatcher.console.frame import Given, Managing, Pages
from dispatcher.console.pages.webhooks import state_of
from dispatcher.console.refusals import Refused, attempt, may_see_secrets
from dispatcher.console.view import View
from dispatcher.console.webhook_form import GIVEN, members_of_json, number_of
from dispatcher.web.bodies import validated
from dispatcher.webhooks.health import open_deliveries
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import change, remove
from dispatcher.webhooks.sample_event import DATA
from dispatcher.webhooks.store import Webhooks
from dispatcher.webhooks.url_verification import takes_url_verification

OVERLAPS = (24 * 3600, 3600, 7 * 24 * 3600, 30 * 24 * 3600, 0)  # seconds; the usual one first

pages = Pages()


@pages.get("/webhooks/{webhook_id}/enable")
def get_enable(view: Managing, webhook_id: UUID) -> Response:
    return ask(view, webhook_id, "webhook_enable.html")


@pages.post("/webhooks/{webhook_id}/enable")
def post_enable(view: Managing, webhook_id: UUID, form: Given) -> Response:
    skip = form.has("skip_url_verification")
    done = attempt(view, lambda: enable_webhook(view.serving, view.caller, webhook_id, by=view.by, skip=skip))
    if isinstance(done, Refused):
        return ask(view, webhook_id, "webhook_enable.html", form, done)
    return view.goto(f"/webhooks/{webhook_id}", done="enabled")


@pages.get("/webhooks/{webhook_id}/disable")
def get_disable(view: Managing, webhook_id: UUID) -> Response:
    return ask(view, webhook_id, "webhook_disable.html")


@pages.post("/webhooks/{webhook_id}/disable")
def post_disable(view: Managing, webhook_id: UUID, form: Given) -> Response:
    def disable() -> Registered:
        reason = validated(Disabling, members_of_json(reason=form["reason"] or None)).reason
        account = view.caller.account_id
        return change(view.installation, account, webhook_id, enabled=False, by=view.by, reason=reason)

    done = attempt(view, disable)
    if isinstance(done, Refused):
        return ask(view, webhook_id, "webhook_disable.html", form, done)
    return view.goto(f"/webhooks/{webhook_id}", done="disabled")


@pages.get("/webhooks/{webhook_id}/test")
def get_test(view: Managing, webhook_id: UUID) -> Response:
    return ask(view, webhook_id, "webhook_test.html", Form([("type", TestEvent().type), ("data", DATA.decode())]))


@pages.post("/webhooks/{webhook_id}/test")
def post_test(view: Managing, webhook_id: UUID, form: Given) -> Response:
    kind, data = form["type"], form["data"].encode() or None
    to = view.serving, view.caller, webhook_id
    sent = attempt(view, lambda: send_test_event(*to, by=view.by, event_type=kind, data=data))
    if isinstance(sent, Refused):
        return ask(view, webhook_id, "webhook_test.html", form, sent)
    return view.goto(f"/events/{sent.event_id}", done="sent")


@pages.get("/webhooks/{webhook_id}/verify")
def get_verify(view: Managing, webhook_id: UUID) -> Response:
    return ask(view, webhook_id, "webhook_verify.html")


@pages.post("/webhooks/{webhook_id}/verify")
def post_verify(view: Managing, webhook_id: UUID, form: Given) -> Response:
    came_back = attempt(view, lambda: verify_webhook_url(view.serving, view.caller, webhook_id, by=view.by))
    if isinstance(came_back, Refused):
        return ask(view, webhook_id, "webhook_verify.html", form, came_back)
    return ask(view, webhook_id, "webhook_verify.html", passed=came_back)


@pages.get("/webhooks/{webhook_id}/rotate")
def get_rotate(view: Managing, webhook_id: UUID) -> Response:
    view.prove()
    return ask(view, webhook_id, "webhook_rotate.html", overlaps=OVERLAPS)


@pages.post("/webhooks/{webhook_id}/rotate")
def post_rotate(view: Managing, webhook_id: UUID, form: Given) -> Response:
    view.prove()

    def rotate() -> Registered:
        kind = form["kind"]
        new = {"signing_key": form["signing_key"]} if kind == GIVEN else {"kind": kind}
        seconds = number_of(form["overlap_seconds"])
        body = validated(Rotation, members_of_json(overlap_seconds=seconds, **new))
        if not body.overlap_seconds:
            _must_mean_it(view, form, webhook_id)
        return rotate_webhook_key(view.installation, view.caller, webhook_id, body, by=view.by)

    done = attempt(view, rotate)
    if isinstance(done, Refused):
        return ask(view, webhook_id, "webhook_rotate.html", form, done, overlaps=OVERLAPS)
    page = "/secrets" if view.may_see_secrets else ""
    return view.goto(f"/webhooks/{webhook_id}{page}", done="rotated")


@pages.get("/webhooks/{webhook_id}/unsign")
def get_unsign(view: Managing, webhook_id: UUID) -> Response:
    view.prove()
    return ask(view, webhook_id, "webhook_unsign.html", is_typed=True)


@pages.post("/webhooks/{webhook_id}/unsign")
def post_unsign(view: Managing, webhook_id: UUID, form: Given) -> Response:
    view.prove()

    def unsign() -> Registered:
        _must_mean_it(view, form, webhook_id)
        body = validated(WebhookChanges, members_of_json(signing=None))
        return change_webhook(view.serving, view.caller, webhook_id, body, by=view.by)

    done = attempt(view, unsign)
    if isinstance(done, Refused):
        return ask(view, webhook_id, "webhook_unsign.html", form, done, is_typed=True)
    return view.goto(f"/webhooks/{webhook_id}", done="unsigned")


@pages.get("/webhooks/{webhook_id}/secrets")
def get_secrets(view: Managing, webhook_id: UUID) -> Response:
    may_see_secrets(view)
    view.prove()
    return ask(view, webhook_id, "webhook_secrets.html")


@pages.post("/webhooks/{webhook_id}/secrets")
def post_secrets(view: Managing, webhook_id: UUID) -> Response:
    may_see_secrets(view)
    view.prove()
    shown = show_webhook_secrets(view.installation, view.caller, webhook_id, by=view.by)
    return view.page("webhook_shown.html", webhook=shown.webhook, secrets=secrets_document(shown))


@pages.get("/webhooks/{webhook_id}/delete")
def get_delete(view: Managing, webhook_id: UUID) -> Response:
    view.prove()
    return ask(view, webhook_id, "webhook_delete.html", is_typed=True)


@pages.post("/webhooks/{webhook_id}/delete")
def post_delete(view: Managing, webhook_id: UUID, form: Given) -> Response:
    view.prove()

    def delete() -> object:
        _must_mean_it(view, form, webhook_id)
        return remove(view.installation, view.caller.account_id, webhook_id, by=view.by)

    done = attempt(view, delete)
    if isinstance(done, Refused):
        return ask(view, webhook_id, "webhook_delete.html", form, done, is_typed=True)
    return view.goto("/webhooks", done="deleted")


def _read(view: View, webhook_id: UUID) -> Registered:
    with view.transaction() as session:
        return Webhooks(session, view.installation).read(view.caller.account_id, webhook_id)


def _must_mean_it(view: View, form: Form, webhook_id: UUID) -> None:
    """In the portal the webhook's name must be typed; in the console the key was shown. Raises InvalidInput, and
    NotFound."""
    if not view.is_console:
        form.must_repeat(_typed(_read(view, webhook_id)))


def _typed(registered: Registered) -> str:
    """What a customer repeats before what cannot be taken back."""
    return registered.webhook.name or str(registered.id)


def ask(
    view: View,
    webhook_id: UUID,
    template: str,
    form: Form | None = None,
    refused: Refused | None = None,
    *,
    is_typed: bool = False,
    **more: Any,
) -> Response:
    """The question before a change; after one that was refused, why."""
    with view.transaction() as session:
        registered = Webhooks(session, view.installation).read(view.caller.account_id, webhook_id)
        given: dict[str, Any] = {
            "webhook": registered.webhook,
            "state": state_of(registered),
            "open": open_deliveries(session, webhook_id),
            "tests_url": registered.unreadable is None and takes_url_verification(registered.contract),
            "keys": len(registered.secrets.signing_keys) if registered.unreadable is None else 0,
            "back": f"/webhooks/{webhook_id}",
            "typed": _typed(registered) if is_typed else None,
            "called": _typed(registered),
            "came_back": refused.came_back if refused is not None else None,
            "passed": None,
            **more,
        }
        if refused is not None:
            # What came back says it all.
            problems = refused.problems if refused.came_back is None else None
            return view.refused(template, form, problems, **given)
        return view.page(template, form=form, problems=None, **given)
