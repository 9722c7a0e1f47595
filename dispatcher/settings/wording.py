"""What is wrong with a setting, in a line: the variable, why, its value as far as it may be shown, and a right one.
Pure."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dispatcher.masking.refusals import refusal
from dispatcher.settings.names import IGNORE_UNKNOWN, RENAMED, environment_name, name_given
from dispatcher.settings.secret_files import FromFile, Unusable

_PLAIN = re.compile(r"[A-Za-z0-9 .,:/_+-]{1,40}")
_SURELY_KUBERNETES = r"_SERVICE_(HOST|PORT)|_PORT_[0-9]+_(TCP|UDP)"
_GENERATED = "what `dispatcher secrets generate-key` prints"

# A right value for each field whose default is none.
_EXAMPLES = {
    "database_url": "postgresql://dispatcher:PASSWORD@127.0.0.1:5432/dispatcher",
    "broker_url": "redis://:PASSWORD@127.0.0.1:6379/0",
    "encryption_keys": _GENERATED,
    "smtp_host": "mail.your-company.org",
    "smtp_username": "dispatcher",
    "smtp_password": "what the mail server's administrator gave you",
    "mail_from": "Webhooks <webhooks@your-company.org>",
    "max_in_flight": "1500",
    "ca_bundle": "/etc/ssl/certs/ca-certificates.crt",
    "allowed_networks": "10.1.2.0/24,fd12:3456::/32",
    "allowed_hosts": "hooks.internal.example",
    "allowed_ports": "25,5432",
    "contact_domains": "corp.local",
    "egress_ranges": "203.0.113.0/24,2001:db8::/48",
    "account_limits": "webhooks=5000,events_per_day=off",
    "public_url": "https://hooks.example.com/api",
    "console_url": "https://hooks.example.com",
    "portal_ancestors": "https://app.example.com",
    "portal_return_origins": "https://app.example.com",
    "portal_name": "Acme Messaging",
    "portal_logo": "/etc/dispatcher/logo.svg",
    "portal_accent": "#0b57c9",
    "metrics_token": "what `openssl rand -hex 32` prints",
    "flower_password": "what `openssl rand -hex 24` prints",
    "flower_db": "/var/lib/dispatcher/flower",
    "masked_members": "phone,body,text",
}


class Wrong(NamedTuple):
    """What is wrong with a variable: without its value, and as an operator needs it."""

    reason: str
    line: str


def explain(error: Mapping[str, Any], fields: Mapping[str, FieldInfo], given: Mapping[str, str]) -> Wrong:
    """What one of the `errors()` of a `ValidationError` means. `given` is the environment."""
    place = error["loc"]
    name = str(place[0]).lower() if place else ""
    field = next((field for field in fields if name in {field, environment_name(field).lower()}), "")
    if not field:  # the old name of one
        field = next(field for field in fields if environment_name(field) == RENAMED[name.upper()])
    variable, info, value = environment_name(field), fields[field], error["input"]
    if error["type"] == "missing":
        told = f"{variable} is not set: {info.description}. Or start an engine here with `./run.sh up`."
        return Wrong(told, told)
    variable = name_given(variable, given)
    for old, new in RENAMED.items():
        if new == variable and variable not in given and old in given:
            variable = f"{old}, which is called {variable} now,"
    reason, example = f"{variable} {refusal(error)}", example_of(field, info)
    if isinstance(value, Unusable):
        return Wrong(reason, reason)
    right = f"; right is, for example, {example}" if example else ""
    return Wrong(reason, f"{reason}. It is {_shown(value, info)}{right}")


def explain_unknown(name: str, nearest: str) -> Wrong:
    """What is to be done about a name that is not known."""
    name = ascii(name)[1:-1]
    if nearest and not re.search(_SURELY_KUBERNETES, name):
        advice = f"did you mean {nearest}?"
    elif re.search(rf"{_SURELY_KUBERNETES}|_PORT$", name):
        advice = "if Kubernetes set it for a service, give the pod `enableServiceLinks: false`."
    else:
        advice = "`dispatcher settings --example` lists all."
    line = f"{name} is not a setting: {advice} With {IGNORE_UNKNOWN}=true another version's are only warned about"
    return Wrong(f"{name} is not a setting", line)


def example_of(field: str, info: FieldInfo) -> str:
    """A right value, as an operator would write it; "" if there is none."""
    match _EXAMPLES.get(field, info.default):
        case bool() as default:
            return str(default).lower()
        case float() as default:
            return f"{default:g}"
        case str() | int() as default:
            return str(default)
        case _:
            return ""


def _shown(value: object, info: FieldInfo) -> str:
    """What may be shown: nothing of a secret, nor of what may hold one by mistake or steer a terminal."""
    if isinstance(value, FromFile):
        return f"from a file ({value.place}) and has {len(value.text)} characters"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    text = str(value)
    if not text:
        return "empty"
    if scheme := re.match(r"[a-z][a-z0-9+]{1,20}://", text):
        return f"{scheme[0]}***"
    if info.annotation is SecretStr or not _PLAIN.fullmatch(text):
        return f"*** ({len(text)} characters)"
    return f"'{text}'"
