"""Secrets, and URLs that may contain one: where each is read from, so that no process list shows it, and how they
become a webhook's fields."""

import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import Basic, Bearer, ClientCredentials, TokenRequest
from dispatcher.signing.keys import KeyKind, SigningKey, check_signing_key, generate_signing_key
from dispatcher.webhooks.fields import WebhookFields

_AUTHORIZATION, _SIGNATURES = "Authorization and headers", "Signatures"

NOTE = (
    "The first line of FILE is read, for --headers-from all lines. - is standard input: a line for each, then the "
    "headers to its end. What is needed and not given is asked for at a terminal."
)


def _secret(option: str, what: str, panel: str = _AUTHORIZATION) -> Any:
    return Annotated[str | None, typer.Option(option, metavar="FILE", help=what, rich_help_panel=panel)]


def _plain(option: str, value: str, about: str) -> Any:
    return Annotated[str | None, typer.Option(option, metavar=value, help=about, rich_help_panel=_AUTHORIZATION)]


# parameter -> its annotation, in the order of the page
OPTIONS: dict[str, Any] = {
    "basic_username": _plain("--basic-username", "NAME", "HTTP Basic user"),
    "basic_password_from": _secret("--basic-password-from", "HTTP Basic password"),
    "bearer_from": _secret("--bearer-from", "A bearer token"),
    "token_endpoint": _plain("--token-endpoint", "URL", "Fetch OAuth2 tokens here, as a client"),
    "token_endpoint_from": _secret("--token-endpoint-from", "The same, hidden from process lists"),
    "client_id": _plain("--client-id", "ID", "The client's id at the token server"),
    "client_secret_from": _secret("--client-secret-from", "The client's secret"),
    "token_scope": _plain("--token-scope", "SCOPE", "The scope to ask for"),
    "token_request": Annotated[
        TokenRequest | None,
        typer.Option(help="How id and secret are sent", show_default="basic", rich_help_panel=_AUTHORIZATION),
    ],
    "headers_from": _secret("--headers-from", "More headers, `Name: value` a line"),
    "body_secret_from": _secret("--body-secret-from", "Secret of the body signature", _SIGNATURES),
    "nonce_secret_from": _secret("--nonce-secret-from", "Secret of the nonce signature", _SIGNATURES),
}

# field -> the option that gave it, for messages
FIELDS = {
    "basic.username": "--basic-username",
    "basic.password": "--basic-password-from",
    "bearer.token": "--bearer-from",
    "client_credentials.endpoint": "--token-endpoint",
    "client_credentials.client_id": "--client-id",
    "client_credentials.client_secret": "--client-secret-from",
    "client_credentials.scope": "--token-scope",
    "headers": "headers (--headers-from)",
    "body_secret": "--body-secret-from",
    "nonce_secret": "--nonce-secret-from",
}


class Signing(StrEnum):
    """How a new webhook's callbacks are signed by Standard Webhooks."""

    HMAC = "hmac"
    ED25519 = "ed25519"
    NONE = "none"


SigningOption = Annotated[
    Signing | None,
    typer.Option("--signing", help="The signing key that is made", show_default="hmac", rich_help_panel=_SIGNATURES),
]
SigningKeyFrom = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A signing key that the receiver already has", rich_help_panel=_SIGNATURES),
]


def read_secret(place: str | None, what: str, option: str, *, hidden: bool = True) -> str:
    """The secret from the place that `option` names. If it names none, it is asked for at a terminal."""
    if place is not None and place != "-":
        return _first_line(_text_of(place, option))
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=hidden, err=True))
    if place is None:
        raise typer.BadParameter(f"is needed: there is no terminal to ask for the {what}", param_hint=option)
    line = _from_input(sys.stdin.readline, option)
    if not line:
        raise typer.BadParameter(f"finds no line for the {what} on standard input", param_hint=option)
    return _first_line(line)


def read_url(given: Mapping[str, Any], name: str, what: str, *, wanted: bool) -> str | None:
    """The URL that was given directly or at a place. If it is `wanted` and was not given, it is asked for."""
    plain, place = given.get(name), given.get(f"{name}_from")
    option = f"--{name.replace('_', '-')}"
    if plain is not None and place is not None:
        raise typer.BadParameter(f"and {option}-from exclude each other", param_hint=option)
    if plain is None and (place is not None or wanted):
        # Shown while it is typed: a URL is long, and only a part of it is secret.
        return read_secret(place, what, f"{option}-from", hidden=False)
    return plain


def _text_of(place: str, option: str) -> str:
    try:
        return Path(place).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise typer.BadParameter("must be UTF-8 text", param_hint=option) from None
        reason = getattr(error, "strerror", None) or "not a file name"
        raise typer.BadParameter(f"cannot be read: {reason}", param_hint=option) from None


def _from_input(read: Callable[[], str], option: str) -> str:
    try:
        return read()
    except UnicodeDecodeError:
        raise typer.BadParameter("must be UTF-8 text", param_hint=option) from None


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip("\r")


def read_authorization(given: Mapping[str, Any]) -> WebhookFields:
    """The authorization that the options give, if any."""
    username, bearer = given.get("basic_username"), given.get("bearer_from")
    by_token = "token_endpoint" in given or "token_endpoint_from" in given
    if [username is not None, bearer is not None, by_token].count(True) > 1:
        raise typer.BadParameter("--basic-username, --bearer-from and --token-endpoint exclude each other")
    if username is None and "basic_password_from" in given:
        raise typer.BadParameter("--basic-password-from needs --basic-username")
    if not by_token and given.keys() & {"client_id", "client_secret_from", "token_scope", "token_request"}:
        raise typer.BadParameter("the options of an OAuth2 client need --token-endpoint")
    if username is not None:
        password = read_secret(given.get("basic_password_from"), "HTTP Basic password", "--basic-password-from")
        return {"authorization": Basic(username, password)}
    if bearer is not None:
        return {"authorization": Bearer(read_secret(bearer, "bearer token", "--bearer-from"))}
    return {"authorization": _client(given)} if by_token else {}


def _client(given: Mapping[str, Any]) -> ClientCredentials:
    if "client_id" not in given:
        raise typer.BadParameter("--token-endpoint needs --client-id")
    endpoint = read_url(given, "token_endpoint", "URL of the token server", wanted=False)
    assert endpoint is not None
    return ClientCredentials(
        endpoint,
        given["client_id"],
        read_secret(given.get("client_secret_from"), "client secret", "--client-secret-from"),
        scope=given.get("token_scope"),
        token_request=given.get("token_request", TokenRequest.BASIC),
    )


def read_headers(given: Mapping[str, Any]) -> WebhookFields:
    """The headers in a file, or on standard input to its end."""
    place, option = given.get("headers_from"), "--headers-from"
    if place is None:
        return {}
    text = _from_input(sys.stdin.read, option) if place == "-" else _text_of(place, option)
    headers: dict[str, str] = {}
    # Other line ends (Unicode has some) are a part of a value, and are refused there.
    for line in filter(str.strip, text.split("\n")):
        name, colon, value = line.partition(":")
        if not colon:
            raise typer.BadParameter("must have a `Name: value` in each line", param_hint=option)
        if name in headers:
            raise InvalidWebhook("headers", "contain a name twice")
        headers[name] = value.strip()
    return {"headers": headers}


def new_signing_keys(signing: Signing | None, key_from: str | None) -> WebhookFields:
    """The signing keys of a new webhook, if they differ from the default."""
    if key_from is not None:
        if signing is not None:
            raise typer.BadParameter("--signing and --signing-key-from exclude each other")
        return {"signing_keys": [check_signing_key(read_secret(key_from, "signing key", "--signing-key-from"))]}
    match signing:
        case None | Signing.HMAC:
            return {}
        case Signing.ED25519:
            return {"signing_keys": [generate_signing_key(KeyKind.ED25519)]}
        case Signing.NONE:
            return {"signing_keys": []}


def replacing_key(kind: KeyKind, key_from: str | None) -> SigningKey:
    """The new key of a rotation."""
    if key_from is not None:
        return check_signing_key(read_secret(key_from, "signing key", "--signing-key-from"))
    return generate_signing_key(kind)


def read_signature_secrets(given: Mapping[str, Any], *, new: bool) -> WebhookFields:
    """The secrets of the two other signatures. For a new webhook, missing ones are asked for; an update keeps them."""
    fields: WebhookFields = {}
    if "body_secret_from" in given or (new and "body_signature" in given):
        place = given.get("body_secret_from")
        fields["body_secret"] = read_secret(place, "body signature's secret", "--body-secret-from")
    if "nonce_secret_from" in given or (new and "nonce_signature" in given):
        place = given.get("nonce_secret_from")
        fields["nonce_secret"] = read_secret(place, "nonce signature's secret", "--nonce-secret-from")
    return fields
