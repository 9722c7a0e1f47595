"""Who makes a change: an API key (directly or through a dialect), somebody in the console or the portal, the command
line, a response rule, or the person whom a mail went to.

`str()` of an actor is how operators see it, in the audit log; `told` is how everybody does, in `disabled_by` of a
webhook.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias
from uuid import UUID


class ActorKind(StrEnum):
    """The kind of an actor."""

    API_KEY = "api_key"
    DIALECT = "dialect"
    CONSOLE = "console"
    PORTAL = "portal"
    COMMAND_LINE = "command_line"
    RESPONSE_RULE = "response_rule"
    CONTACT = "contact"


@dataclass(frozen=True, slots=True)
class Call:
    """The HTTP request that asks for a change: its id, as in the answer's `X-Request-Id`, and the address that it came
    from (None: unknown)."""

    request_id: UUID
    address: str | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, over the native API."""

    key_id: UUID
    call: Call
    is_operator: bool = False
    kind: ClassVar = ActorKind.API_KEY

    def __str__(self) -> str:
        return f"API key {self.key_id}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """A key, through the dialect of this name."""

    name: str
    key_id: UUID
    call: Call
    is_operator: bool = False
    kind: ClassVar = ActorKind.DIALECT

    def __str__(self) -> str:
        return f"API key {self.key_id} through {self.name}"


@dataclass(frozen=True, slots=True)
class Console:
    """An operator in a session of the console. `key_id`: the key that it was begun with (None: a link of the command
    line)."""

    session_id: UUID
    key_id: UUID | None
    call: Call
    is_operator: bool
    kind: ClassVar = ActorKind.CONSOLE

    def __str__(self) -> str:
        return f"console session {self.session_id}"


@dataclass(frozen=True, slots=True)
class Portal:
    """A customer in a session of the portal. `key_id`: the key that its link was made with (None: the command line);
    `user`: the platform's own id of its user."""

    session_id: UUID
    key_id: UUID | None
    user: str | None
    call: Call
    is_operator: ClassVar = False
    kind: ClassVar = ActorKind.PORTAL

    def __str__(self) -> str:
        return f"portal session {self.session_id}"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A person who runs a command. `user`, the account on the machine, is for operators only: `str()` leaves it out."""

    user: str
    is_operator: ClassVar = True
    kind: ClassVar = ActorKind.COMMAND_LINE

    def __str__(self) -> str:
        return "command line"


@dataclass(frozen=True, slots=True)
class ResponseRule:
    """A rule of the webhook's own contract."""

    is_operator: ClassVar = False
    kind: ClassVar = ActorKind.RESPONSE_RULE

    def __str__(self) -> str:
        return "response rule"


@dataclass(frozen=True, slots=True)
class Contact:
    """A person who follows the link in a mail that they got."""

    call: Call
    is_operator: ClassVar = False
    kind: ClassVar = ActorKind.CONTACT

    def __str__(self) -> str:
        return "the contact"


Actor: TypeAlias = ApiKey | Dialect | Console | Portal | CommandLine | ResponseRule | Contact

OPERATOR = "an operator"


def told(actor: Actor) -> str:
    """An actor in words for everybody. Ids of operators' keys and sessions are no business of customers."""
    return OPERATOR if actor.is_operator and actor.kind != ActorKind.COMMAND_LINE else str(actor)
