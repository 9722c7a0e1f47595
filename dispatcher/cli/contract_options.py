"""The delivery contract as options, one for each member, made from the contract's types, bounds, defaults and
descriptions. Also turns given options into members again."""

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from dispatcher.errors import InvalidWebhook
from dispatcher.signing.schemes import Digest, Encoding
from dispatcher.webhooks.contract import DeliveryContract, Member, Verdict
from dispatcher.webhooks.contract_texts import FLAGS, read_body_signature, read_members, read_rules
from schedules.catalog import SCHEDULES

# The forms of some values, for the end of the help.
NOTES = (
    f"HOLDS is one of {', '.join(Member)}.",
    f"VERDICT is one of {', '.join(Verdict)}; add {' or '.join(f',{flag}' for flag in FLAGS)}.",
    f"FORM is {', '.join(Digest)}; {' or '.join(Encoding)}; prefix=TEXT: X-Signature,sha1,hex.",
)


class _Form(NamedTuple):
    """The form of an option whose member is not a plain value."""

    metavar: str
    read: Callable[[Any], object]
    several: bool = False


# Options that are not simply named after their member, with `-` for `_` and `--no-` for a switch.
_SPELLINGS = {
    "members": "--member",
    "rules": "--rule",
    "timeout_seconds": "--timeout",
    "retry_alone": "--retry-alone/--retry-together",
    "https_only": "--https-only/--any-scheme",
}
_VALUES = {"timeout_seconds": "SECONDS"}
_FORMS = {
    "members": _Form("NAME=HOLDS", read_members, several=True),
    "rules": _Form("CODE=VERDICT", read_rules, several=True),
    "body_signature": _Form("HEADER,FORM", read_body_signature),
    "nonce_signature": _Form("HEADER", lambda header: {"header": header}),
}
_MEMBERS = {name: field for name, field in DeliveryContract.model_fields.items() if field.annotation is not NoneType}


def contract_options() -> dict[str, Any]:
    """member -> the annotation of its option. An option that is not given is None."""
    return {name: _option(name, field) for name, field in _MEMBERS.items()}


def option_of(member: str) -> str:
    """The name of the option for a member."""
    return _spelling(member).partition("/")[0]


def given_members(given: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the contract's document that were given by options. Raises BadParameter."""
    return {name: _read(name, value) for name, value in given.items() if name in _MEMBERS}


def _read(name: str, value: Any) -> object:
    try:
        return _FORMS[name].read(value) if name in _FORMS else value
    except InvalidWebhook as refused:
        raise typer.BadParameter(refused.reason, param_hint=option_of(name)) from None


def _spelling(member: str) -> str:
    if member in _SPELLINGS:
        return _SPELLINGS[member]
    plain = member.replace("_", "-")
    return f"--{plain}/--no-{plain}" if DeliveryContract.model_fields[member].annotation is bool else f"--{plain}"


def _option(name: str, field: FieldInfo) -> Any:
    kind, bounds = _plain(field)
    form = _FORMS.get(name)
    if form is not None:
        kind = list[str] if form.several else str
    elif name == "schedule":
        kind = Literal[tuple(SCHEDULES)]
    option = typer.Option(
        _spelling(name),
        metavar=form.metavar if form is not None else _VALUES.get(name),
        min=next((bound.ge for bound in bounds if hasattr(bound, "ge")), None),
        max=next((bound.le for bound in bounds if hasattr(bound, "le")), None),
        help=field.description,
        show_default=_shown_default(field.default),
        rich_help_panel="Signatures" if name.endswith("_signature") else "Callbacks",
    )
    return Annotated[kind | None, option]


def _plain(field: FieldInfo) -> tuple[Any, list[Any]]:
    """The member's type without None, and its bounds."""
    kind, marks = field.annotation, list(field.metadata)
    if get_origin(kind) in {Union, UnionType}:
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is Annotated:
        kind, *own = get_args(kind)
        marks += [mark for each in own for mark in getattr(each, "metadata", [each])]
    return kind, marks


def _shown_default(default: Any) -> str | bool:
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default) if isinstance(default, (str, int, float)) else False
