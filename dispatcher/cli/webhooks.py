"""`dispatcher webhook`: registered receivers."""

import sys
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts import audit
from dispatcher.accounts.audit import Action
from dispatcher.cli import secret_sources as secret
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import (
    AsJson,
    at_least,
    print_done,
    print_json,
    print_line,
    print_misspelt,
    print_older,
    print_table,
)
from dispatcher.cli.shared_options import AnyAccount, Before, Limit, Quarantined, WebhookName, Yes
from dispatcher.cli.webhook_options import (
    WEBHOOK,
    Clearable,
    changed_fields,
    named_by_option,
    new_fields,
    page_end,
    takes_webhook,
)
from dispatcher.cli.webhook_output import print_summary, print_webhook, webhook_document
from dispatcher.events.nearest import misspelt_types_of
from dispatcher.signing.keys import KeyKind
from dispatcher.webhooks.health import circuit_state, open_deliveries
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import change, register, remove, rotate_signing_key
from dispatcher.webhooks.registration import release as release_webhook
from dispatcher.webhooks.store import Webhooks

app = Commands()

_KEY_SHOWN = (
    "Give the signing key to the operator of the receiver (of an ed25519 key only the public part), to check "
    "callbacks with. `dispatcher webhook show ID --reveal` shows it again."
)


@app.command(epilog=page_end("dispatcher webhook create --account acme --url https://example.com/hook --type message"))
@takes_webhook(new=True)
def create(
    *,
    context: typer.Context,
    account: Annotated[str, typer.Option(metavar="NAME", help="The account, by name or id", rich_help_panel=WEBHOOK)],
    given: dict[str, Any],
    signing: secret.SigningOption = None,
    signing_key_from: secret.SigningKeyFrom = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Register it, but deliver nothing yet")] = False,
    json: AsJson = False,
) -> None:
    """Register a webhook."""
    installation = installation_of(context)
    with installation.transaction() as session:
        owner = account_of(session, account).id
    with named_by_option():
        fields = new_fields(given, signing, signing_key_from)
        made = register(installation, owner, by=this_user(), enabled=not disabled, **fields)
    _print_made(made, json=json, keys=True)
    print_misspelt(misspelt_types_of(made.webhook.event_types, made.owner.name, installation, webhook=made.id))
    if fields.get("signing_keys") != []:
        print_line(_KEY_SHOWN, stderr=True)


@app.command("list")
def list_(
    *,
    context: typer.Context,
    account: AnyAccount = None,
    quarantined: Quarantined = False,
    before: Before = None,
    limit: Limit = 50,
    json: AsJson = False,
) -> None:
    """List webhooks, newest first, with masked URLs."""
    with installation_of(context).transaction() as session:
        owner = account_of(session, account) if account is not None else None
        webhooks = Webhooks(session, installation_of(context))
        page, older = webhooks.page(owner, quarantined=quarantined or None, before=before, limit=limit)
        owners, breakers = webhooks.owners(page), webhooks.circuit_breakers(page)
        found = [webhooks.opened(each, owners[each.account_id], breakers.get(each.id)) for each in page]
    print_older(older)
    if json:
        print_json([webhook_document(each) for each in found])
        return
    print_table(
        ["id", "account", "app", "name", "URL", "types", "enabled", "circuit", "quarantined"],
        [
            (
                each.id,
                each.owner.name,
                each.webhook.app,
                each.webhook.name,
                each.url_masked,
                each.webhook.event_types,
                each.webhook.enabled,
                circuit_state(each.circuit_breaker),
                each.webhook.quarantined_at,
            )
            for each in found
        ],
        gives_way=["app", "name", "URL", "types"],
    )


@app.command()
def show(
    context: typer.Context,
    webhook: WebhookName,
    account: AnyAccount = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the URL and the signing keys in clear")] = False,
    json: AsJson = False,
) -> None:
    """Show one webhook.

    Its URL and signing keys are masked unless --reveal is given; other secrets are always masked.
    """
    installation = installation_of(context)
    owner, identifier = _found(context, account, webhook)
    with installation.transaction() as session:
        found = Webhooks(session, installation).read(owner, identifier)
        if reveal:
            audit.write(
                session, this_user(), Action.WEBHOOK_SECRETS_SHOWN, identifier, account=found.owner.id, detail={}
            )
    print_webhook(found, url=reveal, keys=reveal, json=json)


@app.command(epilog=page_end("dispatcher webhook update orders --timeout 10 --clear app"))
@takes_webhook()
def update(
    *,
    context: typer.Context,
    webhook: WebhookName,
    given: dict[str, Any],
    clear: Annotated[list[Clearable] | None, typer.Option(help="Remove this")] = None,
    account: AnyAccount = None,
    json: AsJson = False,
) -> None:
    """Change the given options of a webhook.

    --rule, --member and --type replace all existing ones. Waiting deliveries use the changed webhook.
    """
    from dispatcher.dialects.rules import keep_to_dialect

    with named_by_option():
        fields = changed_fields(given, clear or [])
    changed = _changed(context, account, webhook, rule=keep_to_dialect, **fields)
    print_webhook(changed, json=json)
    types, owner = fields.get("event_types", []), changed.owner.name
    print_misspelt(misspelt_types_of(types, owner, installation_of(context), webhook=changed.id))


@app.command("rotate-secret", epilog="Example: dispatcher webhook rotate-secret orders --overlap 48")
def rotate_secret(
    *,
    context: typer.Context,
    webhook: WebhookName,
    account: AnyAccount = None,
    overlap: Annotated[float, typer.Option(metavar="HOURS", help="How long older keys sign too", min=0, max=720)] = 24,
    kind: Annotated[KeyKind, typer.Option("--signing", help="The kind of the new key")] = KeyKind.HMAC,
    signing_key_from: secret.SigningKeyFrom = None,
    json: AsJson = False,
) -> None:
    """Give a webhook a new signing key, with an overlap.

    During the overlap its callbacks carry a signature of each key, so that the receiver has time to change over.
    """
    installation, span = installation_of(context), timedelta(hours=overlap)
    owner, identifier = _found(context, account, webhook)
    with named_by_option():
        new = secret.replacing_key(kind, signing_key_from)
        rotated = rotate_signing_key(installation, owner, identifier, new, overlap=span, by=this_user())
    _print_made(rotated, json=json, keys=True)
    print_line(_KEY_SHOWN, stderr=True)


@app.command()
def enable(context: typer.Context, webhook: WebhookName, account: AnyAccount = None, json: AsJson = False) -> None:
    """Deliver to a webhook again, also what waited.

    Its circuit breaker closes, if it was open.
    """
    _print_made(_changed(context, account, webhook, enabled=True), json=json)


@app.command()
def disable(
    context: typer.Context,
    webhook: WebhookName,
    account: AnyAccount = None,
    reason: Annotated[str | None, typer.Option(help="Why; stored with the webhook")] = None,
    json: AsJson = False,
) -> None:
    """Stop delivering to a webhook for now.

    Events still match it; their deliveries wait.
    """
    _print_made(_changed(context, account, webhook, enabled=False, reason=reason), json=json)


@app.command(epilog="Example: dispatcher webhook release orders")
def release(context: typer.Context, webhook: WebhookName, account: AnyAccount = None, json: AsJson = False) -> None:
    """Release a quarantined webhook.

    Workers read it anew and deliver what waited, or quarantine it again. A change of the webhook does the same.
    """
    owner, identifier = _found(context, account, webhook)
    _print_made(release_webhook(installation_of(context), owner, identifier, by=this_user()), json=json)


@app.command()
def delete(
    context: typer.Context, webhook: WebhookName, account: AnyAccount = None, yes: Yes = False, json: AsJson = False
) -> None:
    """Delete a webhook for good.

    Its secrets are wiped. Pending deliveries are discarded. All its deliveries stay listed.
    """
    owner, identifier = _found(context, account, webhook)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask at, and it cannot be undone: give --yes")
        typer.confirm(f"Delete webhook {webhook}?", abort=True, err=True)
    deleted = remove(installation_of(context), owner, identifier, by=this_user())
    with installation_of(context).transaction() as session:
        left = open_deliveries(session, identifier)
    document = {
        "id": deleted.id,
        "deleted_at": deleted.deleted_at,
        "open": left.count,
        "open_complete": left.complete,
    }
    print_done(f"webhook {deleted.id} is deleted", document, json=json)
    if left.count:
        still_open = at_least(left.count, complete=left.complete)
        print_line(f"still to be discarded: {still_open}; `dispatcher webhook health {deleted.id}`", stderr=True)


def _print_made(registered: Registered, *, json: bool, keys: bool = False) -> None:
    if json:
        print_webhook(registered, json=True, keys=keys)
    else:
        print_summary(registered, keys=keys)


def _changed(context: typer.Context, account: str | None, webhook: str, **changes: Any) -> Registered:
    owner, identifier = _found(context, account, webhook)
    with named_by_option():
        return change(installation_of(context), owner, identifier, by=this_user(), **changes)


def _found(context: typer.Context, account: str | None, webhook: str) -> tuple[UUID | None, UUID]:
    """The account, if one was named, and the webhook."""
    installation = installation_of(context)
    identifier = webhook_id(installation, webhook, account)
    if account is None:
        return None, identifier
    with installation.transaction() as session:
        return account_of(session, account).id, identifier
