"""`dispatcher webhook`: registered receivers."""

import sys
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

from dispatcher.accounts import audit
from dispatcher.accounts.accounts import find_account, list_accounts
from dispatcher.accounts.audit import Action
from dispatcher.cli import secret_sources as secret
from dispatcher.cli import webhook_options as given
from dispatcher.cli.actor import this_user
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line, print_table
from dispatcher.cli.webhook_output import circuit_state, print_webhook, webhook_document
from dispatcher.signing.keys import KeyKind
from dispatcher.webhooks.fields import WebhookFields
from dispatcher.webhooks.registration import change, register, remove, rotate_signing_key
from dispatcher.webhooks.store import Webhooks

app = typer.Typer(help="Webhooks: registered receivers.", no_args_is_help=True)

Identifier = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook's id.")]
Owner = Annotated[str | None, typer.Option("--account", help="Only if it is this account's.")]

_KEY_SHOWN = (
    "Give the signing key to whoever runs the receiver (of an ed25519 key only the public part): with it they check "
    "that a callback is ours. `dispatcher webhook show ID --reveal` shows it again."
)


@app.command(
    epilog="Example: dispatcher webhook create --account acme --url https://example.com/hook --type message "
    "--contact ops@example.com --rule 429=temporary,honour-retry-after --rule 410=rejected,disable"
)
def create(
    *,
    context: typer.Context,
    account: Annotated[str, typer.Option(help="The account whose events it gets.")],
    url: given.Url,
    types: given.Types,
    name: given.Name = None,
    app_: given.App = None,
    contact: given.Contact = None,
    method: given.MethodOption = None,
    envelope: given.EnvelopeOption = None,
    member: given.Members = None,
    schedule: given.Schedule = None,
    user_agent: given.UserAgent = None,
    timeout: given.Timeout = None,
    basic_username: secret.BasicUsername = None,
    basic_password_from: secret.BasicPassword = None,
    bearer_from: secret.BearerToken = None,
    token_endpoint: secret.TokenEndpoint = None,
    client_id: secret.ClientId = None,
    client_secret_from: secret.ClientSecret = None,
    token_scope: secret.Scope = None,
    token_request: secret.TokenRequestOption = None,
    headers_from: secret.HeadersFrom = None,
    signing: secret.SigningOption = None,
    signing_key_from: secret.SigningKeyFrom = None,
    body_signature: secret.BodySignature = None,
    body_secret_from: secret.BodySecret = None,
    nonce_signature: secret.NonceSignature = None,
    nonce_secret_from: secret.NonceSecret = None,
    rule: given.Rules = None,
    batch_size: given.BatchSize = None,
    retry_alone: given.RetryAlone = None,
    rate_limit: given.RateLimit = None,
    circuit_breaker: given.CircuitBreakerOption = None,
    https_only: given.HttpsOnly = None,
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
            members=member,
            schedule=schedule,
            user_agent=user_agent,
            timeout=timeout,
            rules=rule,
            batch_size=batch_size,
            retry_alone=retry_alone,
            rate_limit=rate_limit,
            circuit_breaker=circuit_breaker,
            body_signature=body_signature,
            nonce_signature=nonce_signature,
            https_only=https_only,
        ),
        "headers": secret.read_headers(headers_from) if headers_from is not None else {},
    }
    fields["authorization"] = secret.read_authorization(
        basic_username=basic_username,
        basic_password=basic_password_from,
        bearer=bearer_from,
        endpoint=token_endpoint,
        client_id=client_id,
        client_secret=client_secret_from,
        scope=token_scope,
        token_request=token_request,
    )
    fields |= secret.new_signing_keys(signing, signing_key_from)
    fields |= secret.read_signature_secrets(
        body_signature=body_signature,
        body_secret=body_secret_from,
        nonce_signature=nonce_signature,
        nonce_secret=nonce_secret_from,
        new=True,
    )
    made = register(installation_of(context), account, by=this_user(), enabled=not disabled, **fields)
    print_webhook(made, json=json, keys=True)
    if "signing_keys" not in fields or fields["signing_keys"]:
        print_line(_KEY_SHOWN, stderr=True)


@app.command("list")
def list_(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only this account's webhooks.")] = None,
    json: AsJson = False,
) -> None:
    """List webhooks; URLs are masked."""
    with installation_of(context).transaction() as session:
        owners = [find_account(session, account)] if account is not None else list_accounts(session)
        webhooks = Webhooks(session, installation_of(context))
        listed = [(webhook, owner) for owner in owners for webhook in webhooks.list(owner)]
        breakers = webhooks.circuit_breakers(webhook for webhook, _ in listed)
        found = [webhooks.opened(webhook, owner, breakers.get(webhook.id)) for webhook, owner in listed]
    if json:
        print_json([webhook_document(each) for each in found])
        return
    print_table(
        ["id", "account", "app", "name", "URL", "types", "enabled", "circuit"],
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
            )
            for each in found
        ],
    )


@app.command()
def show(
    context: typer.Context,
    identifier: Identifier,
    account: Owner = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the URL and the signing keys in clear.")] = False,
    json: AsJson = False,
) -> None:
    """Show one webhook; its URL and signing keys are masked unless --reveal says otherwise, other secrets always."""
    with installation_of(context).transaction() as session:
        found = Webhooks(session, installation_of(context)).read(account, identifier)
        if reveal:
            owner = found.owner.id
            audit.write(session, this_user(), Action.WEBHOOK_SECRETS_SHOWN, identifier, account=owner, detail={})
    print_webhook(found, url=reveal, keys=reveal, json=json)


@app.command(epilog="Example: dispatcher webhook update 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00 --timeout 10 --clear app")
def update(
    *,
    context: typer.Context,
    identifier: Identifier,
    account: Owner = None,
    url: Annotated[str | None, given.Url.__metadata__[0]] = None,
    types: Annotated[list[str] | None, given.Types.__metadata__[0]] = None,
    name: given.Name = None,
    app_: given.App = None,
    contact: given.Contact = None,
    method: given.MethodOption = None,
    envelope: given.EnvelopeOption = None,
    member: given.Members = None,
    schedule: given.Schedule = None,
    user_agent: given.UserAgent = None,
    timeout: given.Timeout = None,
    basic_username: secret.BasicUsername = None,
    basic_password_from: secret.BasicPassword = None,
    bearer_from: secret.BearerToken = None,
    token_endpoint: secret.TokenEndpoint = None,
    client_id: secret.ClientId = None,
    client_secret_from: secret.ClientSecret = None,
    token_scope: secret.Scope = None,
    token_request: secret.TokenRequestOption = None,
    headers_from: secret.HeadersFrom = None,
    body_signature: secret.BodySignature = None,
    body_secret_from: secret.BodySecret = None,
    nonce_signature: secret.NonceSignature = None,
    nonce_secret_from: secret.NonceSecret = None,
    rule: given.Rules = None,
    batch_size: given.BatchSize = None,
    retry_alone: given.RetryAlone = None,
    rate_limit: given.RateLimit = None,
    circuit_breaker: given.CircuitBreakerOption = None,
    https_only: given.HttpsOnly = None,
    clear: Annotated[
        list[given.Clearable] | None, typer.Option(help="Take this away; several times for several.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Change what is given; --rule and --type replace all rules and types. Waiting deliveries use the new state."""
    fields, reset = given.cleared(clear or [])
    changed: dict[str, object] = {
        "url": url,
        "event_types": types,
        "name": name,
        "app": app_,
        "contact_email": contact,
        "headers": secret.read_headers(headers_from) if headers_from is not None else None,
    }
    changed["authorization"] = secret.read_authorization(
        basic_username=basic_username,
        basic_password=basic_password_from,
        bearer=bearer_from,
        endpoint=token_endpoint,
        client_id=client_id,
        client_secret=client_secret_from,
        scope=token_scope,
        token_request=token_request,
    )
    members = given.contract_members(
        method=method,
        envelope=envelope,
        members=member,
        schedule=schedule,
        user_agent=user_agent,
        timeout=timeout,
        rules=rule,
        batch_size=batch_size,
        retry_alone=retry_alone,
        rate_limit=rate_limit,
        circuit_breaker=circuit_breaker,
        body_signature=body_signature,
        nonce_signature=nonce_signature,
        https_only=https_only,
    )
    for field, value in changed.items():
        if value is not None:
            fields[field] = value  # type: ignore[literal-required]
    fields |= secret.read_signature_secrets(
        body_signature=body_signature,
        body_secret=body_secret_from,
        nonce_signature=nonce_signature,
        nonce_secret=nonce_secret_from,
        new=False,
    )
    if members or reset:
        fields["contract_changes"] = {**dict.fromkeys(reset), **members}
    from dispatcher.dialects.rules import keep_to_dialect

    changed_one = change(installation_of(context), account, identifier, by=this_user(), rule=keep_to_dialect, **fields)
    print_webhook(changed_one, json=json)


@app.command(
    "rotate-secret",
    epilog="Example: dispatcher webhook rotate-secret 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00 --overlap 48",
)
def rotate_secret(
    *,
    context: typer.Context,
    identifier: Identifier,
    account: Owner = None,
    overlap: Annotated[
        float, typer.Option(help="Hours for which the keys before it sign as well, 0 to 720; 0: none.", min=0, max=720)
    ] = 24,
    kind: Annotated[KeyKind, typer.Option("--signing", help="The kind of the new key.")] = KeyKind.HMAC,
    signing_key_from: secret.SigningKeyFrom = None,
    json: AsJson = False,
) -> None:
    """Give it a new signing key. Until the overlap is over its callbacks carry a signature of each key, so that its
    receiver can change over at leisure."""
    new = secret.replacing_key(kind, signing_key_from)
    installation, span = installation_of(context), timedelta(hours=overlap)
    rotated = rotate_signing_key(installation, account, identifier, new, overlap=span, by=this_user())
    print_webhook(rotated, json=json, keys=True)
    print_line(_KEY_SHOWN, stderr=True)


@app.command()
def enable(context: typer.Context, identifier: Identifier, account: Owner = None, json: AsJson = False) -> None:
    """Deliver to it again; what waited meanwhile is delivered too. Closes its circuit, if that was closed."""
    print_webhook(change(installation_of(context), account, identifier, by=this_user(), enabled=True), json=json)


@app.command()
def disable(
    context: typer.Context,
    identifier: Identifier,
    account: Owner = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the webhook.")] = None,
    json: AsJson = False,
) -> None:
    """Deliver nothing to it for now. Its events still match, and wait."""
    disabled = change(installation_of(context), account, identifier, by=this_user(), enabled=False, reason=reason)
    print_webhook(disabled, json=json)


@app.command()
def delete(
    context: typer.Context,
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
    webhook = remove(installation_of(context), account, identifier, by=this_user())
    if json:
        print_json({"id": webhook.id, "deleted_at": webhook.deleted_at})
    else:
        print_line(f"webhook {webhook.id} is deleted")
