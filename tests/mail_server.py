"""A real SMTP server on loopback that keeps what it gets, and fails as scripted."""

import asyncio
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from enum import StrEnum
from typing import Any, Self, TypeAlias, cast

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session


class Stage(StrEnum):
    """A point in a conversation."""

    GREETING = "GREETING"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"  # the command
    CONTENT = "CONTENT"  # after the final dot: the message is here, its answer is pending


@dataclass(frozen=True, slots=True)
class Say:
    """Answers this instead of the usual."""

    stage: Stage
    answer: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Ends the connection instead of answering. A message that has arrived is still kept."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Hang:
    """Sends nothing more. A message that has arrived is still kept."""

    stage: Stage


Fault: TypeAlias = Say | Drop | Hang


@dataclass(frozen=True, slots=True)
class Mail:
    """One message that was accepted."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    login: str | None
    encrypted: bool
    at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def parsed(self) -> EmailMessage:
        return cast(EmailMessage, message_from_bytes(self.content, policy=default))

    def body(self, kind: str = "plain") -> str:
        """Its text, `plain` or `html`."""
        part = self.parsed.get_body((kind,))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")


class MailServer:
    """The server. A context manager; every method may be called from any thread.

    `script` sets what goes wrong: one fault (or None) for each connection, in order; later connections work normally.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.port = port
        self.connections = 0
        self._tls, self._starttls, self._login = tls, starttls, login
        self._changed = threading.Condition()
        self._messages: list[Mail] = []
        self._faults: deque[Fault | None] = deque()
        self._open: set[_Conversation] = set()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mail server", daemon=True)

    def script(self, *faults: Fault | None) -> None:
        with self._changed:
            self._faults = deque(faults)

    @property
    def messages(self) -> list[Mail]:
        """The messages that were accepted so far."""
        with self._changed:
            return list(self._messages)

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Mail]:
        """Waits until `count` messages have come, and returns all messages."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                raise AssertionError(f"after {timeout} s the mail server has {len(self._messages)} messages")
            return list(self._messages)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the mail server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._converse, "127.0.0.1", self.port, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for conversation in list(self._open):
            if conversation.transport is not None:
                with suppress(AttributeError):  # Python 3.11: a TLS connection that has just gone
                    conversation.transport.abort()
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _converse(self) -> SMTP:
        with self._changed:
            self.connections += 1
            fault = self._faults.popleft() if self._faults else None
        conversation = _Conversation(
            _Handler(self, fault),
            hostname="mail.test",
            loop=self._loop,
            tls_context=self._starttls,
            authenticator=self._check_login if self._login else None,
            auth_require_tls=False,
        )
        self._open.add(conversation)
        return conversation

    def _check_login(self, server: Any, session: Session, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        fits = isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == self._login
        return AuthResult(success=fits, handled=False, auth_data=given.login.decode() if fits else None)

    def keep(self, mail: Mail) -> None:
        with self._changed:
            self._messages.append(mail)
            self._changed.notify_all()


class _Conversation(SMTP):  # type: ignore[misc] # aiosmtpd has no types
    """Implements the faults for which the hooks of its handler are called too late."""

    async def _handle_client(self) -> None:
        said = await self.event_handler.at(Stage.GREETING, self)
        if said is not MISSING:
            await self.push(said)
        else:
            await super()._handle_client()

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        said = await self.event_handler.at(Stage.DATA, self)
        if said is not MISSING:
            await self.push(said)
        else:
            await super().smtp_DATA(arg)


class _Handler:
    """The hooks that aiosmtpd calls; MISSING means "as usual"."""

    def __init__(self, server: MailServer, fault: Fault | None) -> None:
        self._server, self._fault = server, fault

    async def at(self, stage: Stage, conversation: SMTP) -> Any:
        if self._fault is None or self._fault.stage is not stage:
            return MISSING
        match self._fault:
            case Say(answer=answer):
                return answer
            case Drop():
                with suppress(AttributeError):  # Python 3.11: a TLS connection that has just gone
                    conversation.transport.abort()
        await asyncio.Event().wait()  # until the connection ends
        return MISSING

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Any:
        envelope.mail_from = address
        said = await self.at(Stage.MAIL, server)
        return "250 OK" if said is MISSING else said

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Any:
        said = await self.at(Stage.RCPT, server)
        if said is not MISSING:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> Any:  # noqa: N802 - aiosmtpd's
        if isinstance(self._fault, Say) and self._fault.stage is Stage.CONTENT:
            return self._fault.answer
        assert isinstance(envelope.content, bytes)
        self._server.keep(
            Mail(
                sender=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                content=envelope.content,
                login=session.auth_data if session.authenticated else None,
                encrypted=session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            )
        )
        await self.at(Stage.CONTENT, server)
        return "250 OK"
