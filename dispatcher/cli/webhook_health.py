"""`dispatcher webhook health`: the health of a webhook."""

import typer

from dispatcher.accounts.owners import owner_of_webhook
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, at_least, print_fields, print_json
from dispatcher.cli.shared_options import AnyAccount, WebhookName
from dispatcher.webhooks.health import COUNTED, health_of, shown_circuit
from dispatcher.webhooks.store import Webhooks

app = Commands()


@app.command()
def health(context: typer.Context, webhook: WebhookName, account: AnyAccount = None, json: AsJson = False) -> None:
    """Show the health of a webhook.

    Deliveries of the last 24 hours by state, all open ones, the last answer, and what has been due longest. Of a
    deleted webhook (by its id) the open ones are what is left to discard.
    """
    identifier = webhook_id(installation_of(context), webhook, account)
    with installation_of(context).transaction() as session:
        owner = account_of(session, account) if account is not None else owner_of_webhook(session, identifier)
        webhooks = Webhooks(session, installation_of(context))
        row = webhooks.get(owner, identifier, deleted=True)
        found, unreadable = health_of(session, row), webhooks.opened(row, owner, None).unreadable
    answer, due, circuit = found.last_answer, found.oldest_due, shown_circuit(found.circuit_breaker)
    document = {
        "enabled": row.enabled,
        "deleted_at": row.deleted_at,
        "quarantined_at": row.quarantined_at,
        "quarantined_reason": row.quarantined_reason,
        "unreadable": unreadable,
        "circuit": circuit["state"],
        "failing_since": circuit["failing_since"],
        "next_trial_at": circuit["next_trial_at"],
        "deliveries": dict(found.counts),
        "deliveries_complete": found.complete,
        "open": found.open.count,
        "open_complete": found.open.complete,
        "last_answer": (answer.status or answer.failure) if answer else None,
        "last_answer_at": answer.at if answer else None,
        "last_answer_after": answer.duration if answer else None,
        "due_since": due.due_at if due else None,
        "due_delivery": due.delivery_id if due else None,
    }
    if json:
        print_json(document)
        return
    counts = [f"{count} {state}" for state, count in found.counts.items() if count]
    document["deliveries"] = counts if found.complete else [*counts, f"(of the newest {COUNTED:,})"]
    document["open"] = at_least(found.open.count, complete=found.open.complete)
    del document["deliveries_complete"], document["open_complete"]
    for name in ("deleted_at", "quarantined_at", "quarantined_reason", "unreadable"):
        if document[name] is None:
            del document[name]
    print_fields({name.replace("_", " "): value for name, value in document.items()})
