"""The options that `webhook create` and `webhook update` share, and how they become a webhook's fields."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from enum import StrEnum
from typing import Annotated, Any, get_args

import typer

from dispatcher.cli import secret_sources as secrets
from dispatcher.cli.contract_options import NOTES, contract_options, given_members, option_of
from dispatcher.errors import InvalidWebhook
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.fields import WebhookFields

WEBHOOK = "Webhook"

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _own(kind: Any, option: str, value: str, about: str) -> Any:
    return Annotated[kind | None, typer.Option(option, metavar=value, help=about, rich_help_panel=WEBHOOK)]


# parameter -> its annotation, in the order of the page
OPTIONS: dict[str, Any] = {
    "url": _own(str, "--url", "URL", "Where callbacks go; kept encrypted"),
    "url_from": _own(str, "--url-from", "FILE", "The same, hidden from process lists"),
    "event_types": _own(list[str], "--type", "TYPE", "An event type or prefix, or *"),
    "name": _own(str, "--name", "NAME", "A name, unique in its account"),
    "app": _own(str, "--app", "APP", "Take only this app's events"),
    "contact_email": _own(str, "--contact", "ADDRESS", "Who gets mails about problems"),
    **contract_options(),
    **secrets.OPTIONS,
}

# field -> the option that gave it, for messages
_FIELDS = {
    "url": "--url",
    "event_types": "--type",
    "name": "--name",
    "app": "--app",
    "contact_email": "--contact",
    "reason": "--reason",
    "overlap": "--overlap",
    "signing_keys": "--signing-key-from",
    **secrets.FIELDS,
}


class Clearable(StrEnum):
    """What an update can remove."""

    NAME = "name"
    APP = "app"
    CONTACT = "contact"
    USER_AGENT = "user-agent"
    MEMBERS = "members"
    RULES = "rules"
    RATE_LIMIT = "rate-limit"
    AUTHORIZATION = "authorization"
    HEADERS = "headers"
    SIGNING = "signing"
    BODY_SIGNATURE = "body-signature"
    NONCE_SIGNATURE = "nonce-signature"


# Of a webhook itself; the others are members of its contract.
_REMOVED: dict[Clearable, WebhookFields] = {
    Clearable.NAME: {"name": None},
    Clearable.APP: {"app": None},
    Clearable.CONTACT: {"contact_email": None},
    Clearable.AUTHORIZATION: {"authorization": None},
    Clearable.HEADERS: {"headers": {}},
    Clearable.SIGNING: {"signing_keys": []},
}


def takes_webhook(*, new: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command all of `OPTIONS` in place of its parameter `given`, which gets a dictionary of those that were
    given. A `new` webhook needs some of them; where it is changed they have no defaults, as it keeps what it has."""
    options = OPTIONS if new else {name: _without_default(option) for name, option in OPTIONS.items()}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        place = [own.name for own in parameters].index("given")
        parameters[place : place + 1] = [
            inspect.Parameter(
                name,
                _KEYWORD,
                default=inspect.Parameter.empty if new and name == "event_types" else None,
                annotation=option,
            )
            for name, option in options.items()
        ]

        def command(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in OPTIONS}
            function(given={name: value for name, value in values.items() if value not in (None, [], ())}, **arguments)

        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _without_default(option: Any) -> Any:
    kind, about = get_args(option)
    about = copy(about)
    about.show_default = False
    return Annotated[kind, about]


def page_end(example: str) -> str:
    """The text below the options in the help."""
    return "\n\n".join([*NOTES, secrets.NOTE, f"Example: {example}"])


def new_fields(given: Mapping[str, Any], signing: secrets.Signing | None, key_from: str | None) -> WebhookFields:
    """The fields of a new webhook. Its URL is asked for if it is not given."""
    fields: WebhookFields = {**_plain_fields(given), "contract": given_members(given)}
    fields |= _url(given, wanted=True)
    fields |= secrets.read_authorization(given)
    fields |= secrets.new_signing_keys(signing, key_from)
    fields |= secrets.read_signature_secrets(given, new=True)
    return fields | secrets.read_headers(given)  # last: it reads the rest of standard input


def changed_fields(given: Mapping[str, Any], clear: Iterable[Clearable]) -> WebhookFields:
    """The fields that change, with those that are removed."""
    fields: WebhookFields = {}
    reset: dict[str, None] = {}
    for name in clear:
        if name in _REMOVED:
            fields |= _REMOVED[name]
        else:
            reset[name.value.replace("-", "_")] = None  # the others are named as in the contract
    fields |= _plain_fields(given)
    if members := {**reset, **given_members(given)}:
        fields["contract_changes"] = members
    fields |= _url(given, wanted=False)
    fields |= secrets.read_authorization(given)
    fields |= secrets.read_signature_secrets(given, new=False)
    return fields | secrets.read_headers(given)


def _plain_fields(given: Mapping[str, Any]) -> WebhookFields:
    names = ("event_types", "name", "app", "contact_email")
    return {name: given[name] for name in names if name in given}  # type: ignore[return-value]


def _url(given: Mapping[str, Any], *, wanted: bool) -> WebhookFields:
    url = secrets.read_url(given, "url", "URL", wanted=wanted)
    return {"url": url} if url is not None else {}


@contextmanager
def named_by_option() -> Iterator[None]:
    """Refusals name the option that gave the refused value."""
    try:
        yield
    except InvalidWebhook as refused:
        raise typer.TyperException(_by_option(refused.field, refused.exact_reason)) from refused


def _by_option(field: str, reason: str) -> str:
    words = re.sub(r"\b[a-z]+_[a-z_]+\b", lambda found: _named(found[0]), reason)
    place, _, rest = field.partition(".")
    if place == "contract":
        member, _, rest = rest.partition(".")
        option = _named(member)
    else:
        option, rest = (_FIELDS[field], "") if field in _FIELDS else (_FIELDS.get(place, place), rest)
    return " ".join(filter(None, [f"{rest} of" if rest else "", option, words]))


def _named(word: str) -> str:
    return option_of(word) if word in DeliveryContract.model_fields else _FIELDS.get(word, word)
