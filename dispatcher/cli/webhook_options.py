"""What `webhook create` and `webhook update` take, and how it becomes a webhook's fields."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from dispatcher.cli.secret_sources import body_signature as read_body_signature
from dispatcher.signing.schemes import BodySignature
from dispatcher.webhooks.contract import Envelope, Member, Method, Verdict
from dispatcher.webhooks.fields import WebhookFields
from schedules.catalog import SCHEDULES

Url = Annotated[str, typer.Option("--url", help="Where callbacks go. It is kept encrypted and shown masked.")]
Types = Annotated[
    list[str], typer.Option("--type", help="An event type, a prefix of whole parts, or `*`; several times for several.")
]
Name = Annotated[str | None, typer.Option("--name", help="A name, unique in its account.")]
App = Annotated[str | None, typer.Option("--app", help="Take only this app's events.")]
Contact = Annotated[str | None, typer.Option("--contact", help="Mail address that is told about problems.")]
MethodOption = Annotated[Method | None, typer.Option("--method", help="HTTP method of callbacks. Default: POST.")]
EnvelopeOption = Annotated[
    Envelope | None, typer.Option("--envelope", help="The message in a JSON array, or alone. Default: array.")
]
UserAgent = Annotated[str | None, typer.Option("--user-agent", help="User-Agent of callbacks.")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Seconds for a whole answer, 1 to 60. Default: 30.")]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="CODE=VERDICT[,FLAG...]",
        help="What one status means here: acknowledged, rejected or temporary; flags: honour-retry-after, disable. "
        "Several times for several.",
    ),
]

Members = Annotated[
    list[str] | None,
    typer.Option(
        "--member",
        metavar="NAME=HOLDS",
        help="Put each message into an object with this member; several times for several. "
        f"HOLDS: {', '.join(Member)}.",
    ),
]
Schedule = Annotated[
    str | None, typer.Option("--schedule", help=f"The retry schedule: {', '.join(SCHEDULES)}. Default: default.")
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", help="Messages one request may carry, 1 to 100; above 1 as an array. Default: 1."),
]
RetryAlone = Annotated[
    bool | None, typer.Option("--retry-alone/--retry-together", help="Whether those of a failed batch go one by one.")
]
RateLimit = Annotated[float | None, typer.Option("--rate-limit", help="Messages a second at most. Default: no limit.")]
CircuitBreakerOption = Annotated[
    bool | None,
    typer.Option(
        "--circuit-breaker/--no-circuit-breaker",
        help="Whether messages wait behind single trial requests while it keeps failing. Default: they do.",
    ),
]

HttpsOnly = Annotated[
    bool | None,
    typer.Option("--https-only/--any-scheme", help="Whether plain http is refused. Default: any scheme."),
]

_FLAGS = {"honour-retry-after": "honour_retry_after", "disable": "disable_webhook"}


class Clearable(StrEnum):
    """What an update can take away."""

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


def contract_members(
    *,
    method: Method | None,
    envelope: Envelope | None,
    user_agent: str | None,
    timeout: float | None,
    members: Sequence[str] | None,
    schedule: str | None,
    rules: Sequence[str] | None,
    batch_size: int | None,
    retry_alone: bool | None,
    rate_limit: float | None,
    circuit_breaker: bool | None,
    body_signature: str | None,
    nonce_signature: str | None,
    https_only: bool | None,
) -> dict[str, Any]:
    """The members of the contract document that were given."""
    given = {
        "method": method,
        "envelope": envelope,
        "user_agent": user_agent,
        "timeout_seconds": timeout,
        "members": list(map(_member, members)) if members else None,
        "schedule": schedule,
        "rules": dict(map(_rule, rules)) if rules else None,
        "batch_size": batch_size,
        "retry_alone": retry_alone,
        "rate_limit": rate_limit,
        "circuit_breaker": circuit_breaker,
        "body_signature": read_body_signature(body_signature) if body_signature is not None else None,
        "nonce_signature": {"header": nonce_signature} if nonce_signature is not None else None,
        "https_only": https_only,
    }
    return {name: value for name, value in given.items() if value is not None}


def cleared(names: Iterable[Clearable]) -> tuple[WebhookFields, set[str]]:
    """The fields that are taken away, and the members of the contract that go back to their default."""
    fields: WebhookFields = {}
    members: set[str] = set()
    for name in names:
        match name:
            case Clearable.NAME:
                fields["name"] = None
            case Clearable.APP:
                fields["app"] = None
            case Clearable.CONTACT:
                fields["contact_email"] = None
            case Clearable.AUTHORIZATION:
                fields["authorization"] = None
            case Clearable.HEADERS:
                fields["headers"] = {}
            case Clearable.SIGNING:
                fields["signing_keys"] = []
            case _:
                members.add(name.value.replace("-", "_"))  # the others are named as in the contract
    return fields, members


def show_rule(code: object, rule: Any) -> str:
    """A rule in the form in which it is given."""
    flags = [flag for flag, member in _FLAGS.items() if getattr(rule, member)]
    return ",".join([f"{code}={rule.verdict}", *flags])


def show_signature(signature: BodySignature | None) -> str | None:
    """A body signature in the form in which it is given."""
    if signature is None:
        return None
    prefix = [f"prefix={signature.prefix}"] if signature.prefix else []
    return ",".join([signature.header, signature.digest, signature.encoding, *prefix])


def _member(text: str) -> tuple[str, str]:
    name, separator, holds = text.partition("=")
    if not separator or holds not in set(Member):
        raise typer.BadParameter(
            f"must look like data=data; behind the sign one of: {', '.join(Member)}", param_hint="--member"
        )
    return name, holds


def _rule(text: str) -> tuple[str, dict[str, Any]]:
    code, separator, meaning = text.partition("=")
    verdict, *flags = meaning.split(",")
    if not separator or not code.isdecimal() or verdict not in set(Verdict) or not set(flags) <= _FLAGS.keys():
        raise typer.BadParameter(
            "must look like 429=temporary,honour-retry-after or 410=rejected,disable", param_hint="--rule"
        )
    return code, {"verdict": verdict, **{_FLAGS[flag]: True for flag in flags}}
