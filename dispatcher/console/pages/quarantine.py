"""What operators do about what was put aside: release a webhook, or a notice."""

from uuid import UUID

from starlette.responses import Response

from dispatcher.accounts.owners import owner_of_notice
from dispatcher.console.frame import Managing, Pages
from dispatcher.console.pages.webhook_actions import ask
from dispatcher.wake import NOTICES
from dispatcher.web.ownership import owner_for
from dispatcher.webhooks.notices import release_notice
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
def post_release_notice(view: Managing, notice_id: UUID) -> Response:
    with view.transaction() as session:
        owner = owner_for(session, view.caller, owner_of_notice, notice_id)
        account = owner.name
        release_notice(session, owner, notice_id, by=view.by)
    view.installation.waker.wake(NOTICES)
    return view.goto("/notices", account=account, done="released")
