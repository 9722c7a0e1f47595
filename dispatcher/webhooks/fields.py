"""The fields of a webhook, and the checks of each field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict
from urllib.parse import urlsplit

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.egress.contact_addresses import refused_contact
from dispatcher.egress.urls import normalise_url
from dispatcher.errors import AddressRefused, InvalidWebhook
from dispatcher.event_types import ALL, RULE, is_event_type
from dispatcher.masking.urls import mask_url
from dispatcher.receiver_auth.credentials import (
    MAX_HEADER_VALUES,
    MAX_SECRET,
    Authorization,
    ClientCredentials,
    check_authorization,
    check_headers,
)
from dispatcher.signing.keys import SigningKey, check_signing_key
from dispatcher.signing.schemes import NONCE_HEADERS
from dispatcher.transport.told import told_refusal
from dispatcher.webhooks.contract import MAX_RULES, DeliveryContract, read_contract, read_stored_contract
from dispatcher.webhooks.secrets import WebhookSecrets

MAX_EVENT_TYPES = 100
MAX_TEXT = 255


class WebhookFields(TypedDict, total=False):
    """The fields of a webhook; in a change, only what is given changes."""

    url: str
    event_types: Sequence[str]  # types, prefixes of whole parts, or `*`
    name: str | None  # unique in its account, if given
    app: str | None
    contact_email: str | None
    contract: DeliveryContract | Mapping[str, Any]  # the whole contract, read or as JSON
    contract_changes: Mapping[str, Any]  # in a change, instead of it: members that change; None: the default again
    authorization: Authorization | None
    headers: Mapping[str, str]  # sent with each callback
    signing_keys: Sequence[SigningKey]  # none: not signed by Standard Webhooks
    body_secret: str | None  # of the contract's body_signature
    nonce_secret: str | None  # of its nonce_signature
    dialect_fields: dict[str, Any]  # what only its dialect has


SECRETS = ("authorization", "headers", "signing_keys", "body_secret", "nonce_secret")


class Kept(Protocol):
    """What a change needs to know about the stored webhook."""

    @property
    def url_masked(self) -> str: ...
    @property
    def contact_email(self) -> str | None: ...
    @property
    def contract_document(self) -> Mapping[str, Any]: ...
    @property
    def contract(self) -> DeliveryContract: ...
    @property
    def secrets(self) -> WebhookSecrets: ...


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL as it was given, as it is called, and as it may be shown."""

    given: str = field(repr=False)
    called: str = field(repr=False)
    masked: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What is to be written to a webhook. None: no change; a new webhook has everything."""

    given: frozenset[str]  # names of the fields
    plain: Mapping[str, Any]  # the fields that are stored in the form they have
    url: CheckedUrl | None
    contract: DeliveryContract | None
    secrets: WebhookSecrets | None
    changed_secrets: frozenset[str]  # names of the secrets that changed


def check(
    fields: WebhookFields, addresses: AddressPolicy, *, dialect: str | None = None, kept: Kept | None = None
) -> Checked:
    """Checks the fields of a new webhook, or of a change to the stored one (`kept`). `dialect`: what it was, or will
    be, made through. Raises InvalidWebhook naming the field."""
    if kept is None:
        for required in ("url", "event_types"):
            if required not in fields:
                raise InvalidWebhook(required, "is required")
    plain: dict[str, Any] = {}
    url = _checked_url(fields["url"], addresses) if "url" in fields else None
    if "event_types" in fields:
        # A dialect can have webhooks without event types.
        plain["event_types"] = check_event_types(fields["event_types"], minimum=0 if dialect else 1)
    if "name" in fields:
        plain["name"] = check_text("name", fields["name"])
    if "app" in fields:
        plain["app"] = check_text("app", fields["app"])
    if "contact_email" in fields:
        given = fields["contact_email"]
        # One that was stored under the rules of an older version stays as long as nobody changes it.
        is_kept = kept is not None and given == kept.contact_email
        plain["contact_email"] = given if is_kept else check_email(given, addresses)
    contract = _given_contract(fields, kept)
    _check_rules(contract, kept)
    if "dialect_fields" in fields:
        plain["dialect_fields"] = fields["dialect_fields"]
    in_force, shown_url = contract, url.masked if url is not None else ""
    has_secrets = contract is not None or any(name in fields for name in SECRETS)
    if kept is not None:
        shown_url = shown_url or kept.url_masked
        in_force = contract or (kept.contract if url is not None or has_secrets else None)
    if (
        in_force is not None
        and (url is not None or contract is not None)
        and in_force.https_only
        and not shown_url.lower().startswith("https:")
    ):
        raise InvalidWebhook("url", "must begin with https://, because the contract says https_only")
    secrets, changed = None, frozenset[str]()
    if in_force is not None and has_secrets:
        before = kept.secrets if kept is not None else WebhookSecrets()
        secrets = changed_secrets(before, fields, in_force)
        if isinstance(secrets.authorization, ClientCredentials):
            endpoint = secrets.authorization.endpoint
            _check_origin("client_credentials.endpoint", endpoint, addresses, https_only=in_force.https_only)
        changed = frozenset(name for name in SECRETS if getattr(before, name) != getattr(secrets, name))
    return Checked(frozenset(fields), plain, url, contract, secrets, changed)


def _checked_url(given: str, addresses: AddressPolicy) -> CheckedUrl:
    called = normalise_url(given)
    _check_origin("url", called, addresses)
    return CheckedUrl(given, called, mask_url(given))


def _given_contract(fields: WebhookFields, kept: Kept | None) -> DeliveryContract | None:
    if kept is not None and "contract_changes" in fields:
        # Callers have checked the names of the members that change.
        merged = {**kept.contract_document, **fields["contract_changes"]}
        return read_stored_contract({member: value for member, value in merged.items() if value is not None})
    if kept is not None and "contract" not in fields:
        return None
    given = fields.get("contract", {})
    return given if isinstance(given, DeliveryContract) else read_contract(given)


def _check_rules(contract: DeliveryContract | None, kept: Kept | None) -> None:
    """More that an older version stored stay as long as nobody changes them."""
    if contract is None or len(contract.rules) <= MAX_RULES:
        return
    if kept is None or contract.rules != kept.contract.rules:
        raise InvalidWebhook("contract.rules", f"may be {MAX_RULES} at most")


def _check_origin(field_name: str, url: str, addresses: AddressPolicy, *, https_only: bool = False) -> None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    reason = addresses.refused_origin(parts.scheme, parts.hostname or "", port, https_only=https_only)
    if reason is not None:
        raise AddressRefused(field_name, told_refusal(reason), f"may not be called: {reason}")


def check_event_types(names: Sequence[str], *, minimum: int) -> list[str]:
    if isinstance(names, str) or not minimum <= len(names) <= MAX_EVENT_TYPES:
        raise InvalidWebhook("event_types", f"must be a list of {minimum} to {MAX_EVENT_TYPES} event types or prefixes")
    for name in names:
        if name != ALL and not is_event_type(name):
            raise InvalidWebhook("event_types", f"{RULE}, or `{ALL}` for all; a prefix takes all below it")
    return list(dict.fromkeys(names))


def check_text(field: str, value: str | None) -> str | None:
    if value is not None and (not 1 <= len(value) <= MAX_TEXT or not value.isprintable()):
        raise InvalidWebhook(field, f"must have 1 to {MAX_TEXT} printable characters")
    return value


def check_email(value: str | None, addresses: AddressPolicy) -> str | None:
    refused = refused_contact(value, addresses.contact_domains) if value is not None else None
    if refused is not None:
        raise InvalidWebhook("contact_email", refused)
    return value


def changed_secrets(kept: WebhookSecrets, fields: WebhookFields, contract: DeliveryContract) -> WebhookSecrets:
    """The stored secrets with the given ones, and without those that the contract does not use."""
    changed = replace(kept, **{name: fields[name] for name in SECRETS if name in fields})  # type: ignore[literal-required]
    changed = replace(
        changed,
        body_secret=_signature_secret("body", contract.body_signature, changed.body_secret),
        nonce_secret=_signature_secret("nonce", contract.nonce_signature, changed.nonce_secret),
    )
    headers = check_headers(changed.headers)
    if headers != kept.headers and sum(map(len, headers.values())) > MAX_HEADER_VALUES:
        raise InvalidWebhook("headers", f"may have {MAX_HEADER_VALUES} characters of values at most")
    signed = [contract.body_signature.header] if contract.body_signature else []
    if contract.nonce_signature:
        signed += [contract.nonce_signature.header + ending for ending in ("", *NONCE_HEADERS)]
    if taken := {name.lower() for name in signed} & {name.lower() for name in headers}:
        raise InvalidWebhook("headers", f"contain {min(taken)}, which carries a signature")
    return replace(
        changed,
        authorization=check_authorization(changed.authorization) if changed.authorization else None,
        headers=headers,
        signing_keys=tuple(replace(check_signing_key(key.secret), until=key.until) for key in changed.signing_keys),
    )


def _signature_secret(name: str, signature: object, secret: str | None) -> str | None:
    if signature is None:
        return None
    if secret is None:
        raise InvalidWebhook(f"{name}_secret", f"is required for a {name}_signature")
    if not 1 <= len(secret) <= MAX_SECRET or not secret.isprintable():
        raise InvalidWebhook(f"{name}_secret", f"must have 1 to {MAX_SECRET} printable characters")
    return secret
