"""What all dialects share: an application in which every answer has the vendor's form, and access to an account's
webhooks for one call."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias, Unpack
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from sqlalchemy.orm import Session

from dispatcher.accounts import audit
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Call, Dialect
from dispatcher.accounts.api_keys import Caller, Scope
from dispatcher.accounts.audit import Action
from dispatcher.db.models import Account, Webhook
from dispatcher.dialects.view import WebhookView
from dispatcher.errors import DispatcherError, InvalidInput, NotFound, UnknownAccount, Unreadable, WrongEncryptionKey
from dispatcher.installation import Installation
from dispatcher.version import __version__
from dispatcher.web import problems
from dispatcher.web.account_turns import AccountTurns
from dispatcher.web.authentication import call_of
from dispatcher.web.middleware import RequestIds
from dispatcher.web.own_urls import describe_itself
from dispatcher.web.problems import Answer, Problem, problem_for
from dispatcher.web.quotas import URL_VERIFICATION
from dispatcher.web.serving import Serving, Shared
from dispatcher.webhooks.fields import WebhookFields
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import Precondition, change, register, remove
from dispatcher.webhooks.secrets import WebhookSecrets, masked_secrets
from dispatcher.webhooks.store import Webhooks

log = logging.getLogger("dispatcher.api.webhooks")

PIECE = 500  # webhooks of a list that are read at once

BODY_ERRORS = HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE  # of a route that reads a body
_ERRORS = (
    HTTPStatus.CONFLICT,  # an account's limit, or others who changed the same webhook
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def _as_usual(_request: Request, _error: DispatcherError) -> None:
    return None


@dataclass(frozen=True)
class Vendor:
    """How a vendor's API differs from others."""

    name: str  # of the dialect; stored with webhooks that are created through it
    title: str
    about: str
    answer: Answer  # writes any error in the vendor's form
    error_schema: Mapping[str, Any]  # of what `answer` writes
    errors: Sequence[HTTPStatus] = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)  # of any route
    # What the vendor answers for one of our errors; None: the same as everywhere.
    problem_of: Callable[[Request, DispatcherError], Problem | None] = _as_usual
    refusal: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY  # the status for a refused value
    field_names: Mapping[str, str] = field(
        default_factory=dict
    )  # the vendor's names for a webhook's fields, if they differ
    numbered: bool = False  # ids are numbers, not UUIDs
    verifies_urls: bool = False  # a URL must answer before it is accepted
    shows_secrets: bool = False  # answers contain credentials and keys: in clear for who may change them, else masked

    def described(self, *statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
        """OpenAPI's description of a route's errors: these, and those that any route can have."""
        content = {"application/json": {"schema": self.error_schema}}
        every = *statuses, *self.errors, *_ERRORS
        return {status.value: {"description": status.phrase, "content": content} for status in every}


def dialect_app(vendor: Vendor, *routers: APIRouter) -> FastAPI:
    """A new app, to be mounted under a prefix."""

    def answer(problem: Problem) -> Response:
        if problem.status is HTTPStatus.UNPROCESSABLE_ENTITY:
            problem.status = vendor.refusal
        return vendor.answer(problem)

    app = FastAPI(
        title=f"dispatcher: {vendor.title}",
        version=__version__,
        description=vendor.about,
        openapi_url=None,
        redirect_slashes=False,
    )
    problems.install(app, answer)
    describe_itself(app)
    app.add_middleware(RequestIds, answer=answer)

    @app.exception_handler(DispatcherError)
    def _of_the_tree(request: Request, error: DispatcherError) -> Response:
        if isinstance(error, InvalidInput):
            error.field = vendor.field_names.get(error.field, error.field)
        return answer(vendor.problem_of(request, error) or problem_for(error))

    for router in routers:
        app.include_router(router)
    return app


class Owner(NamedTuple):
    """The account whose webhooks a call is about, and who calls."""

    account_id: UUID
    caller: Caller


class Listing(Protocol):
    """The event types of the account's webhooks of the dialect, by their ids, for one app or one URL in any
    spelling."""

    def __call__(self, *, app: str | None = None, url: str | None = None) -> Mapping[UUID, Sequence[str]]: ...


# What a vendor requires of the account's other webhooks. It may raise anything. None of them can change meanwhile.
PreconditionOnOthers: TypeAlias = Callable[[Listing], None]


def owner_of_name(installation: Installation, caller: Caller, name: str) -> Owner:
    """The account of this name, for a key that acts for it. Raises UnknownAccount, also for other accounts, so that
    callers cannot find out which accounts exist."""
    if caller.account_id is not None:
        if name != caller.account:
            raise UnknownAccount(name)
        return Owner(caller.account_id, caller)
    with installation.transaction() as session:
        return Owner(find_account(session, name).id, caller)


def own_webhooks(vendor: Vendor, owner_of_call: Callable[..., Owner]) -> Any:
    """A dependency: OwnWebhooks of the owner that the vendor's own dependency finds, for a call that changes something:
    it runs when it is its account's turn."""
    return _in_turn(vendor, Depends(owner_of_call), lambda serving: serving.writing_turns)


def readable_webhooks(vendor: Vendor, owner_of_call: Callable[..., Owner]) -> Any:
    """The same for a call that reads."""

    async def answered(owner: Annotated[Owner, Depends(owner_of_call)], serving: Shared) -> AsyncIterator[Owner]:
        async with serving.unsent_turns.turn(owner.account_id):
            yield owner

    owner_in_turn = Depends(answered, scope="request")
    return _in_turn(vendor, owner_in_turn, lambda serving: serving.reading_turns)


def _in_turn(vendor: Vendor, owner_of_call: Any, turns: Callable[[Serving], AccountTurns]) -> Any:
    async def own(
        owner: Annotated[Owner, owner_of_call],
        serving: Shared,
        call: Annotated[Call, Depends(call_of)],
    ) -> AsyncIterator["OwnWebhooks"]:
        async with turns(serving).turn(owner.account_id):
            yield OwnWebhooks(vendor, serving, owner, call)

    return Depends(own, scope="function")


class OwnWebhooks:
    """An account's webhooks that were created through a dialect, for one call. Others are not found. Secrets in them
    are in clear only for a caller who may change them, and the audit log says so."""

    def __init__(self, vendor: Vendor, serving: Serving, owner: Owner, call: Call) -> None:
        self.by = Dialect(vendor.name, owner.caller.key_id, call, is_operator=owner.caller.is_operator)
        self._account_id = owner.account_id
        self._may_manage = owner.caller.may(Scope.MANAGE)
        self._vendor, self._installation = vendor, serving.installation
        self._before_verification = partial(serving.rates.spend, owner.caller, URL_VERIFICATION)
        self._turns = serving.reading_turns
        self._check_stored = partial(serving.rates.check_stored, owner.caller)

    def check_stored(self) -> None:
        """Raises Problem 429 if the account has stored as much as it may: what is sent again is stored, too."""
        self._check_stored()

    def account(self, session: Session) -> Account:
        """The account that owns them."""
        return session.get_one(Account, self._account_id)

    def piece(self, after: UUID | None, *, app: str | None = None) -> tuple[Sequence[WebhookView], UUID | None]:
        """The next of them, or of those of one app, oldest first, and the id that the piece after this one begins after
        (None: there is none)."""
        with self._installation.transaction() as session:
            webhooks = Webhooks(session, self._installation)
            owner = self.account(session)
            listed = webhooks.piece(owner, self._vendor.name, app=app, after=after, limit=PIECE)
            found = list(_views((webhooks.opened(each, owner, None) for each in listed), self._view))
            if number := sum(map(self._shows_secrets, found)):
                # One for all of a piece: a list can be long, and be asked for each minute.
                detail = {"webhooks": number}
                audit.write(session, self.by, Action.ACCOUNT_SECRETS_SHOWN, owner.id, account=owner.id, detail=detail)
            return found, listed[-1].id if len(listed) == PIECE else None

    def next_turn(self) -> AbstractAsyncContextManager[None]:
        """The account's turn to read the next piece."""
        return self._turns.turn(self._account_id, begun=True)

    def find(self, text: str) -> WebhookView:
        """The webhook with this id in the vendor's form. Raises NotFound, also for an invalid id."""
        with self._installation.transaction() as session:
            webhook = self._row(session, text)
            found = self._view(Webhooks(session, self._installation).opened(webhook, self.account(session), None))
            self._note_shown(session, found)
            return found

    def id_of(self, text: str, session: Session | None = None) -> UUID:
        """Our id of the webhook with this id in the vendor's form. Raises NotFound as `find` does."""
        if session is not None:
            return self._row(session, text).id
        with self._installation.transaction() as own_session:
            return self._row(own_session, text).id

    def register(
        self, *, enabled: bool = True, precondition: PreconditionOnOthers | None = None, **fields: Unpack[WebhookFields]
    ) -> WebhookView:
        """Creates a webhook. Raises InvalidWebhook, NameTaken, TooBusy, or what `precondition` raises; then nothing is
        written."""
        made = register(
            self._installation,
            self._account_id,
            by=self.by,
            enabled=enabled,
            dialect=self._vendor.name,
            url_verification=self._vendor.verifies_urls,
            before_verification=self._before_verification,
            precondition=self._precondition(precondition),
            **fields,
        )
        return self._view(made)

    def change(
        self,
        identifier: UUID | int,
        derive: Callable[[WebhookView], WebhookFields] | None = None,
        *,
        enabled: bool | None = None,
        precondition: PreconditionOnOthers | None = None,
    ) -> WebhookView:
        """Changes a webhook to what `derive` returns for its current state, while nobody else can change it. Raises
        what `register` raises, what `derive` raises, and NotFound."""
        changed = change(
            self._installation,
            self._account_id,
            identifier,
            by=self.by,
            dialect=self._vendor.name,
            enabled=enabled,
            url_verification=self._vendor.verifies_urls,
            before_verification=self._before_verification,
            precondition=self._precondition(precondition),
            derive=(lambda kept: derive(self._view(kept))) if derive is not None else None,
        )
        shown = self._view(changed)
        with self._installation.transaction() as session:
            self._note_shown(session, shown)
        return shown

    def remove(self, text: str) -> None:
        """Deletes the webhook with this id in the vendor's form. Raises NotFound."""
        remove(self._installation, self._account_id, self.read_id(text), by=self.by, dialect=self._vendor.name)

    def read_id(self, text: str) -> UUID | int:
        """Parses an id in the vendor's form, without looking it up. Raises NotFound for an invalid one."""
        identifier = _number(text) if self._vendor.numbered else _uuid(text)
        if identifier is None:
            raise NotFound("webhook", text)
        return identifier

    def _row(self, session: Session, text: str) -> Webhook:
        webhooks = Webhooks(session, self._installation)
        return webhooks.get_of(self._vendor.name, self.account(session), self.read_id(text))

    def _precondition(self, precondition: PreconditionOnOthers | None) -> Precondition | None:
        if precondition is None:
            return None

        def required(webhooks: Webhooks, account: Account) -> None:
            precondition(partial(webhooks.event_types, account, self._vendor.name))

        return required

    def _view(self, kept: Registered) -> WebhookView:
        if not self._vendor.shows_secrets:
            return _view(kept, WebhookSecrets())
        return _view(kept, kept.secrets if self._may_manage else masked_secrets(kept.secrets))

    def _shows_secrets(self, view: WebhookView) -> bool:
        return self._may_manage and view.secrets != WebhookSecrets()

    def _note_shown(self, session: Session, view: WebhookView) -> None:
        """Records that an answer shows stored secrets in clear."""
        if self._shows_secrets(view):
            audit.write(session, self.by, Action.WEBHOOK_SECRETS_SHOWN, view.id, account=self._account_id, detail={})


def _views(listed: Iterable[Registered], view: Callable[[Registered], WebhookView]) -> Iterator[WebhookView]:
    """The views of those that can be read: vendors have no form for the others, which the native API shows."""
    for kept in listed:
        try:
            yield view(kept)
        except (Unreadable, WrongEncryptionKey) as error:
            log.error("webhook left out of a list: %s", error, extra={"webhook": str(kept.id)})


def _view(kept: Registered, secrets: WebhookSecrets) -> WebhookView:
    webhook = kept.webhook
    return WebhookView(
        id=webhook.id,
        number=webhook.number,
        name=webhook.name,
        app=webhook.app,
        enabled=webhook.enabled,
        event_types=webhook.event_types,
        contact_email=webhook.contact_email,
        contract=kept.contract,
        dialect_fields=webhook.dialect_fields,
        created_at=webhook.created_at,
        updated_at=webhook.updated_at,
        url=kept.url,
        secrets=secrets,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
