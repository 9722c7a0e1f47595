"""What of a message may be shown, and what of a text that repeats it."""

import html
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.masking import messages
from dispatcher.masking.forms import SOUGHT, forms
from dispatcher.masking.messages import MIN_CHARACTERS, Names, hidden_in, mask_message, member_names
from dispatcher.settings import Settings

NAMES = member_names("from, to,Body , phoneNumber,")
MESSAGE = b'{"id": 4023457654, "from":"+27001234567" , "to": 27831112222, "body":"Yes, I \\u201cdo\\u201d", "n":1.10}'


def mask_echo(echo: str, message: bytes | None, names: Names, *, cut: bool = False) -> str:
    return messages.mask_echo(echo, hidden_in(message, names), cut=cut)


_CHOSEN = st.sampled_from(["from", "TO", "Body", "phonenumber"])
_OTHER = st.text(max_size=4).filter(lambda name: name.casefold() not in NAMES) | st.sampled_from(
    ["fro", "from ", 'a"from']
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its members in order, each as often as it stands there."""


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(_CHOSEN | _OTHER, inner), max_size=4).map(Pairs)


_DOCUMENTS = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | _objects(inner), max_leaves=15)


def written(document: Any, draw: st.DataObject) -> str:
    """As JSON, with white space and escapes as they come."""
    space = draw.draw(st.text(alphabet=" \t\r\n", max_size=1))
    match document:
        case Pairs():
            parts = []
            for name, value in document:
                spelt = json.dumps(name)
                if draw.draw(st.booleans()):
                    spelt = '"' + "".join(f"\\u{ord(letter):04x}" for letter in name) + '"' if name.isascii() else spelt
                parts.append(f"{space}{spelt}{space}:{space}{written(value, draw)}{space}")
            return "{" + ",".join(parts) + "}"
        case list():
            return "[" + ",".join(f"{space}{written(value, draw)}{space}" for value in document) + "]"
        case _:
            return json.dumps(document, ensure_ascii=draw.draw(st.booleans()))


def masked(document: Any) -> Any:
    """What masking means, on what JSON says."""
    match document:
        case Pairs():
            return [(name, "***" if _hides(name, value) else masked(value)) for name, value in document]
        case list():
            return [masked(value) for value in document]
        case _:
            return document


def _hides(name: str, value: Any) -> bool:
    return name.casefold() in NAMES and value is not None


def parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=Pairs)


@given(_DOCUMENTS, st.data())
def test_the_values_of_chosen_members_are_masked_and_nothing_else_changes(document: Any, draw: st.DataObject) -> None:
    text = written(document, draw).encode(errors="surrogatepass").decode(errors="replace")
    shown = mask_message(text.encode(), NAMES).decode()
    assert parsed(shown) == masked(parsed(text))
    assert mask_message(text.encode(), frozenset()) == text.encode()
    assert mask_message(shown.encode(), NAMES).decode() == shown


@given(_DOCUMENTS, _CHOSEN, st.text(min_size=MIN_CHARACTERS) | st.integers(1000), st.data())
@example(Pairs(), "from", 27001234567, None)
def test_no_masked_value_survives(document: Any, name: str, value: str | int, draw: st.DataObject | None) -> None:
    planted = f"planted-{value}" if isinstance(value, str) else int(f"98989{value}")
    around = written(document, draw) if draw is not None else "null"
    text = f'{{"x": {around}, "deep": [{{"{name}": [{{"y": {json.dumps(planted)}}}]}}]}}'
    shown = mask_message(text.encode(errors="surrogatepass"), NAMES).decode(errors="surrogatepass")
    assert json.dumps(planted)[1:-1] not in shown


def test_bytes_order_and_digits_stay() -> None:
    assert mask_message(MESSAGE, NAMES) == b'{"id": 4023457654, "from":"***" , "to": "***", "body":"***", "n":1.10}'


def test_whole_objects_and_arrays_are_masked_and_null_shows_that_nothing_is_there() -> None:
    data = b'{"to":[{"a":"]}"},2],"from":null,"body":{"from":"x","z":[{}]},"after":true}'
    assert mask_message(data, NAMES) == b'{"to":"***","from":null,"body":"***","after":true}'


@pytest.mark.parametrize(
    "data", [b'"from"', b"1", b'["from","to"]', b'{"a":"from"}', b'{"a\\"from":1}', b'"\\"from\\":1"']
)
def test_a_name_that_is_none_hides_nothing(data: bytes) -> None:
    assert mask_message(data, NAMES) == data


def test_no_depth_is_too_deep() -> None:
    depth = 100_000
    inside = b'{"a":' * depth + b'{"from":"+27001234567"}' + b"}" * depth
    assert mask_message(inside, NAMES) == inside.replace(b"+27001234567", b"***")
    hidden = b'{"from":' + b"[" * depth + b"]" * depth + b"}"
    assert mask_message(hidden, NAMES) == b'{"from":"***"}'
    assert mask_echo("nothing of it", hidden, NAMES) == "nothing of it"


TEXT = 'Are "you" there & well? ü/1'


@pytest.mark.parametrize(
    "repeated",
    [
        TEXT,
        json.dumps(TEXT)[1:-1],
        json.dumps(TEXT, ensure_ascii=False)[1:-1],
        json.dumps(TEXT).replace("/", "\\/")[1:-1],
        quote(TEXT),
        quote(TEXT, safe=""),
        quote_plus(TEXT),
        html.escape(TEXT),
    ],
)
def test_a_value_is_masked_however_an_answer_writes_it(repeated: str) -> None:
    message = json.dumps({"id": 1, "body": {"parts": [TEXT]}}).encode()
    assert mask_echo(f"cannot take <{repeated}>, sorry", message, NAMES) == "cannot take <***>, sorry"


@pytest.mark.parametrize("number", ["+27001234567", "27001234567", "%2B27001234567", "27831112222"])
def test_phone_numbers_are_masked_with_and_without_their_sign_be_they_texts_or_numbers(number: str) -> None:
    assert mask_echo(f"no such number: {number}.", MESSAGE, NAMES).replace("+", "") == "no such number: ***."


def test_members_of_chosen_names_are_masked_in_an_answer_whatever_they_hold() -> None:
    answer = 'took {"From" : "+27 00 123 4567", "id": 17, "to":["a","b"], "why":"full'
    assert mask_echo(answer, None, NAMES) == 'took {"From" : "***", "id": 17, "to":"***", "why":"full'
    assert mask_echo('took {"id": 17, "body":"Yes, I', None, NAMES) == 'took {"id": 17, "body":"***"'


def test_short_values_are_not_looked_for() -> None:
    message = b'{"from":"123","to":"1543","body":"ok"}'
    assert mask_echo("123 ok, 1543", message, NAMES) == "123 ok, ***"


def test_other_members_are_shown() -> None:
    assert mask_echo("id 4023457654 is known", MESSAGE, NAMES) == "id 4023457654 is known"
    assert mask_echo("+27001234567", MESSAGE, frozenset()) == "+27001234567"
    assert mask_echo("greeting: hello", b'{"body":{"greeting":"hello"}}', NAMES) == "greeting: ***"


@pytest.mark.parametrize("left", range(1, 12))
def test_of_a_value_on_the_edge_of_what_was_kept_no_more_than_three_characters_are_shown(left: int) -> None:
    number = "27831112222"
    shown = mask_echo(f"cannot take {number[:left]}", MESSAGE, NAMES, cut=True)
    assert shown == f"cannot take {number[:left] if left < MIN_CHARACTERS else '***'}"


def test_an_answer_that_repeats_the_beginning_of_a_long_text_shows_nothing_of_it() -> None:
    message = json.dumps({"body": "word " * 2000}).encode()
    assert mask_echo("Bad: " + "word " * 800, message, NAMES, cut=True) == "Bad: ***"


@pytest.mark.parametrize("coded", [str, quote, html.escape, lambda text: json.dumps(text)[1:-1]])
def test_of_a_long_value_on_the_edge_nothing_is_shown_wherever_the_edge_is(coded: Callable[[str], str]) -> None:
    value = "Gr\u00fc\u00dfe & <mehr> \U0001f600 " * 8
    hidden = hidden_in(json.dumps({"body": value}).encode(), NAMES)
    whole = coded(value)
    for left in range(MIN_CHARACTERS, len(whole)):
        shown = messages.mask_echo(f"Bad: {whole[:left]}", hidden, cut=True)
        assert shown == "Bad: ***", left


@pytest.mark.parametrize("end", ["100%", "R&D", "C:\\", "%4", "&#12", "\\ud83d\\u"])
@pytest.mark.parametrize("begin", ["all ", "all of it: " * 3])
def test_a_value_whose_end_looks_like_half_a_character_is_hidden_at_the_edge(begin: str, end: str) -> None:
    message = json.dumps({"body": begin + end}).encode()
    assert mask_echo(f"Bad: {begin}{end}", message, NAMES, cut=True) == "Bad: ***"


@given(
    st.text(max_size=40),
    st.dictionaries(st.sampled_from(["from", "body", "id"]), st.text(min_size=MIN_CHARACTERS), max_size=3),
)
def test_any_answer_can_be_masked_and_shows_no_value(before: str, message: dict[str, str]) -> None:
    hidden = [value for name, value in message.items() if name != "id" and len(value.strip()) >= MIN_CHARACTERS]
    answer = before + "".join(hidden)
    shown = mask_echo(answer, json.dumps(message).encode(), NAMES)
    assert not [value for value in hidden if value in shown.replace("***", "\0") and "\0" not in value]


def test_what_is_masked_by_default_are_the_numbers_and_texts_of_messages() -> None:
    names = member_names(Settings.model_fields["masked_members"].default)
    for message in (
        {"id": "17", "type": "RECEIVED", "from": "x", "to": "x", "body": "x"},
        {"id": 634151298329219072, "address": "x", "finalSource": "x", "finalDestination": "x", "body": "x"},
        {"id": "17", "phoneNumber": "x", "message": "x", "locale": "en-US"},
        {"id": "17", "contact_message": {"text_message": {"text": "x"}}, "channel_identity": {"identity": "x"}},
    ):
        shown = mask_message(json.dumps(message).encode(), names).decode()
        assert '"x"' not in shown
        assert str(message["id"]) in shown


def test_a_message_of_very_many_values_is_not_made_into_forms_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(messages, "forms", lambda values, least: made.extend(values) or forms(values, least))
    names = member_names("body")
    for number, shown in ((messages.MOST_VALUES, "no value"), (messages.MOST_VALUES + 1, "***")):
        message = json.dumps({"body": [f"{each:04d}" for each in range(number)]}).encode()
        assert (mask_echo("no value", message, names), mask_echo("", message, names)) == (shown, "")
    assert mask_echo("is 0499.", json.dumps({"body": ["0499"]}).encode(), names) == "is ***."
    assert len(made) == 2 * messages.MOST_VALUES + 1


def test_very_long_values_are_sought_as_others_are() -> None:
    message = json.dumps({"body": "x" * 100_000}).encode()
    assert mask_echo("no value", message, NAMES) == "no value"
    assert mask_echo(f"got {'x' * 100_000}.", message, NAMES) == "got ***."


def test_the_edge_is_looked_at_with_the_first_characters_of_a_value_alone() -> None:
    values = [f"{number:02d}" + "a" * 2_000 for number in range(20)]
    hidden = hidden_in(json.dumps({"body": values}).encode(), NAMES)
    assert max(map(len, hidden.begun)) <= SOUGHT + 1
    assert mask_echo("took 00" + "a" * 900, json.dumps({"body": values}).encode(), NAMES, cut=True) == "took ***"
