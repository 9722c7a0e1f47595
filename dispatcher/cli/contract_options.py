"""The delivery contract as options, one for each member, made from the contract's types, bounds, defaults and
descriptions. Also turns given options into members again."""

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from dispatcher.signing.schemes import BodySignature, Digest, Encoding
from dispatcher.webhooks.contract import DeliveryContract, Member, Verdict
from schedules.catalog import SCHEDULES

_FLAGS = {"honour-retry-after": "honour_retry_after", "disable": "disable_webhook"}

# The forms of some values, for the end of the help.
NOTES = (
    f"HOLDS is one of {', '.join(Member)}.",
    f"VERDICT is one of {', '.join(Verdict)}; add {' or '.join(f',{flag}' for flag in _FLAGS)}.",
    f"FORM is {', '.join(Digest)}; {' or '.join(Encoding)}; prefix=TEXT: X-Signature,sha1,hex.",
)


class _Form(NamedTuple):
    """The form of an option whose member is not a plain value."""

    metavar: str
    read: Callable[[Any], object]
    several: bool = False


def _members(given: list[str]) -> list[tuple[str, str]]:
    members = [tuple(text.split("=", 1)) for text in given]
    if not all(len(member) == 2 and member[1] in set(Member) for member in members):
        wanted = f"must look like data=data; after the sign one of: {', '.join(Member)}"
        raise typer.BadParameter(wanted, param_hint="--member")
    return members  # type: ignore[return-value]


def _rules(given: list[str]) -> dict[str, dict[str, Any]]:
    return dict(map(_rule, given))


def _rule(text: str) -> tuple[str, dict[str, Any]]:
    code, separator, meaning = text.partition("=")
    verdict, *flags = meaning.split(",")
    if not separator or not code.isdecimal() or verdict not in set(Verdict) or not set(flags) <= _FLAGS.keys():
        raise typer.BadParameter(
            "must look like 429=temporary,honour-retry-after or 410=rejected,disable", param_hint="--rule"
        )
    return code, {"verdict": verdict, **{_FLAGS[flag]: True for flag in flags}}


def _body_signature(text: str) -> dict[str, Any]:
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
    "members": _Form("NAME=HOLDS", _members, several=True),
    "rules": _Form("CODE=VERDICT", _rules, several=True),
    "body_signature": _Form("HEADER,FORM", _body_signature),
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
    return {
        name: _FORMS[name].read(value) if name in _FORMS else value for name, value in given.items() if name in _MEMBERS
    }


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


def show_rule(code: object, rule: Any) -> str:
    """A rule as its option takes it."""
    flags = [flag for flag, member in _FLAGS.items() if getattr(rule, member)]
    return ",".join([f"{code}={rule.verdict}", *flags])


def show_signature(signature: BodySignature | None) -> str | None:
    """A body signature as its option takes it."""
    if signature is None:
        return None
    prefix = [f"prefix={signature.prefix}"] if signature.prefix else []
    return ",".join([signature.header, signature.digest, signature.encoding, *prefix])
