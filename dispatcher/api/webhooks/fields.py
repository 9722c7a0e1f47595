"""Converts request bodies to a webhook's fields, and errors about fields to the names that the bodies use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from pydantic import SecretStr

from dispatcher.accounts.api_keys import Caller
from dispatcher.api.webhooks.bodies import (
    AuthorizationBody,
    BasicBody,
    BearerBody,
    ClientCredentialsBody,
    NewWebhook,
    Rotation,
    WebhookChanges,
)
from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import Authorization, Basic, Bearer, ClientCredentials
from dispatcher.signing.keys import KeyKind, SigningKey, check_signing_key, generate_signing_key
from dispatcher.web.problems import invalid
from dispatcher.webhooks.fields import WebhookFields


def fields_of_new(body: NewWebhook) -> WebhookFields:
    """The fields of a new webhook. Raises InvalidWebhook for an invalid signing key."""
    return {**_plain_fields(body), "contract": body.contract, "signing_keys": _signing_keys(body)}


def fields_of_changes(body: WebhookChanges) -> WebhookFields:
    """The fields that the given members change, without `enabled`."""
    fields = _plain_fields(body)
    given: WebhookFields = {name: value for name, value in fields.items() if name in body.model_fields_set}  # type: ignore[assignment]
    if "contract" in body.model_fields_set:
        if body.contract is None:
            given["contract"] = {}
        else:
            given["contract_changes"] = body.contract.model_dump(mode="json", exclude_unset=True)
    if "signing" in body.model_fields_set:
        given["signing_keys"] = []
    return given


def key_of_rotation(body: Rotation) -> SigningKey:
    """The new signing key. Raises InvalidWebhook if the given one is invalid."""
    if body.signing_key is not None:
        return _given_key(body.signing_key, made="kind" in body.model_fields_set)
    return generate_signing_key(body.kind)


@contextmanager
def fields_as_given(caller: Caller) -> Iterator[None]:
    """Reports fields that are refused within the block by the names of these bodies, to operators with the exact
    reasons. Raises Problem 422."""
    try:
        yield
    except InvalidWebhook as error:
        first, dot, rest = error.field.partition(".")
        reason = error.exact_reason if caller.is_operator else error.reason
        raise invalid((_NAMES.get(first, first) + dot + rest, reason)) from None


_NAMES = {
    "basic": "authorization",
    "bearer": "authorization",
    "client_credentials": "authorization",
    "signing_keys": "signing_key",
    "overlap": "overlap_seconds",
}


def _plain_fields(body: NewWebhook | WebhookChanges) -> WebhookFields:
    """What a body has in the form of the fields, whether it is given or not."""
    return {
        "url": body.url,
        "event_types": body.event_types,
        "name": body.name,
        "app": body.app,
        "contact_email": body.contact_email,
        "authorization": _authorization(body.authorization),
        "headers": body.headers or {},
        "body_secret": _clear(body.body_secret),
        "nonce_secret": _clear(body.nonce_secret),
    }


def _signing_keys(body: NewWebhook) -> list[SigningKey]:
    if body.signing_key is not None:
        return [_given_key(body.signing_key, made="signing" in body.model_fields_set)]
    if body.signing.kind == "none":
        return []
    return [generate_signing_key(KeyKind(body.signing.kind))]


def _given_key(key: SecretStr, *, made: bool) -> SigningKey:
    if made:
        raise InvalidWebhook("signing_key", "cannot be given together with the kind of a new key")
    return check_signing_key(key.get_secret_value())


def _authorization(body: AuthorizationBody | None) -> Authorization | None:
    match body:
        case None:
            return None
        case BasicBody():
            return Basic(body.username, body.password.get_secret_value())
        case BearerBody():
            return Bearer(body.token.get_secret_value())
        case ClientCredentialsBody():
            return ClientCredentials(
                body.endpoint,
                body.client_id,
                body.client_secret.get_secret_value(),
                scope=body.scope,
                response_type=body.response_type,
                token_request=body.token_request,
            )
        case _:
            assert_never(body)


def _clear(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
