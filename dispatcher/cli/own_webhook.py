"""The webhook of `dispatcher listen --register`, which exists while it listens."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from dispatcher.accounts.accounts import create_account
from dispatcher.cli.actor import this_user
from dispatcher.cli.names import account_of
from dispatcher.cli.output import print_line, print_misspelt
from dispatcher.errors import NameTaken, NotFound, UnknownAccount
from dispatcher.events.nearest import misspelt_types_of
from dispatcher.installation import Installation
from dispatcher.signing.keys import check_signing_key
from dispatcher.webhooks.fields import WebhookFields
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import change, register, remove
from dispatcher.webhooks.store import NATIVE, AccountKey, Webhooks


@contextmanager
def own_webhook(
    installation: Installation, account: str, port: int, types: Sequence[str], key: str | None, *, keep: bool
) -> Iterator[Registered]:
    """A webhook of the account (name or id) for http://127.0.0.1:`port`/, removed at the end unless `keep`.
    A missing account is made. A webhook that an earlier call left is used again, with its waiting deliveries, and its
    key unless `key` is given.

    Raises what `register` raises: InvalidWebhook for invalid types or another key than can sign, AddressRefused if this
    machine may not be called.
    """
    name = f"dispatcher listen on {socket.gethostname()}, port {port}"
    url = f"http://127.0.0.1:{port}/"
    by, fields = this_user(), WebhookFields(name=name, url=url, event_types=list(types))
    if key is not None:
        fields["signing_keys"] = [check_signing_key(key)]
    owner = _owner(installation, account)
    try:
        made = register(installation, owner, by=by, **fields)
    except UnknownAccount:
        with installation.transaction() as session:
            create_account(session, account, by=by)
        print_line(f"account {account} created", stderr=True)
        made = register(installation, account, by=by, **fields)
    except NameTaken:
        with installation.transaction() as session:
            webhooks = Webhooks(session, installation)
            listed = webhooks.list(webhooks.owner(owner), dialect=NATIVE, url=url)
            found = next((each for each in listed if each.name == name), None)
        if found is None:  # not one of these: somebody gave another webhook this name
            raise
        made = change(installation, owner, found.id, by=by, enabled=True, **fields)
    end = "stays when this ends" if keep else "is removed when this ends"
    print_line(
        f"Webhook {made.id} of {made.owner.name} takes {', '.join(made.webhook.event_types)} and {end}", stderr=True
    )
    try:
        print_misspelt(misspelt_types_of(types, made.owner.name, installation, webhook=made.id))
        yield made
    finally:
        if not keep:
            _remove(installation, made)


def _owner(installation: Installation, account: str) -> AccountKey:
    """The account's id, or its name if there is no such account yet."""
    with installation.transaction() as session:
        try:
            return account_of(session, account).id
        except UnknownAccount:
            return account


def _remove(installation: Installation, made: Registered) -> None:
    try:
        remove(installation, made.owner.id, made.id, by=this_user())
    except NotFound:
        return  # somebody else has deleted it
    except SQLAlchemyError:
        print_line(
            f"Webhook {made.id} stays: the database no longer answers. The next `dispatcher listen "
            "--register` on this port uses it again",
            stderr=True,
        )
        return
    print_line(f"Webhook {made.id} is removed", stderr=True)
