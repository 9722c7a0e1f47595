"""Outgoing authorization: the credentials that a webhook's callbacks show to their receiver."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from pydantic import TypeAdapter

from dispatcher.egress.header_names import refused_header
from dispatcher.egress.urls import normalise_url
from dispatcher.errors import InvalidWebhook
from dispatcher.masking.urls import MASK, mask_url

MAX_SECRET = 4096
MAX_CLIENT, MAX_RESPONSE_TYPE = 1024, 64  # names, ids and scopes at servers; what a few of these need
MAX_HEADERS = 20
MAX_HEADER_VALUES = 16 * 1024  # characters of all values, where they are given; stored ones can have more


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic credentials (RFC 7617, in UTF-8)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token that does not change (RFC 6750)."""

    token: str = field(repr=False)


class TokenRequest(StrEnum):
    """Where a token request carries the client's id and secret: as HTTP Basic, or in the form."""

    BASIC = "basic"
    FORM = "form"


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """OAuth2 client credentials (RFC 6749, 4.4): a token is fetched from `endpoint` and kept while it lasts."""

    endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    response_type: str | None = None  # sent if given: some servers require it
    token_request: TokenRequest = TokenRequest.BASIC
    # The endpoint as it was given, if `endpoint` is another spelling; set by `check_authorization`.
    endpoint_given: str | None = field(default=None, repr=False)

    @property
    def shown_endpoint(self) -> str:
        """The endpoint as it was given."""
        return self.endpoint_given or self.endpoint


Authorization: TypeAlias = Basic | Bearer | ClientCredentials

_KINDS: dict[str, type[Authorization]] = {"basic": Basic, "bearer": Bearer, "client_credentials": ClientCredentials}
_READERS: dict[str, TypeAdapter[Authorization]] = {kind: TypeAdapter(made) for kind, made in _KINDS.items()}


def check_authorization(given: Authorization) -> Authorization:
    """The given authorization, with its endpoint in the form that is called. Raises InvalidWebhook naming the field."""
    match given:
        case Basic(username, password):
            if not username or ":" in username:
                raise InvalidWebhook("basic.username", "must not be empty or contain a colon")
            _check_text("basic.username", username, MAX_CLIENT)
            _check_text("basic.password", password, MAX_SECRET)
            return given
        case Bearer(token):
            if not token or not all("!" <= character <= "~" for character in token):
                raise InvalidWebhook("bearer.token", "must be printable ASCII without spaces")
            _check_text("bearer.token", token, MAX_SECRET)
            return given
        case ClientCredentials():
            return _check_client(given)
        case _:
            assert_never(given)


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Checks headers of the customer's choice. Raises InvalidWebhook naming the one that is wrong."""
    if len(headers) > MAX_HEADERS:
        raise InvalidWebhook("headers", f"may be {MAX_HEADERS} at most")
    for name, value in headers.items():
        if reason := refused_header(name):
            raise InvalidWebhook("headers", f"contain a name that {reason}")
        if not value.strip() or value != value.strip() or not (value.isascii() and value.isprintable()):
            raise InvalidWebhook(f"headers.{name}", "must be printable ASCII without spaces at either end")
        if len(value) > MAX_SECRET:
            raise InvalidWebhook(f"headers.{name}", f"must have {MAX_SECRET} characters at most")
    if len({name.lower() for name in headers}) < len(headers):
        raise InvalidWebhook("headers", "contain a name twice")
    return dict(headers)


def header_value(authorization: Authorization | None) -> str | None:
    """The constant `Authorization` header; None if there is none, or if its token has to be fetched."""
    match authorization:
        case Basic():
            return basic_value(authorization)
        case Bearer(token):
            return f"Bearer {token}"
        case ClientCredentials() | None:
            return None
        case _:
            assert_never(authorization)


def basic_value(basic: Basic) -> str:
    """The `Authorization` header of HTTP Basic."""
    return f"Basic {base64.b64encode(f'{basic.username}:{basic.password}'.encode()).decode()}"


def read_authorization(document: Mapping[str, Any]) -> Authorization | None:
    """The authorization in a webhook's opened secrets; members that this version does not know are passed over. Raises
    ValidationError."""
    for kind, reader in _READERS.items():
        if kind in document:
            values = document[kind]
            if kind == "client_credentials" and isinstance(values, dict):
                values = {**values, "endpoint_given": document.get("endpoint_given")}
            return reader.validate_python(values)
    return None


def write_authorization(authorization: Authorization) -> dict[str, Any]:
    """The authorization as members of a webhook's secrets."""
    kind = next(kind for kind, make in _KINDS.items() if isinstance(authorization, make))
    members = asdict(authorization)
    given = members.pop("endpoint_given", None)
    # Beside the kind, not in it: versions that do not know this member can still read the rest.
    return {kind: members, **({"endpoint_given": given} if given is not None else {})}


def masked_authorization(authorization: Authorization) -> Authorization:
    """The authorization without its secrets."""
    match authorization:
        case Basic():
            return replace(authorization, password=MASK)
        case Bearer():
            return Bearer(MASK)
        case ClientCredentials():
            endpoint = mask_url(authorization.shown_endpoint)
            return replace(authorization, client_secret=MASK, endpoint=endpoint, endpoint_given=None)
        case _:
            assert_never(authorization)


def shown_authorization(authorization: Authorization) -> dict[str, Any]:
    """The authorization as it may be shown: without its secrets."""
    ((kind, members),) = write_authorization(masked_authorization(authorization)).items()
    return {"kind": kind, **members}


def _check_client(given: ClientCredentials) -> ClientCredentials:
    try:
        endpoint = normalise_url(given.shown_endpoint)
    except InvalidWebhook as error:
        raise InvalidWebhook("client_credentials.endpoint", error.reason) from None
    limits = {
        "client_id": MAX_CLIENT,
        "client_secret": MAX_SECRET,
        "scope": MAX_CLIENT,
        "response_type": MAX_RESPONSE_TYPE,
    }
    for name, most in limits.items():
        value = getattr(given, name)
        if value is not None:
            if not value:
                raise InvalidWebhook(f"client_credentials.{name}", "must not be empty")
            _check_text(f"client_credentials.{name}", value, most)
    spelling = given.shown_endpoint if given.shown_endpoint != endpoint else None
    return replace(given, endpoint=endpoint, endpoint_given=spelling)


def _check_text(field_name: str, value: str, most: int) -> None:
    if len(value) > most or not value.isprintable():
        raise InvalidWebhook(field_name, f"must have at most {most} printable characters")
