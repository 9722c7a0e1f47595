"""Members of the delivery contract that are no plain values, as people write them: options of commands, lines of forms.
Pure."""

from collections.abc import Iterable
from typing import Any

from dispatcher.errors import InvalidWebhook
from dispatcher.signing.schemes import BodySignature, Digest, Encoding
from dispatcher.webhooks.contract import Member, ResponseRule, Verdict

FLAGS = {"honour-retry-after": "honour_retry_after", "disable": "disable_webhook"}


def read_members(given: Iterable[str]) -> list[tuple[str, str]]:
    """`data=data`: the names of an envelope's members and what they hold. Raises InvalidWebhook."""
    members = [tuple(part.strip() for part in text.split("=", 1)) for text in given]
    if not all(len(member) == 2 and member[1] in set(Member) for member in members):
        wanted = f"must look like data=data; after the sign one of: {', '.join(Member)}"
        raise InvalidWebhook("contract.members", wanted)
    return members  # type: ignore[return-value]


def read_rules(given: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`410=rejected,disable`: what single status codes mean. Raises InvalidWebhook."""
    return dict(map(_rule, given))


def _rule(text: str) -> tuple[str, dict[str, Any]]:
    code, separator, meaning = text.partition("=")
    verdict, *flags = (part.strip() for part in meaning.split(","))
    code = code.strip()
    if not separator or not code.isdecimal() or verdict not in set(Verdict) or not set(flags) <= FLAGS.keys():
        raise InvalidWebhook(
            "contract.rules", "must look like 429=temporary,honour-retry-after or 410=rejected,disable"
        )
    return code, {"verdict": verdict, **{FLAGS[flag]: True for flag in flags}}


def read_body_signature(text: str) -> dict[str, Any]:
    """`X-Signature,sha256,hex`: a header and its form. Raises InvalidWebhook."""
    header, *words = (part.strip() for part in text.split(","))
    signature: dict[str, Any] = {"header": header}
    for word in words:
        if word in set(Digest):
            signature["digest"] = word
        elif word in set(Encoding):
            signature["encoding"] = word
        elif word.startswith("prefix="):
            signature["prefix"] = word.removeprefix("prefix=")
        else:
            raise InvalidWebhook(
                "contract.body_signature",
                "must look like X-Signature,sha256,hex or X-Hub-Signature,sha1,prefix=sha1=",
            )
    return signature


def show_rule(code: object, rule: ResponseRule) -> str:
    """A rule as `read_rules` takes it."""
    flags = [flag for flag, member in FLAGS.items() if getattr(rule, member)]
    return ",".join([f"{code}={rule.verdict}", *flags])


def show_signature(signature: BodySignature | None) -> str | None:
    """A body signature as `read_body_signature` takes it."""
    if signature is None:
        return None
    prefix = [f"prefix={signature.prefix}"] if signature.prefix else []
    return ",".join([signature.header, signature.digest, signature.encoding, *prefix])
