"""Whatever is given as a mail address is one that mail can go to, or refused: Python's parser fails at some texts with
errors of its own."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.egress.contact_addresses import refused_contact
from dispatcher.egress.mail_addresses import mail_address, read_sender

TEXTS = st.text('a1@[]()\\<>.,:;" \té', max_size=8)
ADDRESSES = st.builds("{}@{}".format, st.just("ops") | TEXTS, st.just("example.com") | TEXTS | TEXTS.map("[{}".format))

fuzz = settings(max_examples=10 * int(os.environ.get("FUZZ_EXAMPLES", "10")), deadline=None)


@fuzz
@given(ADDRESSES)
def test_any_text_is_an_address_that_is_sent_to_unchanged_or_refused(text: str) -> None:
    address = mail_address(text)
    if address is None:
        assert refused_contact(text, ()) is not None
    else:
        assert address.addr_spec == text


@fuzz
@given(st.builds("{}<{}>".format, TEXTS, ADDRESSES) | ADDRESSES)
def test_any_sender_has_one_address_or_is_refused(text: str) -> None:
    try:
        sender = read_sender(text)
    except ValueError as refused:
        assert str(refused) == "must be one mail address, perhaps with a name before it"  # noqa: PT017 - not a subclass's
    else:
        assert mail_address(sender.addr_spec) is not None
