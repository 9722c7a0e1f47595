"""`dispatcher webhook`: registered receivers."""

import sys
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from dispatcher.accounts import find_account
from dispatcher.cli import webhook_options as given
from dispatcher.cli.connection import transaction, webhooks_in
from dispatcher.cli.output import AsJson, print_fields, print_json, print_line, print_table
from dispatcher.db.models import Account, Gate, Webhook
from dispatcher.keys import list_accounts
from dispatcher.owners import owner_of_webhook
from dispatcher.webhooks import WebhookFields, Webhooks, contract_of

app = typer.Typer(help="Webhooks: registered receivers.", no_args_is_help=True)

Identifier = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook's id.")]
Owner = Annotated[str | None, typer.Option("--account", help="Only if it is this account's.")]

_BY = "command line"


@app.command(
    epilog="Example: dispatcher webhook create --account acme --url https://example.com/hook --type message "
    "--contact ops@example.com --rule 429=temporary,honour-retry-after --rule 410=rejected,disable"
)
def create(
    *,
    account: Annotated[str, typer.Option(help="The account whose events it gets.")],
    url: given.Url,
    types: given.Types,
    name: given.Name = None,
    app_: given.App = None,
    contact: given.Contact = None,
    method: given.MethodOption = None,
    envelope: given.EnvelopeOption = None,
    user_agent: given.UserAgent = None,
    timeout: given.Timeout = None,
    basic_username: given.BasicUsername = None,
    basic_password_stdin: given.PasswordFromStdin = False,
    rule: given.Rules = None,
    batch_size: given.BatchSize = None,
    retry_alone: given.RetryAlone = None,
    rate_limit: given.RateLimit = None,
    gate: given.Gate = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Register it, but deliver nothing yet.")] = False,
    json: AsJson = False,
) -> None:
    """Register a webhook."""
    fields: WebhookFields = {
        "url": url,
        "event_types": types,
        "name": name,
        "app": app_,
        "contact_email": contact,
        "contract": given.contract_members(
            method=method,
            envelope=envelope,
            user_agent=user_agent,
            timeout=timeout,
            rules=rule,
            batch_size=batch_size,
            retry_alone=retry_alone,
            rate_limit=rate_limit,
            gate=gate,
        ),
        "basic": given.read_basic(basic_username, from_stdin=basic_password_stdin),
    }
    with transaction() as session:
        owner = find_account(session, account)
        webhooks = webhooks_in(session)
        webhook = webhooks.create(owner, enabled=not disabled, **fields)
        if disabled:
            webhooks.disable(webhook, by=_BY, reason="registered disabled")
    _print(webhook, owner, json=json)


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="Only this account's webhooks.")] = None, json: AsJson = False
) -> None:
    """List webhooks; URLs are masked."""
    with transaction() as session:
        owners = [find_account(session, account)] if account is not None else list_accounts(session)
        webhooks = webhooks_in(session)
        found = [(webhook, owner) for owner in owners for webhook in webhooks.list(owner)]
        gates = webhooks.gates(webhook for webhook, _ in found)
    if json:
        print_json([_document(webhook, owner, gates.get(webhook.id)) for webhook, owner in found])
        return
    print_table(
        ["id", "account", "app", "name", "URL", "types", "enabled", "gate"],
        [
            (
                item.id,
                owner.name,
                item.app,
                item.name,
                item.url_masked,
                item.event_types,
                item.enabled,
                _gate_state(gates.get(item.id)),
            )
            for item, owner in found
        ],
    )


@app.command()
def show(
    identifier: Identifier,
    account: Owner = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the URL in clear.")] = False,
    json: AsJson = False,
) -> None:
    """Show one webhook; its URL is masked unless --reveal says otherwise, its password never shown."""
    with transaction() as session:
        webhooks, webhook, owner = _find(session, identifier, account)
        url = webhooks.url(webhook) if reveal else None
        gate = webhooks.gates([webhook]).get(webhook.id)
    _print(webhook, owner, gate, url=url, json=json)


@app.command(epilog="Example: dispatcher webhook update 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00 --timeout 10 --clear app")
def update(
    *,
    identifier: Identifier,
    account: Owner = None,
    url: Annotated[str | None, given.Url.__metadata__[0]] = None,
    types: Annotated[list[str] | None, given.Types.__metadata__[0]] = None,
    name: given.Name = None,
    app_: given.App = None,
    contact: given.Contact = None,
    method: given.MethodOption = None,
    envelope: given.EnvelopeOption = None,
    user_agent: given.UserAgent = None,
    timeout: given.Timeout = None,
    basic_username: given.BasicUsername = None,
    basic_password_stdin: given.PasswordFromStdin = False,
    rule: given.Rules = None,
    batch_size: given.BatchSize = None,
    retry_alone: given.RetryAlone = None,
    rate_limit: given.RateLimit = None,
    gate: given.Gate = None,
    clear: Annotated[
        list[given.Clearable] | None, typer.Option(help="Take this away; several times for several.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Change what is given; --rule and --type replace all rules and types. Waiting deliveries use the new state."""
    basic = given.read_basic(basic_username, from_stdin=basic_password_stdin)
    fields, reset = given.cleared(clear or [])
    changed = {"url": url, "event_types": types, "name": name, "app": app_, "contact_email": contact, "basic": basic}
    members = given.contract_members(
        method=method,
        envelope=envelope,
        user_agent=user_agent,
        timeout=timeout,
        rules=rule,
        batch_size=batch_size,
        retry_alone=retry_alone,
        rate_limit=rate_limit,
        gate=gate,
    )
    for field, value in changed.items():
        if value is not None:
            fields[field] = value  # type: ignore[literal-required]
    with transaction() as session:
        webhooks, webhook, owner = _find(session, identifier, account)
        if members or reset:
            kept = {member: value for member, value in webhook.contract.items() if member not in reset}
            fields["contract"] = {**kept, **members}
        webhooks.update(webhook, **fields)
        standing = webhooks.gates([webhook]).get(webhook.id)
    _wake()  # its gate may have opened
    _print(webhook, owner, standing, json=json)


@app.command()
def enable(identifier: Identifier, account: Owner = None, json: AsJson = False) -> None:
    """Deliver to it again; what waited meanwhile is delivered too. Opens its gate, if that was closed."""
    with transaction() as session:
        webhooks, webhook, owner = _find(session, identifier, account)
        webhooks.enable(webhook)
    _wake()
    _print(webhook, owner, json=json)


@app.command()
def disable(
    identifier: Identifier,
    account: Owner = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the webhook.")] = None,
    json: AsJson = False,
) -> None:
    """Deliver nothing to it for now. Its events still match, and wait."""
    with transaction() as session:
        webhooks, webhook, owner = _find(session, identifier, account)
        webhooks.disable(webhook, by=_BY, reason=reason)
        gate = webhooks.gates([webhook]).get(webhook.id)
    _print(webhook, owner, gate, json=json)


@app.command()
def delete(
    identifier: Identifier,
    account: Owner = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Delete it for good: its secrets are wiped, what it was still owed is discarded, its deliveries stay listed."""
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask at, and it cannot be undone: give --yes")
        typer.confirm(f"Delete webhook {identifier}?", abort=True, err=True)
    with transaction() as session:
        webhooks, webhook, _ = _find(session, identifier, account)
        webhooks.delete(webhook)
    if json:
        print_json({"id": webhook.id, "deleted_at": webhook.deleted_at})
    else:
        print_line(f"webhook {webhook.id} is deleted")


def _find(session: Session, identifier: UUID, account: str | None) -> tuple[Webhooks, Webhook, Account]:
    owner = find_account(session, account) if account is not None else owner_of_webhook(session, identifier)
    webhooks = webhooks_in(session)
    return webhooks, webhooks.get(owner, identifier), owner


def _wake() -> None:
    from dispatcher.settings import load_settings
    from dispatcher.wake import waker_for

    waker_for(load_settings().broker_url.get_secret_value()).wake()


def _print(webhook: Webhook, owner: Account, gate: Gate | None = None, *, json: bool, url: str | None = None) -> None:
    document = _document(webhook, owner, gate, url=url)
    if json:
        print_json(document)
        return
    contract = document.pop("contract")
    document |= {f"gate {name}": value for name, value in document.pop("gate").items() if value is not None}
    contract["has gate"] = contract.pop("gate")
    contract["rules"] = [given.show_rule(code, rule) for code, rule in sorted(contract_of(webhook).rules.items())]
    print_fields({name.replace("_", " "): value for name, value in {**document, **contract}.items()})


def _gate_state(gate: Gate | None) -> str:
    return "closed" if gate is not None and gate.closed_at is not None else "open"


def _document(webhook: Webhook, owner: Account, gate: Gate | None, *, url: str | None = None) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "number": webhook.number,
        "account": owner.name,
        "app": webhook.app,
        "name": webhook.name,
        "url": url if url is not None else webhook.url_masked,
        "event_types": webhook.event_types,
        "contact": webhook.contact_email,
        "enabled": webhook.enabled,
        "disabled_at": webhook.disabled_at,
        "disabled_by": webhook.disabled_by,
        "disabled_reason": webhook.disabled_reason,
        "gate": {
            "state": _gate_state(gate),
            "failures_in_a_row": gate.failures if gate else 0,
            "failing_since": gate.failing_since if gate else None,
            "closed_at": gate.closed_at if gate else None,
            "next_probe_at": gate.probe_at if gate else None,
        },
        "basic": webhook.secrets_ciphertext is not None,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
        "contract": contract_of(webhook).model_dump(mode="json"),
    }
