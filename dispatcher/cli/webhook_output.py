"""A webhook as commands print it. Its URL and secrets are masked unless they are asked for."""

from typing import Any

from dispatcher.cli.output import print_fields, print_json, print_line
from dispatcher.webhooks.contract_texts import show_rule, show_signature
from dispatcher.webhooks.health import shown_circuit
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.secrets import WebhookSecrets, shown_secrets

_EXCEPTIONAL = ("quarantined_at", "quarantined_reason", "unreadable")  # printed only where there is one


def print_webhook(registered: Registered, *, json: bool, url: bool = False, keys: bool = False) -> None:
    """Prints a webhook; with `url` and `keys` its URL and signing keys in clear."""
    document = webhook_document(registered, url=url, keys=keys)
    if json:
        print_json(document)
        return
    options = document.pop("contract") or {}
    document |= {f"circuit {name}": value for name, value in document.pop("circuit").items() if value is not None}
    if registered.unreadable is None:
        contract = registered.contract
        options["has circuit breaker"] = options.pop("circuit_breaker")
        options["members"] = [f"{name}={holds}" for name, holds in contract.members]
        options["rules"] = [show_rule(code, rule) for code, rule in sorted(contract.rules.items())]
        options["body_signature"] = show_signature(contract.body_signature)
        options["nonce_signature"] = contract.nonce_signature and contract.nonce_signature.header
    for name in _EXCEPTIONAL:
        if document[name] is None:
            del document[name]
    authorization = document["authorization"] or {}
    document["authorization"] = [f"{name} {value}" for name, value in authorization.items() if value is not None]
    document["headers"] = [f"{name}: {value}" for name, value in document["headers"].items()]
    document["signing_keys"] = [_line(key) for key in document["signing_keys"]]
    print_fields({name.replace("_", " "): value for name, value in {**document, **options}.items()})


def print_summary(registered: Registered, *, keys: bool = False) -> None:
    """Prints what identifies a webhook and whether it is in use; with `keys` its signing keys in clear."""
    document = webhook_document(registered, keys=keys)
    fields = {
        "id": document["id"],
        "account": document["account"],
        "app": document["app"],
        "name": document["name"],
        "URL": document["url"],
        "types": document["event_types"],
        "enabled": document["enabled"],
        "disabled reason": document["disabled_reason"],
        "quarantined at": document["quarantined_at"],
        "quarantined reason": document["quarantined_reason"],
        "unreadable": document["unreadable"],
        "signing keys": [_line(key) for key in document["signing_keys"]] if keys else None,
    }
    print_fields({name: value for name, value in fields.items() if value not in (None, [])})
    print_line(f"To see all of it: `dispatcher webhook show {document['id']}`", stderr=True)


def webhook_document(registered: Registered, *, url: bool = False, keys: bool = False) -> dict[str, Any]:
    """What `--json` prints."""
    webhook, unreadable = registered.webhook, registered.unreadable
    secrets = registered.secrets if unreadable is None else WebhookSecrets()
    return {
        "id": webhook.id,
        "number": webhook.number,
        "account": registered.owner.name,
        "app": webhook.app,
        "name": webhook.name,
        "url": registered.url if url else webhook.url_masked,
        "event_types": webhook.event_types,
        "contact": webhook.contact_email,
        "enabled": webhook.enabled,
        "disabled_at": webhook.disabled_at,
        "disabled_by": webhook.disabled_by,
        "disabled_reason": webhook.disabled_reason,
        "circuit": shown_circuit(registered.circuit_breaker),
        "quarantined_at": webhook.quarantined_at,
        "quarantined_reason": webhook.quarantined_reason,
        "unreadable": unreadable,
        **shown_secrets(secrets, keys=keys),
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
        "contract": registered.contract.model_dump(mode="json") if unreadable is None else None,
    }


def _line(key: dict[str, Any]) -> str:
    words = [key["kind"], key["secret"]]
    if key["public_key"]:
        words.append(f"(public: {key['public_key']})")
    if key["until"]:
        words.append(f"until {key['until']:%Y-%m-%d %H:%M:%SZ}")
    return " ".join(words)
