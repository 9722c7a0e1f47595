"""What operators do about what was put aside: release a webhook, or a notice."""

from uuid import UUID

from starlette.responses import Response

from dispatcher.api.webhooks.notices import release_quarantined
from dispatcher.console.frame import Given, Managing, Pages
from dispatcher.console.pages.webhook_actions import ask
from dispatcher.webhooks.registration import release

pages = Pages()


@pages.get("/webhooks/{webhook_id}/release")
def get_release(view: Managing, webhook_id: UUID) -> Response:
    return ask(view, webhook_id, "webhook_release.html")


@pages.post("/webhooks/{webhook_id}/release")
def post_release(view: Managing, webhook_id: UUID) -> Response:
    release(view.installation, view.caller.account_id, webhook_id, by=view.by)
    return view.goto(f"/webhooks/{webhook_id}", done="released")


@pages.post("/notices/{notice_id}/release")
def post_release_notice(view: Managing, notice_id: UUID, form: Given) -> Response:
    release_quarantined(view.installation, view.caller, notice_id, by=view.by)
    return view.goto("/notices", account=form["account"], done="released")
