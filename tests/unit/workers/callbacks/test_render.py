import json
import sys
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidWebhook
from dispatcher.receiver_auth.credentials import Basic, check_authorization, header_value
from dispatcher.signing.keys import generate_signing_key
from dispatcher.signing.signer import Signer
from dispatcher.transport.checks import check_request
from dispatcher.transport.exchange import Request
from dispatcher.webhooks.contract import DeliveryContract, Envelope, Method, read_contract
from dispatcher.webhooks.secrets import WebhookSecrets
from schedules.timing import REAL_TIME
from tests import hostile_values
from tests.claims import CLAIM, TARGET
from tests.each import each
from workers.callbacks.render import MAX_GET_URL, RenderFailed, masked_headers, render

BY_GET = replace(TARGET, contract=DeliveryContract(method=Method.GET))


def test_a_message_of_any_depth_has_a_url_or_is_refused_and_raises_nothing_else() -> None:
    outcomes = []
    # Each part of the reading has its own depth at which the stack ends: one of these depths hits it.
    for depth in range(sys.getrecursionlimit() + 1):
        claim = CLAIM._replace(data=b'{"n":' + b"[" * depth + b"]" * depth + b"}" if depth else b'{"n":1}')
        try:
            outcomes.append(render([claim], BY_GET, str(uuid4()), now=0, timing=REAL_TIME).url.partition("?")[0])
        except RenderFailed as why:
            outcomes.append(str(why))
    deepest = outcomes.count(BY_GET.url)
    assert outcomes[:deepest] == [BY_GET.url] * deepest
    assert {why.rpartition(" that ")[2] for why in outcomes[deepest:]} <= {"is not nested too deeply"}
    assert deepest > 100


@pytest.mark.parametrize("data", [b"[1]", b"1", b'"text"', b'{"a":1,"a":2}', b"{", b"\xff"])
def test_what_is_no_json_object_is_refused_for_get(data: bytes) -> None:
    with pytest.raises(RenderFailed, match="GET"):
        render([CLAIM._replace(data=data)], BY_GET, str(uuid4()), now=0, timing=REAL_TIME)


@pytest.mark.parametrize(
    ("members", "most_calls"), [(28_000, 200), (5_500, 90_000), (2_700, 90_000)], ids=["bytes", "members", "characters"]
)
def test_what_does_not_fit_into_a_url_is_hardly_worked_on(members: int, most_calls: int) -> None:
    data = ("{" + ",".join(f'"{number:x}":1' for number in range(members)) + "}").encode()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        with pytest.raises(RenderFailed):
            render([CLAIM._replace(data=data)], BY_GET, str(uuid4()), now=0, timing=REAL_TIME)
    finally:
        sys.setprofile(None)
    assert calls <= most_calls, "the loop sends nothing to others meanwhile"


def test_a_message_that_just_fits_into_a_url_is_sent() -> None:
    room = MAX_GET_URL - len(f"{TARGET.url}?a=")
    escaped = b'{"a":"' + rb"\u0061" * room + b'"}'
    assert len(render([CLAIM._replace(data=escaped)], BY_GET, str(uuid4()), now=0, timing=REAL_TIME).url) == MAX_GET_URL
    for text in ("a" * (room + 1), " " + "a" * (room - 2)):
        longer = json.dumps({"a": text}).encode()
        with pytest.raises(RenderFailed, match="longer than"):
            render([CLAIM._replace(data=longer)], BY_GET, str(uuid4()), now=0, timing=REAL_TIME)


MEMBERS = [
    ["id", "event_id"],
    ["brandId", "account"],
    ["webhookId", "webhook_id"],
    ["attemptId", "attempt_id"],
    ["created", "created_at"],
    ["happened", "occurred_at"],
    ["app", "app"],
    ["type", "event_type"],
    ["data", "data"],
]
DATA = b'{"id": 634151298329219072, "cost": 1.10, "text": "caf\xc3\xa9", "a": 1, "a": 2}'


def test_members_are_put_around_the_message_in_their_order_and_leave_its_bytes_alone() -> None:
    target = replace(TARGET, contract=read_contract({"envelope": "object", "members": MEMBERS}))
    claim = CLAIM._replace(event_id="0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", data=DATA)
    request = render([claim], target, "request", now=0, timing=REAL_TIME)
    created = "2025-08-14T04:37:19.007Z"
    assert request.body == (
        b'{"id":"0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00","brandId":"acme","webhookId":"%b","attemptId":"request",'
        b'"created":"%b","happened":"2026-01-01T00:00:00.000Z","app":null,"type":"t","data":%b}'
        % (TARGET.id.encode(), created.encode(), DATA)
    )


def test_in_an_array_each_message_has_its_members() -> None:
    target = replace(TARGET, contract=read_contract({"members": [["m", "data"]]}))
    body = render(
        [CLAIM._replace(data=b"1"), CLAIM._replace(data=b"2")], target, "request", now=0, timing=REAL_TIME
    ).body
    assert body == b'[{"m":1},{"m":2}]'


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"members": [["a", "event_id"]]}, "must hold the data"),
        ({"members": [["a", "data"], ["b", "data"]]}, "only one"),
        ({"members": [["a", "data"], *([f"b{n}", "app"] for n in range(20))]}, "at most 20"),
        ({"members": [["a", "data"], ["a", "event_id"]]}, "one name twice"),
        ({"members": [["a", "data"]], "method": "GET"}, "need the method"),
        ({"members": [["a", "secret"]]}, "contract.members"),
        ({"members": [["", "data"]]}, "contract.members"),
        ({"members": [["a\r\nb", "data"]]}, "contract.members"),
    ],
)
def test_members_that_make_no_sense_are_refused(document: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidWebhook, match=says):
        read_contract(document)


def test_the_content_type_can_name_a_charset() -> None:
    target = replace(TARGET, contract=read_contract({"content_type": "application/json; charset=UTF-8"}))
    headers = dict(render([CLAIM], target, "request", now=0, timing=REAL_TIME).headers)
    assert headers["Content-Type"] == "application/json; charset=UTF-8"


def rendered(*data: bytes, **contract: Any) -> Request:
    target = replace(TARGET, contract=DeliveryContract(**contract))
    return render([CLAIM._replace(data=one) for one in data], target, str(uuid4()), now=0, timing=REAL_TIME)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_MESSAGES = _VALUES.flatmap(
    lambda value: st.sampled_from(
        [
            json.dumps(value).encode(),
            json.dumps(value, ensure_ascii=False, indent=1).encode(),
        ]
    )
) | st.sampled_from(list(hostile_values.JSON.values()))


@given(st.lists(_MESSAGES, min_size=1, max_size=4))
def test_the_body_holds_the_very_bytes_of_each_message(data: list[bytes]) -> None:
    assert rendered(data[0], envelope=Envelope.OBJECT).body == data[0]
    assert rendered(data[0], method=Method.PUT).body == b"[" + data[0] + b"]"
    batch = rendered(*data, batch_size=100)
    assert batch.body == b"[" + b",".join(data) + b"]"
    assert len(json.loads(batch.body, parse_int=str)) == len(data)


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=5), st.sampled_from([None, 2]))
def test_the_query_reads_back_as_the_members(message: dict[str, Any], indent: int | None) -> None:
    data = json.dumps(message, ensure_ascii=False, indent=indent).encode()
    try:
        request = rendered(data, method=Method.GET)
    except RenderFailed as why:
        assert "more than" in str(why)  # noqa: PT017 - long examples are rare
        return
    check_request(request)
    assert request.body is None
    given_back = parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=bool(message))
    assert given_back == [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        for name, value in message.items()
    ]


@given(st.binary(max_size=60) | _MESSAGES)
def test_any_bytes_have_a_url_or_are_refused(data: bytes) -> None:
    try:
        request = rendered(data, method=Method.GET)
    except RenderFailed as why:
        assert not hostile_values.steering(str(why), allowed="")  # noqa: PT017
        return
    check_request(request)
    assert len(request.url) <= MAX_GET_URL


@each("text", hostile_values.TEXTS.values())
def test_no_text_leaves_its_place_in_the_query(text: str) -> None:
    request = rendered(json.dumps({text: text, "after": [text]}).encode(), method=Method.GET)
    check_request(request)
    query = parse_qsl(urlsplit(request.url).query)
    assert query[0] == (text, text)
    assert (query[1][0], json.loads(query[1][1])) == ("after", [text])


def test_a_number_keeps_its_digits_in_the_query() -> None:
    digits = b"9" * 5_000
    request = rendered(b'{"a":' + digits + b',"b":-0.0,"c":1E400,"d":[1.50, 9007199254740993]}', method=Method.GET)
    assert request.url.endswith("?a=" + digits.decode() + "&b=-0.0&c=1E400&d=%5B1.50%2C9007199254740993%5D")


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20).filter(lambda name: ":" not in name),
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20),
    st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=12), unique=True, max_size=4),
)
def test_kept_headers_show_no_secret(username: str, password: str, secrets: list[str]) -> None:
    basic = check_authorization(Basic(username, f"planted-{password}"))
    key = generate_signing_key()
    own = tuple((f"X-Own-{number}", f"planted{secret}") for number, secret in enumerate(secrets))
    target = replace(
        TARGET,
        authorization=header_value(basic),
        headers=own,
        signer=Signer(WebhookSecrets(signing_keys=(key,)), DeliveryContract()),
    )
    request = render([CLAIM], target, str(uuid4()), now=0, timing=REAL_TIME)
    check_request(request)
    lines = masked_headers(request, target).split("\n")
    assert [line.partition(": ")[0] for line in lines] == [name for name, _ in request.headers]
    assert "planted" not in str(lines)
    assert str(header_value(basic)).partition(" ")[2] not in str(lines)
    assert key.secret not in str(lines)
