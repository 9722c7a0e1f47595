"""A DNS server on loopback that answers from a script: a name can resolve differently from one DNS lookup to the
next."""

import socket
import threading
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
import dns.rrset

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_TYPES = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class DnsServer:
    """Each name has a list of answers for its lookups, each with its addresses; the last one repeats forever. A name
    without answers does not exist.

    A lookup is a question for IPv4 addresses and one for IPv6 addresses. `lookups` counts the questions for IPv4.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[tuple[str, ...]]] = {}
        self._asked: list[tuple[str, int]] = []
        self._changed = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="dns server", daemon=True)
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = ["127.0.0.1"]
        self._resolver.port = self._socket.getsockname()[1]
        self._resolver.lifetime = 5.0

    def script(self, name: str, *answers: tuple[str, ...]) -> None:
        """Sets the answers of the name's DNS lookups, one after the other."""
        with self._changed:
            self._answers[name] = list(answers)

    def lookups(self, name: str) -> int:
        """How often the name has been looked up so far."""
        with self._changed:
            return self._asked.count((name, 4))

    def resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        """Replaces `socket.getaddrinfo`: asks this server, over UDP."""
        found = []
        for version in (4, 6):
            try:
                answer = self._resolver.resolve(f"{host}.", _TYPES[version], search=False)
            except dns.resolver.NoAnswer:
                continue
            except dns.resolver.LifetimeTimeout:
                raise socket.gaierror(socket.EAI_AGAIN, "the server does not answer") from None
            except dns.resolver.NXDOMAIN:
                raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
            rest = () if version == 4 else (0, 0)
            found += [
                (_FAMILIES[version], socket.SOCK_STREAM, 6, "", (str(record.address), port, *rest)) for record in answer
            ]
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, asker = self._socket.recvfrom(4096)
            if not data:
                return
            self._socket.sendto(self._answer(dns.message.from_wire(data)).to_wire(), asker)

    def _answer(self, question: dns.message.Message) -> dns.message.Message:
        asked = question.question[0]
        name, version = asked.name.to_text(omit_final_dot=True), 4 if asked.rdtype == dns.rdatatype.A else 6
        answer = dns.message.make_response(question)
        with self._changed:
            self._asked.append((name, version))
            answers = self._answers.get(name)
            if answers is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                return answer
            # IPv6 is asked for second, and ends the DNS lookup.
            addresses = answers.pop(0) if version == 6 and len(answers) > 1 else answers[0]
        of_version = [text for text in addresses if ip_address(text).version == version]
        if of_version:
            answer.answer.append(dns.rrset.from_text(asked.name, 0, "IN", _TYPES[version], *of_version))
        return answer
