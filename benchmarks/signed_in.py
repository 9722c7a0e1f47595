"""People who are signed in to console and portal."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Call
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.sessions import begin
from dispatcher.console.kinds import Kind
from dispatcher.db.models import BrowserSession
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.ids import new_id
from dispatcher.installation import Installation

CONSOLE = {"DISPATCHER_CONSOLE": "on", "DISPATCHER_CONSOLE_URL": f"http://{LOOPBACK}"}
_SCOPES = {Kind.CONSOLE: [str(Scope.OPERATOR)], Kind.PORTAL: [str(Scope.READ), str(Scope.MANAGE), "secrets"]}


class SignedIn(NamedTuple):
    """The session of one, and the header line by which it is known, without its name."""

    id: UUID
    cookie: str


def sign_in(installation: Installation, kind: Kind, account: str) -> SignedIn:
    """Somebody who may do all that can be done there; in the portal of this account. An operator has just shown the
    key."""
    with installation.transaction() as session:
        owner, now = find_account(session, account), installation.clock()
        row = BrowserSession(
            kind=kind.value,
            account_id=owner.id if kind is Kind.PORTAL else None,
            scopes=_SCOPES[kind],
            expires_at=now + timedelta(hours=8),
            proved_at=now,
        )
        begun, secret = begin(session, row, account, now, call=Call(new_id(), LOOPBACK))
    return SignedIn(begun.id, f"{kind.value}={secret}")
