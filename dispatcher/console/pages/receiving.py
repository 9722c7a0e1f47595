"""`/help` of the portal: how a callback's signature is checked, with the headers of this account's webhooks, programs
that do it, and where callbacks come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID

from starlette.responses import Response

from dispatcher.accounts.accounts import find_account
from dispatcher.console.frame import Pages, Reading
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import Webhooks

MOST = 20  # webhooks

pages = Pages()


@dataclass(frozen=True, slots=True)
class Signed:
    """How one webhook's callbacks are signed."""

    id: UUID
    name: str
    kinds: Sequence[str]  # of its signing keys; none: it has no key
    contract: DeliveryContract


@pages.get("/help")
def get_help(view: Reading) -> Response:
    with view.transaction() as session:
        webhooks = Webhooks(session, view.installation)
        owner = find_account(session, str(view.caller.account))
        page, older = webhooks.page(owner, before=None, limit=MOST)
        opened = [webhooks.opened(webhook, owner, None) for webhook in page]
        signed = [_signed(one) for one in opened if one.unreadable is None]
    ranges = view.installation.settings.egress_networks
    return view.page("help.html", signed=signed, has_more=older is not None, ranges=ranges, samples=_samples())


def _signed(registered: Registered) -> Signed:
    kinds = sorted({str(key.kind) for key in registered.secrets.signing_keys})
    return Signed(registered.id, registered.webhook.name or registered.url_masked, kinds, registered.contract)


@cache
def _samples() -> dict[str, str]:
    """The programs, by their names. They are those of the documentation."""
    folder: Any = files("dispatcher.console") / "samples"
    return {file.name.removesuffix(".txt"): file.read_text() for file in folder.iterdir()}
