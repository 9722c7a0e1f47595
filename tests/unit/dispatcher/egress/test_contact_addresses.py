"""Which addresses can be a contact: plain ones of the public internet, and those of the operator's own domains."""

import pytest

from dispatcher.egress.contact_addresses import refused_contact
from dispatcher.egress.mail_addresses import mail_address, read_sender
from tests.each import each

OWN = ("corp.local", "mailhost")


@pytest.mark.parametrize(
    "address",
    [
        "ops@example.com", "Ops@Example.COM", "o'brien+hooks@sub.example.com", "a_b-c.d@example.co",
        "x@xn--bcher-kva.de",
        "ops@corp.local", "ops@Sub.Corp.LOCAL", "root@mailhost", "1@example.com", "r&d@example.com", "_x@example.com",
    ],
)  # fmt: skip
def test_an_address_that_mail_can_go_to_is_taken(address: str) -> None:
    assert refused_contact(address, OWN) is None


@each("address", [
        # what a relay could take for an option, a program, a file or a route
        "-oQ@example.com", "-oQ@corp.local", "|/bin/sh@example.com", "/etc/passwd@example.com", "~root@example.com",
        "a|b@example.com", "victim%example.org@example.com", "example.org!victim@example.com", "`id`@example.com",
        "$HOME@example.com", '"|/bin/sh"@example.com', '"-oQ"@example.com',
        # hosts that are no mail domain of the internet
        "a@[127.0.0.1]", "a@[IPv6:::1]", "a@127.0.0.1", "a@localhost", "a@x", "a@other.local", "a@acme.test",
        "a@evilcorp.local", "a@host.invalid", "a@corp.local.", "a@example.com.", "a@-example.com", "a@ex_ample.com",
        # no plain address
        '"a b"@example.com', "a b@example.com", "a@b@example.com", "a..b@example.com", ".a@example.com", "a@", "@x.com",
        "", "a", "Ops <ops@example.com>", "ops@example.com, b@example.com", "a@example.com\n", "a\r\nBcc:b@example.com",
        "ö@example.com", "a@exämple.com", "=?utf-8?q?a?=@example.com", f"{'a' * 65}@example.com", f"a@{'b' * 250}.com",
        # what Python's parser fails at
        "a@[", "a@[ ", "a@[1.2.3.4\\", '"a@[ "@example.com', "a@[ @example.com",
    ])  # fmt: skip
def test_any_other_is_refused(address: str) -> None:
    assert refused_contact(address, OWN) is not None


@pytest.mark.parametrize("address", ["-oQ@example.com", "|/bin/sh@example.com", "a@[127.0.0.1]", "a%b@example.com"])
def test_none_that_was_stored_by_an_older_version_is_sent_to_either(address: str) -> None:
    assert mail_address(address) is None


def test_the_sender_may_be_of_any_domain() -> None:
    assert read_sender("Webhooks <webhooks@localhost>").domain == "localhost"
