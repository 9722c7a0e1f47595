"""How answers go through what every request goes through."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.types import Message, Receive, Scope, Send

from dispatcher.web import middleware
from dispatcher.web.access_log import AccessLog
from dispatcher.web.middleware import HELD_BYTES, RequestIds
from tests.hostile_values import steering

BIDI = "\u202e"


def answered(content_type: bytes, *pieces: bytes, **more: Any) -> list[Message]:
    return asyncio.run(sent_for(content_type, *pieces, **more))


async def sent_for(
    content_type: bytes,
    *pieces: bytes,
    fails: bool = False,
    length: bytes | None = None,
    path: str = "/",
    log: AccessLog | None = None,
) -> list[Message]:
    """What a server is told to send for an application's answer in these pieces, which may fail after them."""

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", content_type), *([(b"content-length", length)] if length else [])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, piece in enumerate(pieces, start=1):
            is_last = number == len(pieces) and not fails
            await send({"type": "http.response.body", "body": piece, "more_body": not is_last})
        if fails:
            raise ZeroDivisionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": []}
    await RequestIds(application, log)(scope, receive, send)
    return sent


def test_json_cannot_steer_who_reads_it_wherever_it_is_cut_and_is_the_same_to_programs() -> None:
    whole = json.dumps({"name": f"a{BIDI}b"}, ensure_ascii=False).encode()
    for cut in range(1, len(whole)):
        head, body = answered(b"application/json", whole[:cut], whole[cut:], length=b"%d" % len(whole))
        assert BIDI.encode() not in body["body"]
        assert json.loads(body["body"]) == {"name": f"a{BIDI}b"}
        assert dict(head["headers"])[b"content-length"] == b"%d" % len(body["body"])


def test_json_of_unknown_length_goes_on_piece_by_piece_and_cannot_steer_who_reads_it_wherever_it_is_cut() -> None:
    whole = json.dumps({"name": f"a{BIDI}b"}, ensure_ascii=False).encode()
    for cut in range(1, len(whole)):
        _, first, second = answered(b"application/json", whole[:cut], whole[cut:])
        assert first["more_body"]
        assert BIDI.encode() not in first["body"] + second["body"]
        assert json.loads(first["body"] + second["body"]) == {"name": f"a{BIDI}b"}


@pytest.mark.parametrize("has_length", [True, False])
def test_long_json_is_the_same_to_programs_and_others_have_turns_while_it_is_looked_at(*, has_length: bool) -> None:
    value = [f'{BIDI}é🎉\\"\n' * 5_000, "a" * 100_000, f"\x7f{BIDI}" * 5_000, "日本" * 20_000]
    whole = json.dumps(value, ensure_ascii=False).encode()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> list[Message]:
        other = asyncio.create_task(others())
        try:
            return await sent_for(b"application/json", whole, length=b"%d" % len(whole) if has_length else None)
        finally:
            other.cancel()

    _, body, *_ = asyncio.run(both())
    assert json.loads(body["body"]) == value
    assert not steering(body["body"].decode(), allowed="")
    assert turns > len(whole.decode()) / 50_000


def test_what_is_no_json_goes_on_piece_by_piece() -> None:
    sent = answered(b"text/plain", b"one", b"two", b"three")
    assert [message["body"] for message in sent[1:]] == [b"one", b"two", b"three"]


def test_json_that_fails_before_it_is_whole_is_an_answer_to_a_defect() -> None:
    for pieces in ([], [b'{"half": ']):
        head, body = answered(b"application/json", *pieces, fails=True, length=b"20")
        assert (head["status"], json.loads(body["body"])["status"]) == (500, 500)


def test_an_answer_whose_first_piece_is_sent_stays_as_it_is_when_it_fails() -> None:
    assert [message.get("status") for message in answered(b"text/plain", b"one", fails=True)] == [200, None]


def test_a_large_answer_in_one_piece_has_an_empty_one_behind_it_for_which_the_server_waits() -> None:
    for content_type in (b"application/json", b"text/html"):
        for size, pieces in ((HELD_BYTES, [HELD_BYTES]), (HELD_BYTES + 1, [HELD_BYTES + 1, 0])):
            _, *sent = answered(content_type, b"1" * size, length=b"%d" % size)
            assert [len(message.get("body", b"")) for message in sent] == pieces
            assert [message.get("more_body", False) for message in sent] == [True] * (len(pieces) - 1) + [False]


def test_of_a_long_path_only_what_is_logged_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    escaped, logged = list[str](), list[dict[str, object]]()

    class Log(AccessLog):
        def add(self, fields: dict[str, object]) -> None:
            logged.append(fields)

    monkeypatch.setattr(middleware, "quote", lambda text: escaped.append(text) or quote(text))
    answered(b"text/plain", b"one", path="/\u00e9" * 4_000, log=Log())
    assert [fields["path"] for fields in logged] == ["/%C3%A9" * 28 + "/%C3"]
    assert sum(map(len, escaped)) <= 200
