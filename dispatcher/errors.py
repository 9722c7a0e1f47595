"""Everything the product raises on purpose.

    DispatcherError
    ├── ConfigurationError        a setting is missing or wrong; says which and what to do
    │   ├── WrongSettings         all that is wrong with the settings, a line for each variable
    │   └── WrongEncryptionKey    the configured keys do not decrypt what is stored
    ├── InvalidInput              a field and the reason why it was refused; nothing was written
    │   ├── InvalidEvent
    │   ├── InvalidAccount
    │   ├── InvalidFilter         of a list: nothing can match, or its cost would have no bound
    │   ├── InvalidKey            to check signatures with
    │   ├── InvalidLink           to the portal
    │   ├── InvalidRedelivery
    │   └── InvalidWebhook
    │       ├── AddressRefused    the installation does not allow this address, port or scheme
    │       └── UrlVerificationFailed     its URL did not answer as required
    ├── NotFound                  the thing asked for does not exist (or is not the caller's)
    │   └── UnknownAccount
    ├── LinkGone                  a link that begins a session was used, is too old, or was never made
    ├── Conflict                  it exists, but its state does not allow this
    │   ├── AtQuota               the account has as many of them as it may
    │   ├── AccountSuspended
    │   ├── NameTaken
    │   ├── KeyReused             an idempotency key was used again with other content
    │   ├── Overtaken             others changed it at the same time, more than once
    │   ├── Unreadable            this version cannot read what is stored
    │   └── WrongState
    ├── TooBusy                   the same request may succeed a little later
    │   └── AccountAtLimit        the account itself does as much at once as it may
    ├── VerificationError         a receiver cannot take a request for a callback of ours
    │   ├── NotSigned
    │   ├── WrongSignature        signed with another key, or changed since
    │   ├── WrongTime             signed too long ago, or ahead of this clock
    │   └── UnreadableBody        signed, but no JSON
    ├── HandOverFailed            what a receiver hands callbacks over to raised
    ├── Unavailable               the database did not answer in time; the text says whether anything can be stored
    └── WrongDatabase             the given session is not on the engine's database

Error texts never contain a URL, a password, a key or message data: they end up in logs, Flower and API answers.
"""

from typing import Any


class DispatcherError(Exception):
    """Root of everything the product raises on purpose. Copied and pickled like any exception: processes pass it on."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by a call of `__init__`, as exceptions do it: its parameters are not the text that `args` contain.
        return _without_init, (type(self), self.args), vars(self)


def _without_init(kind: type[DispatcherError], args: tuple[object, ...]) -> DispatcherError:
    return kind.__new__(kind, *args)


class ConfigurationError(DispatcherError):
    """A setting is missing or wrong."""


class WrongSettings(ConfigurationError):
    """Settings are missing or wrong: `lines` has one for each variable, with its value if that is no secret;
    `reasons` are the same without values, for those who must not see addresses."""

    def __init__(self, lines: list[str], reasons: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.reasons = reasons


class WrongEncryptionKey(ConfigurationError):
    """None of the encryption keys decrypts what is stored."""


class InvalidInput(DispatcherError):
    """A value was refused: `field` names it, `reason` says why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


class InvalidEvent(InvalidInput):
    """An event was refused before anything was written. `path`: where the value is that has no JSON form, such as
    `data.items[3].price`; "" if another thing is wrong."""

    def __init__(self, field: str, reason: str, path: str = "") -> None:
        super().__init__(field, reason)
        self.path = path
        if path:
            self.args = (f"{path}: {reason}",)


class InvalidAccount(InvalidInput):
    """An account or API key was refused before anything was written."""


class InvalidFilter(InvalidInput):
    """A filter of a list was refused: nothing can match it, or what it costs would have no bound."""


class InvalidKey(InvalidInput):
    """A key to check signatures with was refused. `reason` does not repeat it."""

    def __init__(self, reason: str) -> None:
        super().__init__("key", reason)


class InvalidLink(InvalidInput):
    """A link to the portal was refused before anything was written."""


class InvalidRedelivery(InvalidInput):
    """A bulk redelivery was refused before anything was written."""


class InvalidWebhook(InvalidInput):
    """A webhook was refused before anything was written. Of where its URL leads, `reason` says what customers are told.
    `exact_reason` is for operators alone."""

    def __init__(self, field: str, reason: str, exact_reason: str | None = None) -> None:
        super().__init__(field, reason)
        self.exact_reason = exact_reason or reason


class AddressRefused(InvalidWebhook):
    """The settings of this installation do not let the address, port or scheme be called."""


class UrlVerificationFailed(InvalidWebhook):
    """The URL verification failed. `came_back` is the answer's status with its phrase, or why there was no answer, as
    customers are told; `exactly`, as it was, for operators alone."""

    def __init__(self, came_back: str, exactly: str) -> None:
        failed = "did not pass the URL verification, which requires a 2xx: "
        super().__init__("url", failed + came_back, failed + exactly)
        self.came_back, self.exactly = came_back, exactly


class NotFound(DispatcherError):
    """`kind` (account, webhook, delivery, event, ...) with this `name` does not exist."""

    def __init__(self, kind: str, name: object) -> None:
        super().__init__(f"there is no {kind} {str(name)!r}")
        self.kind = kind


class UnknownAccount(NotFound):
    """An event was sent for an account that does not exist."""

    field = "account"

    def __init__(self, name: object) -> None:
        super().__init__("account", name)
        self.reason = "does not exist"


class LinkGone(DispatcherError):
    """A link begins no session: it was used, is too old, ended with its key, or was never made; which is not said.
    `return_url`: where whoever follows it came from, if the link is one that was made."""

    def __init__(self, return_url: str | None = None) -> None:
        super().__init__("the link was used already or is too old")
        self.return_url = return_url


class Conflict(DispatcherError):
    """The request does not fit the current state of its target."""


class AccountSuspended(Conflict):
    """The account takes no events, nothing of it is sent, and its API keys are refused, until it is resumed."""

    field = "account"

    def __init__(self, name: str) -> None:
        super().__init__(f"the account {name!r} is suspended")
        self.reason = "is suspended"


class AtQuota(Conflict):
    """The account has as many of them as it may; the text names the limit and its value."""


class NameTaken(Conflict):
    """Another account, or another webhook of the account, has this name."""


class KeyReused(Conflict):
    """The idempotency key was used before, for an event with other content."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was used before for an event with other content")
        self.key = key


class Overtaken(Conflict):
    """Others kept changing a webhook while this change was prepared. Nothing was written."""


class Unreadable(Conflict):
    """This version cannot read what is stored: it is damaged, or a newer version wrote it."""


class WrongState(Conflict):
    """The state of the target, for example of a delivery, does not allow this."""


class TooBusy(DispatcherError):
    """Too many others are doing the same at the moment."""


class AccountAtLimit(TooBusy):
    """The account is doing as much of this as it may at once; the text names the limit."""


class VerificationError(DispatcherError):
    """A receiver cannot take a request for a callback of ours; the text says why, and repeats nothing of it."""


class NotSigned(VerificationError):
    """It has no signature, or no id or time to it."""


class WrongSignature(VerificationError):
    """It was signed with another key, or it was changed since."""


class WrongTime(VerificationError):
    """It was signed too long ago, or ahead of this clock."""


class UnreadableBody(VerificationError):
    """It is signed, but its body is no JSON, or none that can be read here."""


class HandOverFailed(DispatcherError):
    """What a receiver hands callbacks over to raised: `__cause__`. The callback must come again."""


class Unavailable(DispatcherError):
    """The database did not answer in time. The text says whether the event can have been stored all the same."""


class WrongDatabase(DispatcherError):
    """The session given to `enqueue` is not on the engine's database."""
