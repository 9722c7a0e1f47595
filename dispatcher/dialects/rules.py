"""What a change from outside, by the native API or a command, must respect if a webhook was created through a dialect:
the fields that the vendor's API shows, the shape of its callbacks, and the vendor's rules."""

from collections.abc import Callable, Collection, Sequence

from dispatcher.dialects.bulksms import fields as bulksms
from dispatcher.dialects.flexengage import fields as flexengage
from dispatcher.dialects.sinch import fields as sinch
from dispatcher.dialects.view import OutsideChange
from dispatcher.errors import InvalidWebhook, WrongState
from dispatcher.webhooks.fields import Checked
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.store import Webhooks

# If these were changed from outside, the dialect could no longer show them.
_FIELDS = frozenset({"event_types", "app", "authorization", "headers", "body_secret", "nonce_secret"})
# Of the contract: what receivers see of a callback. The rest says when and how often they are called.
_SHAPE = ("method", "envelope", "members", "content_type", "user_agent", "body_signature", "nonce_signature")

# Of the vendors that require more of a webhook than the engine does.
_RULES: dict[str, Callable[[OutsideChange], None]] = {
    "bulksms": bulksms.check_outside_change,
    "flexengage": flexengage.check_outside_change,
    "sinch": sinch.check_outside_change,
}


def keep_to_dialect(webhooks: Webhooks, kept: Registered, checked: Checked) -> None:
    """A rule for changes. Raises WrongState for what only the dialect may change, and for a conflict with another
    webhook; InvalidWebhook for a value that the vendor does not accept. Both name the dialect."""
    dialect = kept.webhook.dialect
    if dialect is None:
        return
    left_to_it = sorted(checked.given & _FIELDS) + _shape_changed(kept, checked)
    if left_to_it:
        raise WrongState(
            f"the webhook was created through the dialect {dialect}, which alone can change {', '.join(left_to_it)}: "
            "change it there, or delete the webhook and create another one"
        )

    def others(url: str) -> Sequence[Collection[str]]:
        found = webhooks.event_types(kept.owner, dialect, url=url)
        return [types for webhook, types in found.items() if webhook != kept.id]

    url = checked.url.given if checked.url is not None else None
    change = OutsideChange(checked.plain, checked.contract, kept.webhook.event_types, others, url)
    rule = _RULES.get(dialect)
    try:
        if rule is not None:
            rule(change)
    except InvalidWebhook as refused:
        raise InvalidWebhook(
            refused.field, f"{refused.reason}: a rule of the dialect {dialect}, through which the webhook was created"
        ) from None


def _shape_changed(kept: Registered, checked: Checked) -> list[str]:
    contract = checked.contract
    if contract is None:
        return []
    return [f"contract.{name}" for name in _SHAPE if getattr(contract, name) != getattr(kept.contract, name)]
