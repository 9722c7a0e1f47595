"""What `webhook create` and `webhook update` take of secrets: where each is read from, so that no process list shows
one, and how they become a webhook's fields."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import Authorization, Basic, Bearer, ClientCredentials, TokenRequest
from dispatcher.signing.keys import KeyKind, SigningKey, check_signing_key, generate_signing_key
from dispatcher.signing.schemes import Digest, Encoding
from dispatcher.webhooks.fields import WebhookFields

_FROM = "the file's first line; `-`: standard input, a line for each secret, or asked for at a terminal"


def _secret(option: str, what: str) -> Any:
    return typer.Option(option, metavar="FILE", help=f"Where {what} is read from: {_FROM}.")


BasicUsername = Annotated[
    str | None, typer.Option("--basic-username", help="HTTP Basic user; the password is asked for unless said where.")
]
BasicPassword = Annotated[str | None, _secret("--basic-password-from", "the HTTP Basic password")]
BearerToken = Annotated[str | None, _secret("--bearer-from", "a bearer token")]
TokenEndpoint = Annotated[
    str | None, typer.Option("--token-endpoint", help="Fetch OAuth2 tokens here (client credentials).")
]
ClientId = Annotated[str | None, typer.Option("--client-id", help="The client's id at the token endpoint.")]
ClientSecret = Annotated[str | None, _secret("--client-secret-from", "the client's secret")]
Scope = Annotated[str | None, typer.Option("--token-scope", help="The scope that tokens are asked for.")]
TokenRequestOption = Annotated[
    TokenRequest | None,
    typer.Option("--token-request", help="How id and secret are sent: as HTTP Basic or in the form. Default: basic."),
]
HeadersFrom = Annotated[
    str | None,
    typer.Option("--headers-from", metavar="FILE", help="Headers for each callback, `Name: value` a line."),
]


class Signing(StrEnum):
    """How a new webhook's callbacks are signed by Standard Webhooks."""

    HMAC = "hmac"
    ED25519 = "ed25519"
    NONE = "none"


SigningOption = Annotated[
    Signing | None, typer.Option("--signing", help="The signing key that is made. Default: hmac; none: not signed.")
]
SigningKeyFrom = Annotated[
    str | None, _secret("--signing-key-from", "a signing key (whsec_ or whsk_) that the receiver has already")
]
BodySignature = Annotated[
    str | None,
    typer.Option(
        "--body-signature",
        metavar="HEADER[,DIGEST][,ENCODING][,prefix=TEXT]",
        help="An HMAC over the body in this header, for receivers built for another sender: sha256, sha512 or sha1; "
        "hex or base64. Default: sha256,hex.",
    ),
]
BodySecret = Annotated[str | None, _secret("--body-secret-from", "the body signature's secret")]
NonceSignature = Annotated[
    str | None,
    typer.Option(
        "--nonce-signature",
        metavar="HEADER",
        help="An HMAC over body, nonce and time in this header; HEADER-nonce and the like carry the rest.",
    ),
]
NonceSecret = Annotated[str | None, _secret("--nonce-secret-from", "the nonce signature's secret")]


def read_secret(place: str | None, what: str, option: str) -> str:
    """The secret at the place that `option` named; asked for at a terminal where it named none."""
    if place is not None and place != "-":
        return _first_line(_text_of(place, option))
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=True, err=True))
    if place is None:
        raise typer.BadParameter(f"there is no terminal to ask for the {what}: say with {option} where it is")
    line = _from_input(sys.stdin.readline, option)
    if not line:
        raise typer.BadParameter(f"standard input has no line for the {what}")
    return _first_line(line)


def _text_of(place: str, option: str) -> str:
    try:
        return Path(place).read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint=option) from None
    except UnicodeDecodeError:
        raise typer.BadParameter("must be UTF-8 text", param_hint=option) from None


def _from_input(read: Callable[[], str], option: str) -> str:
    try:
        return read()
    except UnicodeDecodeError:
        raise typer.BadParameter("must be UTF-8 text", param_hint=option) from None


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip("\r")


def read_authorization(
    *,
    basic_username: str | None,
    basic_password: str | None,
    bearer: str | None,
    endpoint: str | None,
    client_id: str | None,
    client_secret: str | None,
    scope: str | None,
    token_request: TokenRequest | None,
) -> Authorization | None:
    """What the options say; None where they say nothing."""
    chosen = [option for option in (basic_username, bearer, endpoint) if option is not None]
    if len(chosen) > 1:
        raise typer.BadParameter("--basic-username, --bearer-from and --token-endpoint exclude each other")
    if basic_username is None and basic_password is not None:
        raise typer.BadParameter("--basic-password-from needs --basic-username")
    if endpoint is None and any(option is not None for option in (client_id, client_secret, scope, token_request)):
        raise typer.BadParameter("the options of an OAuth2 client need --token-endpoint")
    if basic_username is not None:
        return Basic(basic_username, read_secret(basic_password, "HTTP Basic password", "--basic-password-from"))
    if bearer is not None:
        return Bearer(read_secret(bearer, "bearer token", "--bearer-from"))
    if endpoint is not None:
        if client_id is None:
            raise typer.BadParameter("--token-endpoint needs --client-id")
        secret = read_secret(client_secret, "client secret", "--client-secret-from")
        return ClientCredentials(
            endpoint, client_id, secret, scope=scope, token_request=token_request or TokenRequest.BASIC
        )
    return None


def read_headers(place: str) -> dict[str, str]:
    """The headers in a file, or on standard input to its end."""
    option = "--headers-from"
    text = _from_input(sys.stdin.read, option) if place == "-" else _text_of(place, option)
    headers: dict[str, str] = {}
    # Other line ends than these (some of Unicode) would be a part of a value, and are refused there.
    for line in filter(str.strip, text.split("\n")):
        name, colon, value = line.partition(":")
        if not colon:
            raise typer.BadParameter("must have a `Name: value` in each line", param_hint=option)
        if name in headers:
            raise InvalidWebhook("headers", "hold a name twice")
        headers[name] = value.strip()
    return headers


def new_signing_keys(signing: Signing | None, key_from: str | None) -> WebhookFields:
    """The keys that a new webhook signs with, where they are not the usual one."""
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
    """The key that takes over in a rotation."""
    if key_from is not None:
        return check_signing_key(read_secret(key_from, "signing key", "--signing-key-from"))
    return generate_signing_key(kind)


def body_signature(text: str) -> dict[str, Any]:
    """The member of the contract."""
    header, *words = text.split(",")
    signature: dict[str, Any] = {"header": header}
    for word in words:
        if word in set(Digest):
            signature["digest"] = word
        elif word in set(Encoding):
            signature["encoding"] = word
        elif word.startswith("prefix="):
            signature["prefix"] = word.removeprefix("prefix=")
        else:
            raise typer.BadParameter(
                "must look like X-Signature,sha256,hex or X-Hub-Signature,sha1,prefix=sha1=",
                param_hint="--body-signature",
            )
    return signature


def read_signature_secrets(
    *,
    body_signature: str | None,
    body_secret: str | None,
    nonce_signature: str | None,
    nonce_secret: str | None,
    new: bool,
) -> WebhookFields:
    """The secrets of the two other signatures. A new webhook's are asked for; an update keeps what is not given."""
    fields: WebhookFields = {}
    if body_secret is not None or (new and body_signature is not None):
        fields["body_secret"] = read_secret(body_secret, "body signature's secret", "--body-secret-from")
    if nonce_secret is not None or (new and nonce_signature is not None):
        fields["nonce_secret"] = read_secret(nonce_secret, "nonce signature's secret", "--nonce-secret-from")
    return fields
